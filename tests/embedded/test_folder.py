from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from worker.embedded.children import spawn
from worker.embedded.folder import Held, hold, write_private


def test_a_lock_has_one_holder_and_names_it(tmp_path: Path) -> None:
    """Who comes second is refused and learns the first one's process id."""
    file = tmp_path / "lock"
    with hold(file), pytest.raises(Held) as refusal, hold(file):
        pass

    assert refusal.value.holder == str(os.getpid())


def test_a_stale_lock_is_free(tmp_path: Path) -> None:
    """A lock file that an ended process left behind holds nobody up, whatever it says."""
    file = tmp_path / "lock"
    file.write_text("4194304000\n")

    with hold(file):
        assert file.read_text() == f"{os.getpid()}\n"


def test_a_lock_that_is_given_up_in_time_is_waited_for(tmp_path: Path) -> None:
    """With patience, a lock that a child inherited is taken as soon as that child has ended."""
    file = tmp_path / "lock"
    with hold(file) as descriptor:
        child = spawn(["sleep", "0.2"], hand_down=[descriptor])
    with pytest.raises(Held), hold(file):
        pass

    with hold(file, patience=20):
        assert child.ended() == 0


def test_a_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    """A private file has mode 0600 from its first moment, also where an older one was open to all."""
    file = tmp_path / "broker-url"
    file.write_text("old")
    file.chmod(0o644)

    write_private(file, "redis://:secret@127.0.0.1:1/0")

    assert file.read_text() == "redis://:secret@127.0.0.1:1/0"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["broker-url"]
