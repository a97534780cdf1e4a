"""The verb `demo` where no worker answers; `tests/end_to_end/test_demo.py` runs it as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.factory import add_gateway
from worker.cli import demo
from worker.cli.rehearsal import Rehearsal
from worker.db.session import Sessions, make_engine, make_sessions
from worker.embedded.children import spawn
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import hosted
from worker.sandbox.receiver import SandboxReceiver, Webhook
from worker.sandbox.sources import SOURCES
from worker.settings import load_settings


@pytest.fixture
def sqlite_sessions(sqlite_url: str) -> Iterator[Sessions]:
    """Give sessions on the test's own SQLite database."""
    engine = make_engine(sqlite_url)
    yield make_sessions(engine)
    engine.dispose()


def now() -> datetime:
    """Return the moment."""
    return datetime.now(UTC)


def test_a_demo_whose_webhooks_do_not_come_fails(
    sqlite_sessions: Sessions,
    sqlite_url: str,
    broker_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At its deadline the demo says how many came, shows each task, and ends with exit code 1."""
    with sqlite_sessions.begin() as session:
        for source in SOURCES:
            add_gateway(session, name=source.name)
    settings = load_settings({"WORKER_DATABASE_URL": sqlite_url})

    @contextmanager
    def no_worker(*, lasts: timedelta, say: Callable[[Webhook], None]) -> Iterator[Rehearsal]:
        gateway = SandboxGateway(clock=now, lasts=lasts)
        up = spawn(["sleep", "60"])
        with hosted(gateway.app()) as url:
            yield Rehearsal(
                settings=settings,
                broker_url=broker_url,
                gateway=gateway,
                gateway_url=url,
                api_key="any",
                receiver=SandboxReceiver(clock=now, verify=None, say=say),
                hook="https://receiver.example/hook",
                up=up,
                log=tmp_path / "up.log",
            )
        up.stop(grace=5)

    monkeypatch.setattr(demo, "rehearse", no_worker)
    monkeypatch.setattr(demo, "DEADLINE_S", 0.1)
    outcome = CliRunner().invoke(demo.demo)

    assert outcome.exit_code == 1
    assert "0 of 7 webhooks came and were verified" in outcome.stdout
    assert outcome.stdout.count("did not come") == 7
    assert outcome.stderr == (
        "Error: not every webhook came and verified within 0 s: "
        "the table above says which; a busy machine may need a second try\n"
    )


def test_the_sandbox_has_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the demo says how to get it, and nothing else."""
    monkeypatch.setattr(demo, "find_spec", lambda _name: None)

    outcome = CliRunner().invoke(demo.demo)

    assert outcome.exit_code == 1
    assert (
        outcome.stderr
        == "Error: the demo needs the standardwebhooks library: pip install 'suno-worker[sandbox]'\n"
    )
    assert outcome.stdout == ""
