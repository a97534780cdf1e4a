"""Search for bytes that break the reading of answers, led by the branches of `worker.core` that they reach.

    python -m tests.fuzz.fuzz_answers FOLDER -max_total_time=60

FOLDER keeps what was found to be interesting, so that runs add up; the samples are put there first. All other
arguments are libFuzzer's. It ends at the first broken promise, with a traceback and the input in a file
`crash-…`, which is run again by giving its path instead of FOLDER.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["worker.core"]):
    from worker.core import envelope, excerpts, fields, items, lifecycle, plain, raw_json, single, wire, words

from tests.fuzz.answers import IDS, Answer, check
from tests.fuzz.mutations import SAMPLES, mutate

INSTRUMENTED = (envelope, excerpts, fields, items, lifecycle, plain, raw_json, single, wire, words)
DICTIONARY = Path(__file__).parent / "answers.dict"


def test_one_input(text: bytes) -> None:
    """Judge one input; the first two bytes choose the question."""
    check(Answer.of_bytes(text))


def change(text: bytes, most: int, seed: int) -> bytes:
    """Change an input: half of the time as JSON, else as libFuzzer does."""
    random = Random(seed)  # noqa: S311 - the fuzzer seeds it, so that a run can be repeated
    if random.random() < 0.5:
        return (text[:2] + mutate(text[2:], random=random))[:most]
    changed: bytes = atheris.Mutate(text, most)
    return changed


def seed(folder: Path) -> None:
    """Put every sample into `folder`, once as a batch and once as a single answer about each id."""
    folder.mkdir(parents=True, exist_ok=True)
    for sample in SAMPLES:
        for question in (0, *(1 | number << 2 for number in range(len(IDS)))):
            text = bytes([question, 0]) + sample
            (folder / sha256(text).hexdigest()).write_bytes(text)


def main() -> None:
    """Hand over to libFuzzer."""
    folder = Path(sys.argv[1])
    if not folder.is_file():
        seed(folder)
    atheris.Setup([*sys.argv, f"-dict={DICTIONARY}"], test_one_input, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
