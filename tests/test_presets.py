"""The presets of the three sources are settings that load, and README says of them what they hold."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.pages import ROOT, Page
from worker.core.wire import Fetch
from worker.sandbox.sources import SOURCES, Source
from worker.settings import SettingsError, load_settings

PRESETS = {one.stem.replace("-", "_"): one for one in sorted((ROOT / "deploy" / "presets").glob("*.env"))}


def sourced(text: str, *, folder: Path) -> dict[str, str]:
    """Return the variables that `set -a; . FILE` brings into a shell."""
    file = folder / "worker.env"
    file.write_text(text, encoding="utf-8")
    script = f"set -a; . {shlex.quote(str(file))}; env -0"
    done = subprocess.run(["/bin/sh", "-euc", script], capture_output=True, check=True, env={})
    pairs = (one.partition("=") for one in done.stdout.decode().rstrip("\0").split("\0"))
    return {name: value for name, _, value in pairs if name.startswith("WORKER_")}


def test_each_source_has_its_preset() -> None:
    """A preset for each source that is named, and no other."""
    assert set(PRESETS) == {source.name for source in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_preset_loads(source: Source, tmp_path: Path) -> None:
    """With a key in it, a preset is one gateway of its source's name, asked in its source's way."""
    text = PRESETS[source.name].read_text(encoding="utf-8").replace("API_KEY=\n", "API_KEY=sk-1\n")

    (gateway,) = load_settings(sourced(text, folder=tmp_path)).gateways.values()

    assert (gateway.name, gateway.fetch) == (source.name, Fetch(source.fetch))
    assert gateway.api_key.get_secret_value() == "sk-1"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_without_its_key_is_told(name: str, tmp_path: Path) -> None:
    """Whoever forgets the key is told which variable is missing."""
    variables = sourced(PRESETS[name].read_text(encoding="utf-8"), folder=tmp_path)

    with pytest.raises(SettingsError, match=f"WORKER_GATEWAYS__{name.upper()}__API_KEY: is missing"):
        load_settings(variables)


def test_all_presets_together_load(tmp_path: Path) -> None:
    """Several presets may be appended to one file."""
    texts = [
        one.read_text(encoding="utf-8").replace("API_KEY=\n", "API_KEY=sk\n") for one in PRESETS.values()
    ]

    assert set(load_settings(sourced("".join(texts), folder=tmp_path)).gateways) == set(PRESETS)


def test_readme_says_what_the_presets_hold() -> None:
    """README's table has each preset with its address and its way of asking."""
    rows = Page.read("README.md").table(first="gateway")

    assert len(rows) == len(PRESETS)
    for _, link, address, way in rows:
        (path,) = re.findall(r"\((deploy/presets/.*?)\)", link)
        text = (ROOT / path).read_text(encoding="utf-8")
        assert ("FETCH=single" in text) == ("GET /suno/fetch/{task_id}" in way)
        if address.startswith("`"):
            assert f"BASE_URL={address.strip('`')}\n" in text
