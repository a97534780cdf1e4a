"""The verb `exporter`, as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import httpx
import pytest

from tests.cli.conftest import HUB, Cli
from worker.db import session
from worker.metrics.exporter import GONE_AFTER


def environment(database_url: str) -> dict[str, str]:
    """Return what the process gets."""
    return {**os.environ, **HUB, "WORKER_DATABASE_URL": database_url}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal(sqlite_url: str, tmp_path: Path, number: signal.Signals) -> None:
    """It says where, answers scrapes without the time at which series began, and ends with exit code 0."""
    command = [sys.executable, "-m", "worker", "exporter", "--port", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(sqlite_url),
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("Metrics at ").strip()
        try:
            answer = httpx.get(url)
        finally:
            process.send_signal(number)
            _, said = process.communicate()

    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/metrics")
    assert "suno_worker_database_up 1.0\n" in answer.text
    assert "_created" not in answer.text
    assert process.returncode == 0
    (line,) = said.splitlines()
    assert line.endswith("part=broker cannot be read: no broker is known")


def test_a_database_that_is_away_ends_no_exporter(tmp_path: Path) -> None:
    """It starts before its database, as services do after a power cut, and says 0."""
    command = [sys.executable, "-m", "worker", "exporter", "--port", "0"]
    settings = environment("postgresql+psycopg://worker:hunter2@127.0.0.1:1/worker")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=settings
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("Metrics at ").strip()
        try:
            answer = httpx.get(url)
        finally:
            process.terminate()
            _, said = process.communicate()

    assert (answer.status_code, process.returncode) == (200, 0)
    assert "suno_worker_database_up 0.0\n" in answer.text
    assert "Traceback" not in said
    assert "hunter2" not in said


def test_a_port_that_is_taken_is_one_line(cli: Cli) -> None:
    """It names the option that helps."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = cli("exporter", "--port", str(port))

    assert result.exit_code == 1
    assert result.stderr == f"Error: port {port} is in use: choose another with --port, or 0 for a free one\n"


def test_a_silent_database_is_given_up_before_the_scrape(
    bare_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection that is open already TCP alone would wait 20 s for it, and Prometheus waits 10."""

    def create_engine(*_: object, connect_args: dict[str, object], **__: object) -> None:
        raise click.ClickException(f"{connect_args['tcp_user_timeout']} ms")

    monkeypatch.setattr(session, "create_engine", create_engine)
    settings = {**HUB, "WORKER_DATABASE_URL": "postgresql+psycopg://127.0.0.1:1/worker"}
    result = bare_cli("exporter", "--port", "0", env=settings)

    assert result.stderr == f"Error: {GONE_AFTER.seconds * 1000} ms\n"
