from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from worker.cli import main

# (arguments, stdin) -> what a call of the verb printed and how it ended.
Cli = Callable[..., Result]

HUB = {"WORKER_GATEWAYS__HUB__BASE_URL": "https://hub.example", "WORKER_GATEWAYS__HUB__API_KEY": "sk-hub"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with no settings."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return empty


@pytest.fixture
def bare_cli(folder: Path) -> Cli:
    """Call verbs in this process, in an empty folder, with nothing configured but what the call says."""
    assert folder.is_dir()

    def call(*arguments: str, stdin: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=stdin, env=env, prog_name="suno-worker")

    return call


@pytest.fixture
def cli(bare_cli: Cli, database_url: str) -> Cli:
    """Call verbs with a fresh, migrated database and one gateway, `hub`."""

    def call(*arguments: str, stdin: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
        settings = {"WORKER_DATABASE_URL": database_url, **HUB, **(env or {})}
        return bare_cli(*arguments, stdin=stdin, env=settings)

    return call
