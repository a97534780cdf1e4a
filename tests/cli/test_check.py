from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest
import redis
from freezegun import freeze_time
from sqlalchemy import Engine, text

from tests.cli.conftest import Cli
from tests.factory import add_gateway, add_task
from worker.cli import checks, probes
from worker.db.migrate import downgrade
from worker.db.session import Sessions
from worker.sandbox.faults import Fault, FaultKind
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import hosted

KEY = "sk-sandbox"
SANDBOX = "WORKER_GATEWAYS__SANDBOX"


@pytest.fixture
def gateway() -> SandboxGateway:
    """Give a simulated gateway that asks for a key."""
    return SandboxGateway(clock=lambda: datetime.now(UTC), api_key=KEY)


@pytest.fixture
def gateway_url(gateway: SandboxGateway) -> Iterator[str]:
    """Give the address at which the simulated gateway is served."""
    with hosted(gateway.app()) as url:
        yield url


@pytest.fixture
def right(database_url: str, broker_url: str, gateway_url: str) -> dict[str, str]:
    """Give settings with which nothing is wrong."""
    return {
        "WORKER_DATABASE_URL": database_url,
        "WORKER_BROKER_URL": broker_url,
        "WORKER_WEBHOOK_SECRET": "whsec_" + "A" * 43 + "=",
        f"{SANDBOX}__BASE_URL": gateway_url,
        f"{SANDBOX}__API_KEY": KEY,
    }


def words(output: str) -> dict[str, str]:
    """Return OK or FAIL for each line of `check`."""
    return {line[5:25].strip(): line[:4].strip() for line in output.splitlines()}


def test_machines_read_the_same_lines(bare_cli: Cli, right: dict[str, str]) -> None:
    """`check --json` has each line with its verdict; the exit code is 1 if any failed."""
    good = bare_cli("check", "--json", env=right)
    bad = bare_cli("check", "--json", env=right | {f"{SANDBOX}__API_KEY": "sk-wrong"})

    parts = ["settings", "database", "migrations", "clock", "broker", "messages", "gateway sandbox"]
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert [(one["check"], one["ok"]) for one in json.loads(good.stdout)] == [(part, True) for part in parts]
    failed = [one for one in json.loads(bad.stdout) if not one["ok"]]
    assert [one["check"] for one in failed] == ["gateway sandbox"]
    assert f"{SANDBOX}__API_KEY" in failed[0]["text"]


def test_all_right_is_one_ok_for_each_part(bare_cli: Cli, right: dict[str, str]) -> None:
    """With everything in place, each part has its line, none fails, and nothing is written."""
    result = bare_cli("check", env=right)

    assert (result.exit_code, result.stderr) == (0, "")
    assert words(result.stdout) == dict.fromkeys(
        ["settings", "database", "migrations", "clock", "broker", "messages", "gateway sandbox"], "OK"
    )
    assert "1 gateway, webhooks signed" in result.stdout


@pytest.mark.parametrize("prefix", ["openai-hub", "rixapi", "nengyongai"])
def test_a_gateway_of_any_kind_is_asked_about_an_unknown_id(
    bare_cli: Cli, right: dict[str, str], gateway: SandboxGateway, gateway_url: str, prefix: str
) -> None:
    """An answer that does not know the id is a good answer, in each kind of gateway's own form."""
    right[f"{SANDBOX}__BASE_URL"] = f"{gateway_url}/{prefix}"
    right[f"{SANDBOX}__FETCH"] = "single" if prefix == "nengyongai" else "batch"

    result = bare_cli("check", env=right)

    assert result.exit_code == 0, result.output
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (Fault(kind=FaultKind.STATUS, status_code=401), "check WORKER_GATEWAYS__SANDBOX__API_KEY"),
        (Fault(kind=FaultKind.STATUS, status_code=403), "check WORKER_GATEWAYS__SANDBOX__API_KEY"),
        (Fault(kind=FaultKind.STATUS, status_code=404), "BASE_URL"),
        (Fault(kind=FaultKind.STATUS, status_code=429), "CONCURRENCY"),
        (Fault(kind=FaultKind.STATUS, status_code=502), "the gateway is in trouble"),
        (Fault(kind=FaultKind.HTML), "BASE_URL"),
        (Fault(kind=FaultKind.HTML), "wrong base URL?"),
        (Fault(kind=FaultKind.DROP), "BASE_URL"),
        (Fault(kind=FaultKind.HANG), "BASE_URL"),
    ],
)
def test_a_gateway_in_trouble_is_told_with_advice(
    bare_cli: Cli, right: dict[str, str], gateway: SandboxGateway, fault: Fault, advice: str
) -> None:
    """Each trouble of a gateway fails its own line only, says what to do, and shows no key."""
    gateway.faults.switch_on(fault)
    right[f"{SANDBOX}__TIMEOUT"] = "0.5"

    result = bare_cli("check", env=right)

    assert result.exit_code == 1
    assert result.stderr == "Error: 1 of 7 checks failed; their lines say what to do\n"
    assert words(result.stdout)["gateway sandbox"] == "FAIL"
    assert advice in result.stdout.splitlines()[-1]
    assert KEY not in result.output


def test_broken_settings_are_reported_together(bare_cli: Cli) -> None:
    """Every wrong variable has its line, and nothing else is looked at."""
    env = {"WORKER_POLL_INTERVAL": "soon", "WORKER_TASK_DEADLINE": "-1", "WORKER_WEBHOOK_SECRET": "hunter2"}

    result = bare_cli("check", env=env)

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line[:13] for line in lines] == ["FAIL settings"] * 3
    assert [name for name in sorted(env) if not any(name in line for line in lines)] == []
    assert "hunter2" not in result.output


def test_a_database_without_tables_says_migrate(bare_cli: Cli, right: dict[str, str], engine: Engine) -> None:
    """A database that lacks migrations fails that line alone, and the line names the verb."""
    downgrade(engine, revision="base")

    result = bare_cli("check", env=right)

    assert result.exit_code == 1
    assert words(result.stdout)["database"] == "OK"
    assert words(result.stdout)["migrations"] == "FAIL"
    assert "suno-worker migrate" in result.stdout


def test_a_database_of_a_newer_version_is_told(bare_cli: Cli, right: dict[str, str], engine: Engine) -> None:
    """A revision that this version does not know means that a newer one was here."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    result = bare_cli("check", env=right)

    assert words(result.stdout)["migrations"] == "FAIL"
    assert "a newer version" in result.stdout


def test_what_is_missing_is_told_at_once(bare_cli: Cli) -> None:
    """In an empty folder each line fails with its remedy, and no database file is made."""
    result = bare_cli("check")

    assert result.exit_code == 1
    assert set(words(result.stdout).values()) == {"FAIL"}
    assert "suno-worker migrate" in result.stdout
    assert "suno-worker up" in result.stdout
    assert "WORKER_GATEWAYS__<NAME>__BASE_URL" in result.stdout
    assert bare_cli("check").stdout == result.stdout


def test_a_message_in_the_wrong_list_is_found(bare_cli: Cli, right: dict[str, str], broker_url: str) -> None:
    """`suno.*` messages in the list `celery` are counted; other programs' messages there are not."""
    with redis.Redis.from_url(broker_url) as client:
        for name in ("suno.enqueue", "suno.enqueue", "their.own"):
            client.lpush("celery", json.dumps({"headers": {"task": name}}))

    result = bare_cli("check", env=right)

    assert result.exit_code == 1
    assert words(result.stdout)["messages"] == "FAIL"
    assert (
        '2 for suno.* lie in the list `celery`, which nobody reads: their sender must pass queue="enqueue"'
        in (result.stdout)
    )


def test_a_gateway_that_was_forgotten_is_named(
    bare_cli: Cli, right: dict[str, str], sessions: Sessions
) -> None:
    """A gateway with pending Suno tasks and no settings fails with the variables to set."""
    with sessions.begin() as session:
        add_gateway(session, name="gone")
        add_gateway(session, name="idle")
        add_task(session, gateway="gone")

    result = bare_cli("check", env=right)

    assert result.exit_code == 1
    assert words(result.stdout)["gateway gone"] == "FAIL"
    assert "gateway idle" not in words(result.stdout)
    assert "WORKER_GATEWAYS__GONE__BASE_URL" in result.stdout


def test_a_clock_that_is_off_is_told(bare_cli: Cli, right: dict[str, str], postgresql_url: str) -> None:
    """More than 2 s between this machine's clock and PostgreSQL's fails the line."""
    with freeze_time("2020-01-01", real_asyncio=True):
        result = bare_cli("check", env=right | {"WORKER_DATABASE_URL": postgresql_url})

    assert words(result.stdout)["clock"] == "FAIL"
    assert "behind the database's: set this machine's by NTP" in result.stdout


def test_what_cannot_be_reached_fails_its_lines(bare_cli: Cli, right: dict[str, str]) -> None:
    """A database and a broker that nobody serves fail with their place, without passwords."""
    away = {
        "WORKER_DATABASE_URL": "postgresql+psycopg://worker:hunter2@127.0.0.1:1/songs",
        "WORKER_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0",
    }

    result = bare_cli("check", env=right | away)

    assert result.exit_code == 1
    failed = [line for line, word in words(result.stdout).items() if word == "FAIL"]
    assert failed == ["database", "migrations", "clock", "broker", "messages"]
    assert "PostgreSQL songs at 127.0.0.1:1: " in result.stdout
    assert "the broker does not answer: " in result.stdout
    assert "hunter2" not in result.output


def test_a_mistake_of_ours_in_a_look_keeps_its_traceback(
    bare_cli: Cli, right: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what was expected becomes a FAIL line."""

    def broken(_: object) -> list[probes.Finding]:
        raise ZeroDivisionError

    for look in (
        "broker_findings",
        "database_findings",
        "gateway_findings",
    ):  # else they go on in their threads
        monkeypatch.setattr(checks, look, broken)

    assert isinstance(bare_cli("check", env=right).exception, ZeroDivisionError)


def test_what_hangs_is_given_up(
    bare_cli: Cli, right: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that takes connections and says nothing costs the deadline, not for ever."""

    class Noting(Future[list[probes.Finding]]):
        def result(self, timeout: float | None = None) -> list[probes.Finding]:
            waits.append(timeout)
            return super().result(timeout)

    waits: list[float | None] = []
    monkeypatch.setattr(checks, "DEADLINE_S", 1.5)
    monkeypatch.setattr(checks, "Future", Noting)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"

        result = bare_cli("check", env=right | {"WORKER_BROKER_URL": url})

    assert len(waits) == 3
    assert all(wait is not None and wait <= 1.5 for wait in waits)
    assert words(result.stdout)["broker"] == "FAIL"
    assert "no answer within 1.5 s" in result.stdout
    assert words(result.stdout)["gateway sandbox"] == "OK"
