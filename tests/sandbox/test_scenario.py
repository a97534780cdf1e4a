from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sandbox.fault_keys import KEYS, BadFault, read_fault
from worker.sandbox.faults import Fault, FaultKind
from worker.sandbox.scenario import BadScenario, read_scenario

GOOD = """
title = "Two"  # a comment

[[faults]]
kind = "slow"
seconds = 2

[[faults]]
kind = "status"
retry_after = "7"
task_ids = ["a", "b*"]
"""


def write(folder: Path, text: str | bytes, *, name: str = "x.toml") -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(path: Path) -> list[str]:
    """Return what is wrong with a file, a line each."""
    with pytest.raises(BadScenario) as caught:
        read_scenario(path)
    return str(caught.value).splitlines()


def test_a_scenario_is_read(tmp_path: Path) -> None:
    """A file gives its title and its faults in their order; JSON and TOML say the same."""
    toml = read_scenario(write(tmp_path, GOOD))
    text = json.dumps(
        {
            "title": "Two",
            "faults": [
                {"kind": "slow", "seconds": 2},
                {"kind": "status", "retry_after": "7", "task_ids": ["a", "b*"]},
            ],
        }
    )

    assert toml.title == "Two"
    assert toml.faults == (
        Fault(kind=FaultKind.SLOW, seconds=2),
        Fault(kind=FaultKind.STATUS, retry_after="7", task_ids=("a", "b*")),
    )
    assert read_scenario(write(tmp_path, text, name="x.JSON")) == toml


def test_other_systems_may_have_written_it(tmp_path: Path) -> None:
    """A byte order mark and other line ends are no problem, and lines are counted as an editor does."""
    good = write(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    bad = write(tmp_path, GOOD.replace("seconds = 2", "second = 2").replace("\n", "\r\n"), name="y.toml")

    assert len(read_scenario(good).faults) == 2
    assert problems(bad) == ["line 6, fault 1, second: there is no such key: did you mean `seconds`?"]


@pytest.mark.parametrize(
    ("entry", "key", "text"),
    [
        ("{}", "kind", "is missing: it must be one of hang, slow"),
        ('{"kind": "storm"}', "kind", "'storm' will not do: it must be one of hang"),
        ('{"kind": 3}', "kind", "3 will not do: it must be one of hang"),
        ('{"kind": "hang", "requests": 0}', "requests", "0 will not do: it must be a whole number"),
        ('{"kind": "hang", "requests": "2"}', "requests", "'2' will not do"),
        ('{"kind": "hang", "requests": true}', "requests", "True will not do"),
        ('{"kind": "hang", "after_requests": -1}', "after_requests", "-1 will not do"),
        ('{"kind": "hang", "for_seconds": 0}', "for_seconds", "0 will not do"),
        ('{"kind": "hang", "after_seconds": NaN}', "after_seconds", "nan will not do"),
        ('{"kind": "hang", "after_seconds": 1e999}', "after_seconds", "inf will not do"),
        ('{"kind": "hang", "action": "VIDEO"}', "action", "'VIDEO' will not do: it must be MUSIC or LYRICS"),
        ('{"kind": "hang", "dialect": "old"}', "dialect", "'old' will not do: it must be one of new-api"),
        ('{"kind": "hang", "task_ids": "a"}', "task_ids", "'a' will not do: it must be a list"),
        ('{"kind": "hang", "task_ids": [1]}', "task_ids", "[1] will not do: it must be a list"),
        ('{"kind": "hang", "seconds": 1}', "seconds", "means nothing to hang, only to slow, drip"),
        ('{"kind": "status", "status_code": 99}', "status_code", "99 will not do"),
        ('{"kind": "redirect", "status_code": 200}', "status_code", "200 will not do"),
        ('{"kind": "status", "retry_after": "a\\nb"}', "retry_after", "'a\\nb' will not do"),
        ('{"kind": "status", "retry_after": 1, "retry_after_date": 1}', "retry_after_date", "1 will not do"),
        ('{"kind": "status", "content_type": "text/html; charset=x"}', "content_type", "'text/html; char"),
        ('{"kind": "redirect", "location": "\\n"}', "location", "'\\n' will not do"),
        ('{"kind": "hang", "requets": 1}', "requets", "there is no such key: did you mean `requests`?"),
        ('{"kind": "hang", "zzz": 1}', "zzz", "there is no such key: there are kind, path"),
    ],
)
def test_a_wrong_key_is_named_with_its_rule(tmp_path: Path, entry: str, key: str, text: str) -> None:
    """What is wrong with a key of a fault is said with its line and the rule that it breaks."""
    path = write(tmp_path, f'{{"faults": [\n{{"kind": "hang"}},\n{entry}]}}', name="x.json")

    (problem,) = problems(path)
    assert problem.startswith(f"line 3, fault 2, {key}: {text}")


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    """Each problem has its own line, in TOML too, and every other key is read on."""
    text = 'titel = "x"\n[[faults]]\nkind = "hang"\nrequests = 0\n[[faults]]\nkind = "drop"\n[[faults]]\n'

    assert [problem.partition(": ")[0] for problem in problems(write(tmp_path, text))] == [
        "line 1, titel",
        "line 4, fault 1, requests",
        "line 7, fault 3, kind",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("faults = [", "is not TOML: Invalid value (at end of document); a scenario is like `[[faults]]`"),
        ("", "faults: must be a list of at least one fault, like `[[faults]]`"),
        ("faults = []", "line 1, faults: must be a list of at least one fault"),
        ("faults = 3", "line 1, faults: must be a list of at least one fault"),
        ("faults = [1]", 'fault 1: must be a table of keys, like `kind = "hang"`, not 1'),
        ('title = 3\n[[faults]]\nkind = "hang"', "line 1, title: must be a text"),
        ('a = 1\na = 2\n[[faults]]\nkind = "hang"', "is not TOML: Cannot overwrite a value"),
        (b"title = '\xff'", "byte 9: is not UTF-8"),
        ("a = " + "[" * 100_000, "is nested too deeply"),
        ("a = " + "1" * 10_000, "is not TOML: "),
        ("#" * (1024 * 1024 + 1), "is larger than 1 MiB"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str | bytes, problem: str) -> None:
    """A file that is no scenario gets one line that says why and what one looks like."""
    (said,) = problems(write(tmp_path, text))

    assert said.startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"faults": [', "is not JSON: "),
        ("[]", "must hold `title` and `faults`"),
        ('{"faults": [{"kind": "hang", "kind": "drop"}]}', "is not JSON: the key 'kind' is there twice"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_wrong_json_file_is_explained(tmp_path: Path, text: str, problem: str) -> None:
    """JSON is judged as strictly as TOML."""
    (said,) = problems(write(tmp_path, text, name="x.json"))

    assert said.startswith(problem)


def test_the_name_tells_the_form(tmp_path: Path) -> None:
    """A file of another name is not guessed at."""
    assert problems(write(tmp_path, GOOD, name="x.yaml")) == [
        "its name must end in .toml or .json, not in '.yaml'"
    ]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from([".toml", ".json"]))
def test_any_file_is_read_or_explained(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, end: str
) -> None:
    """Whatever bytes are in the file, the answer is a scenario or an explanation."""
    path = write(tmp_path_factory.getbasetemp(), raw, name=f"any{end}")

    assert problems(path)


@given(
    st.dictionaries(
        st.sampled_from([*KEYS, "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(FaultKind),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=3,
        ),
    )
)
def test_any_entry_is_a_fault_or_a_named_mistake(entry: dict[str, object]) -> None:
    """Whatever values the keys have, the answer is a fault or the name of a key."""
    wrong = ""
    try:
        read_fault(entry)
    except BadFault as bad:
        wrong = bad.key

    assert wrong in {"", "other", *KEYS}


@pytest.mark.parametrize("key", KEYS)
def test_the_example_of_a_key_is_right(key: str) -> None:
    """What an error text offers as an example is taken, and every key of a fault has one."""
    kind = next(iter(KEYS[key].kinds), FaultKind.HANG)

    fault = read_fault({"kind": kind.value} | {key: KEYS[key].example})

    assert list(KEYS) == list(Fault.__struct_fields__)
    assert fault != Fault(kind=kind) or KEYS[key].example == getattr(Fault(kind=kind), key)
