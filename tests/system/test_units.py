"""systemd itself reads the units."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.system.debian import program
from tests.test_systemd import FOLDER, PROGRAMS, UNITS
from worker.celery import QUEUES

MOST_EXPOSED = 2.5  # of 10 by systemd's own count; 9.6 is a unit without any rule


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say; the programs stand in for those of an installation."""
    names = [name for name in UNITS if "@" not in name] + ["suno-worker.target"]
    for name in (*names, "suno-worker@.service"):
        text = (FOLDER / name).read_text()
        (tmp_path / name).write_text(re.sub(rf"{PROGRAMS}\S+", "/bin/true", text))
    for queue in QUEUES:
        (tmp_path / f"suno-worker@{queue}.service").symlink_to(tmp_path / "suno-worker@.service")
        names.append(f"suno-worker@{queue}.service")

    done = subprocess.run(
        [program("systemd-analyze"), "verify", *(tmp_path / name for name in names)],
        capture_output=True,
        text=True,
        check=False,
    )

    ours = [line for line in done.stderr.splitlines() if "suno-worker" in line]
    assert (done.returncode, ours) == (0, [])


def test_systemd_finds_the_units_little_exposed(tmp_path: Path) -> None:
    """By `systemd-analyze security`, for each service."""
    for name, text in UNITS.items():
        file = tmp_path / name.replace("@", "@poll")
        file.write_text(text)
        done = subprocess.run(
            [program("systemd-analyze"), "security", "--offline=true", "--no-pager", file],
            capture_output=True,
            text=True,
            check=True,
        )
        found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
        assert found is not None, done.stdout
        assert float(found[1]) <= MOST_EXPOSED, done.stdout
