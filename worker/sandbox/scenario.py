"""A scenario: faults in a file, for rehearsing an outage. TOML or JSON, told apart by the file's name.

    title = "The gateway is down for a minute"

    [[faults]]
    kind = "status"
    status_code = 503
    after_seconds = 30
    for_seconds = 60

Each fault has the keys of `POST /sandbox/faults`; all are switched on at once when the gateway starts to
listen, so their seconds count from there. Of several that fit a request the first one strikes. Whatever is
wrong with the file is said before anything is started, all problems together.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.sandbox.fault_keys import BadFault, read_fault
from worker.sandbox.faults import Fault
from worker.sandbox.line_numbers import line_in_json, line_in_toml

LARGEST_FILE = 1024 * 1024  # bytes
EXAMPLE = '`[[faults]]` and below it `kind = "hang"`, in JSON {"faults": [{"kind": "hang"}]}'

_KEYS = ("title", "faults")


class BadScenario(ValueError):
    """The file is no scenario; the text has a line for each problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What will go wrong."""

    title: str
    faults: tuple[Fault, ...]


def read_scenario(path: Path) -> Scenario:
    """Read the file; raises BadScenario, and OSError when it cannot be read."""
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise BadScenario([f"its name must end in .toml or .json, not in {path.suffix!r}"])
    with path.open("rb") as file:
        raw = file.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise BadScenario(["is larger than 1 MiB, so it is hardly a scenario"])
    parse, line = form
    try:
        # The line ends of other systems are no different; their number is.
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        found = parse(text)
    except UnicodeDecodeError as error:
        raise BadScenario([f"byte {error.start}: is not UTF-8"]) from error
    except RecursionError as error:
        raise BadScenario(["is nested too deeply"]) from error
    except ValueError as error:  # of the parsers; it names line and column
        form_name = path.suffix[1:].upper()
        raise BadScenario([f"is not {form_name}: {error}; a scenario is like {EXAMPLE}"]) from error
    return _checked(found, line=lambda fault, key: line(text, fault=fault, key=key))


def _checked(found: object, *, line: Callable[[int | None, str], int | None]) -> Scenario:
    if not isinstance(found, dict):
        raise BadScenario([f"must hold `title` and `faults`, like {EXAMPLE}"])
    problems = [
        _problem(line(None, key), key, f"there is no such key at the top: only {' and '.join(_KEYS)}")
        for key in found
        if key not in _KEYS
    ]
    title = found.get("title", "")
    if not isinstance(title, str):
        problems.append(_problem(line(None, "title"), "title", 'must be a text, like title = "Outage"'))
    entries = found.get("faults")
    if not isinstance(entries, list) or not entries:
        text = f"must be a list of at least one fault, like {EXAMPLE}"
        problems.append(_problem(line(None, "faults"), "faults", text))
        entries = []
    faults: list[Fault] = []
    for number, entry in enumerate(entries, start=1):
        try:
            faults.append(read_fault(entry))
        except BadFault as bad:
            where = f"fault {number}, {bad.key}" if bad.key else f"fault {number}"
            problems.append(_problem(line(number, bad.key), where, bad.problem))
    if problems:
        raise BadScenario(problems)
    return Scenario(title=str(title), faults=tuple(faults))


def _problem(line: int | None, where: str, text: str) -> str:
    return f"{where}: {text}" if line is None else f"line {line}, {where}: {text}"


def _parse_json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse what TOML refuses too: a key that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key {twice!r} is there twice")
    return found


_FORMS: Mapping[str, tuple[Callable[[str], object], Callable[..., int | None]]] = {
    ".toml": (tomllib.loads, line_in_toml),
    ".json": (_parse_json, line_in_json),
}
