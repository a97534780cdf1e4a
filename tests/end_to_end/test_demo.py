"""`suno-worker demo`, run as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "worker", "demo"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give an environment that marks every process of the demo, and keeps its files in a known place.

    It also holds what a user may have configured, which the demo must not touch.
    """
    return {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "WORKER_DATABASE_URL": f"sqlite:///{tmp_path}/production.db",
        "WORKER_BROKER_URL": "redis://127.0.0.1:1/0",
        "WORKER_POLL_INTERVAL": "nonsense",
    }


def left_behind(tmp_path: Path) -> list[str]:
    """Return the processes that carry the mark, and the files that are still there."""
    marked = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={tmp_path}".encode() in (process / "environ").read_bytes().split(b"\0"):
                marked.append((process / "cmdline").read_text())
        except OSError:
            continue
    return marked + [str(file) for file in tmp_path.iterdir()]


def test_the_demo_shows_the_main_job(environment: dict[str, str], tmp_path: Path) -> None:
    """Seven webhooks of three sources come and verify, one of them a FAILURE; nothing is left behind."""
    done = subprocess.run(DEMO, env=environment, capture_output=True, text=True, check=False, timeout=60)
    rows = re.findall(
        r"^\w{8}  (\w+) +(MUSIC|LYRICS) +(\w+) .*→ (\w+) [\d.]+ s +(\w+) +([\d.]+) s$",
        done.stdout,
        re.MULTILINE,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert [(gateway, action, first, last, webhook) for gateway, action, first, last, webhook, _ in rows] == [
        ("openai_hub", "MUSIC", "SUBMITTED", "SUCCESS", "verified"),
        ("openai_hub", "LYRICS", "SUBMITTED", "SUCCESS", "verified"),
        ("rixapi", "MUSIC", "SUBMITTED", "SUCCESS", "verified"),
        ("rixapi", "LYRICS", "SUBMITTED", "SUCCESS", "verified"),
        ("nengyongai", "MUSIC", "SUBMITTED", "SUCCESS", "verified"),
        ("nengyongai", "LYRICS", "SUBMITTED", "SUCCESS", "verified"),
        ("openai_hub", "MUSIC", "SUBMITTED", "FAILURE", "verified"),
    ]
    assert "7 of 7 webhooks came and were verified" in done.stdout
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_cleans_up(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM in the middle end it with exit code 1, without a traceback, and nothing is left."""
    with subprocess.Popen(
        DEMO,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        while "send_task" not in running.stdout.readline():
            assert running.poll() is None
        running.send_signal(number)
        _, errors = running.communicate(timeout=30)

    assert (running.returncode, errors) == (1, "\nAborted!\n")
    assert left_behind(tmp_path) == []


def test_a_demo_that_is_killed_leaves_no_process(environment: dict[str, str], tmp_path: Path) -> None:
    """Even SIGKILL in the middle ends every process of the demo."""
    with subprocess.Popen(DEMO, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        while "send_task" not in running.stdout.readline():
            assert running.poll() is None
        running.kill()

    folder = str(next(tmp_path.iterdir()))
    while (left := left_behind(tmp_path)) != [folder]:
        assert left
