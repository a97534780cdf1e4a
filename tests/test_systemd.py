"""The units start what exists, with few rights, and give what is in flight its time."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest

from tests.test_compose import CELERY_PROGRAMS
from worker.celery import QUEUES
from worker.cli import VERBS
from worker.open_files import NEEDED
from worker.settings import load_settings

FOLDER = Path(__file__).parents[1] / "deploy/systemd"
UNITS = {file.name: file.read_text() for file in sorted(FOLDER.glob("*.service"))}
TARGET = (FOLDER / "suno-worker.target").read_text()
LASTING = [name for name in UNITS if name != "suno-worker-migrate.service"]
PROGRAMS = "/opt/suno-worker/bin/"


def values(unit: str, key: str) -> list[str]:
    """Return what a unit sets a key to, in order."""
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


@pytest.mark.parametrize("name", UNITS)
def test_the_command_exists(name: str) -> None:
    """Each unit runs a verb, or a program of Celery on this app."""
    (line,) = values(UNITS[name], "ExecStart")
    program, *arguments = shlex.split(line)

    match program.removeprefix(PROGRAMS):
        case "suno-worker":
            assert arguments[0] in VERBS
        case "celery":
            assert arguments[:2] == ["-A", "worker"]
            assert arguments[2] in CELERY_PROGRAMS
        case other:
            pytest.fail(f"{other} is none of ours")


def test_the_target_wants_a_worker_for_each_queue() -> None:
    """An instance of the worker's unit reads the queue of its name."""
    assert "-Q %i" in UNITS["suno-worker@.service"]
    assert set(re.findall(r"suno-worker@(\w+)\.service", TARGET)) == set(QUEUES)


def test_the_target_wants_all_that_every_machine_needs() -> None:
    """Workers that no Beat rings do nothing, so one command starts both; one exporter does for a database."""
    wanted = " ".join(values(TARGET, "Wants")).split()

    assert wanted == [*(f"suno-worker@{queue}.service" for queue in QUEUES), "suno-worker-beat.service"]
    started = re.findall(r"systemctl enable --now (\S+)", TARGET)
    assert started == ["suno-worker.target", "suno-worker-exporter"]


def test_a_worker_may_have_enough_files_open() -> None:
    """Whatever the machine's default is."""
    assert values(UNITS["suno-worker@.service"], "LimitNOFILE") == [str(NEEDED)]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_few_rights(name: str) -> None:
    """No unit runs as root, gains a right, or writes outside of its own folder; all have the same rules."""
    unit = UNITS[name]

    assert values(unit, "User") == values(unit, "Group") == values(unit, "StateDirectory") == ["suno-worker"]
    for key, value in (
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""),
    ):
        assert values(unit, key) == [value]
    hardened = {
        one.partition("# It needs")[2].partition("\n\n[Install]")[0].strip() for one in UNITS.values()
    }
    assert len(hardened) == 1


@pytest.mark.parametrize("name", LASTING)
def test_a_stop_waits_for_what_is_in_flight(name: str) -> None:
    """SIGTERM to the main process alone, and time for the longest request and its record."""
    unit = UNITS[name]
    longest = load_settings({"WORKER_GATEWAYS__X__BASE_URL": "https://x", "WORKER_GATEWAYS__X__API_KEY": "k"})
    (seconds,) = values(unit, "TimeoutStopSec")

    assert (values(unit, "KillSignal"), values(unit, "KillMode")) == (["SIGTERM"], ["mixed"])
    assert timedelta(seconds=int(seconds.removesuffix("s"))) >= longest.gateways["x"].timeout + timedelta(
        seconds=15
    )
    assert values(unit, "Restart") == ["always"]


def test_the_settings_of_the_units_are_settings() -> None:
    """The example of the environment file is read without complaint."""
    lines = (FOLDER / "suno-worker.env.example").read_text().splitlines()
    shown = [line for line in lines if line and not line.startswith("#")]

    assert load_settings(dict(line.split("=", 1) for line in shown)).gateways
    assert {path for unit in UNITS.values() for path in values(unit, "EnvironmentFile")} == {
        "/etc/suno-worker/suno-worker.env"
    }
