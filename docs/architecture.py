"""The parts of `architecture.md` that are drawn from the code: the states, and the rooms with their promises.

`make docs` writes them between their marks; a test holds them to the code.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from worker.core.lifecycle import state_diagram

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).with_name("architecture.md")


def rooms() -> str:
    """Return the modules, the highest level first, each with the first sentence of its docstring."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = (one["layers"] for one in config["contracts"] if one["type"] == "layers")
    lines = ["| level | module | its promise |", "| --- | --- | --- |"]
    for level, layer in enumerate(layers, start=1):
        lines += [f"| {level} | `{name}` | {_promise(name)} |" for name in re.split(r"[ |]+", layer)]
    return "\n".join(lines)


def page() -> str:
    """Return the page with its drawn parts as the code has them."""
    text = PAGE.read_text(encoding="utf-8")
    for name, drawn in (("states", f"```mermaid\n{state_diagram()}\n```"), ("rooms", rooms())):
        begin = f"<!-- {name}: written by `make docs` -->"
        before, _, rest = text.partition(begin)
        _, end, after = rest.partition("<!-- end -->")
        text = f"{before}{begin}\n\n{drawn}\n\n{end}{after}"
    return text


def _promise(name: str) -> str:
    """Return the first sentence of a module's docstring."""
    folder = ROOT / "worker" / name
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(said.partition("\n\n")[0].split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
