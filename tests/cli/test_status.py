from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import redis
from rich.console import Console

from tests.cli.conftest import Cli
from tests.factory import NOW, add_batch, add_delivery, add_gateway, add_origin, add_task
from worker import dead_letters
from worker.cli.status import overview_sections
from worker.cli.terminal import drawn
from worker.db import rejections
from worker.db.overview import read_overview
from worker.db.session import Sessions
from worker.settings import load_settings

EMPTY = {
    "tasks": {"SUBMITTED": 0, "IN_PROGRESS": 0, "SUCCESS": 0, "FAILURE": 0},
    "deliveries": {"PENDING": 0, "DELIVERED": 0, "DISCARDED": 0},
    "oldest_due_poll_s": 0.0,
    "oldest_due_delivery_s": 0.0,
    "gateways": [],
    "origins_open": 0,
    "rejections": 0,
    "dead_letters": None,
}


def test_json_of_an_empty_database_has_every_key(cli: Cli) -> None:
    """Every status and state is there with 0; without a broker `dead_letters` is null."""
    result = cli("status", "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == EMPTY


def test_json_counts_what_is_there(cli: Cli, sessions: Sessions, broker_url: str) -> None:
    """Tasks, deliveries, rejections, dead letters and the gateways' health are counted over everything."""
    with sessions.begin() as session:
        add_gateway(session, cooling_until=NOW, last_error="HTTP 502", failures=1)
        add_origin(session)
        add_task(session, status="IN_PROGRESS", poll_batch_id=add_batch(session, next_poll_at=later()))
        add_delivery(session, next_attempt_at=later())
        add_delivery(session, state="DELIVERED")
        rejections.add(session, source="celery:1", reason="task_id: missing", arguments="{}", now=NOW)
    with redis.Redis.from_url(broker_url) as client:
        dead_letters.add(client, queue="enqueue", reason="no id", message=b"x", now=NOW)

    shown = json.loads(cli("status", "--json", env={"WORKER_BROKER_URL": broker_url}).stdout)

    assert shown == {
        "tasks": EMPTY["tasks"] | {"IN_PROGRESS": 1, "SUCCESS": 2},  # type: ignore[operator]
        "deliveries": {"PENDING": 1, "DELIVERED": 1, "DISCARDED": 0},
        "oldest_due_poll_s": 0.0,
        "oldest_due_delivery_s": 0.0,
        "gateways": [{"name": "hub", "cooling_until": "2026-11-21T12:00:00Z", "last_error": "HTTP 502"}],
        "origins_open": 0,
        "rejections": 1,
        "dead_letters": 1,
    }


def test_lateness_is_that_of_the_oldest(cli: Cli, sessions: Sessions) -> None:
    """What has been due for an hour shows as 3,600 s; deliveries that have ended do not count."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session)
        for hours in (1, 0):
            batch = add_batch(session, next_poll_at=later(hours=-hours))
            add_task(session, poll_batch_id=batch)
        add_delivery(session, state="DELIVERED", next_attempt_at=later(hours=-9))
        add_delivery(session, next_attempt_at=later(hours=-2))

    shown = json.loads(cli("status", "--json").stdout)

    assert shown["oldest_due_poll_s"] == pytest.approx(3600, abs=60)
    assert shown["oldest_due_delivery_s"] == pytest.approx(7200, abs=60)


def test_a_gateway_with_work_and_no_settings_is_named(cli: Cli, sessions: Sessions) -> None:
    """Suno tasks of a gateway that is not configured wait for ever: `status` says so."""
    with sessions.begin() as session:
        add_gateway(session, name="gone")
        add_gateway(session, name="idle")
        add_task(session, gateway="gone")

    shown = json.loads(cli("status", "--json").stdout)["gateways"]

    assert {one["name"]: one["last_error"] for one in shown} == {
        "gone": "not configured here: 1 Suno tasks wait for it",
        "idle": None,
    }
    assert "not configured here: 1 Suno tasks wait for it" in cli("status").stdout


def test_a_gateway_that_refuses_its_key_is_shown_with_what_to_do(cli: Cli, sessions: Sessions) -> None:
    """A person reads which variable to look at; machines read the gateway's own words, as ever."""
    said = "HTTP 401: Invalid token"
    with sessions.begin() as session:
        add_gateway(session, cooling_until=later(), last_error=said, failures=3, trouble="unauthorized")

    machine, person = cli("status", "--json"), cli("status")

    (shown,) = json.loads(machine.stdout)["gateways"]
    assert (sorted(shown), shown["last_error"]) == (["cooling_until", "last_error", "name"], said)
    assert f"{said}; check WORKER_GATEWAYS__HUB__API_KEY" in person.stdout


@pytest.mark.parametrize(
    ("trouble", "is_red"), [("unauthorized", True), ("server_error", False), (None, False)]
)
def test_only_a_refused_key_is_red(sessions: Sessions, trouble: str | None, is_red: bool) -> None:
    """Other trouble mostly heals by itself."""
    with sessions.begin() as session:
        add_gateway(session, last_error="x", failures=1, trouble=trouble)
        overview = read_overview(session, now=NOW)
    settings = load_settings(
        {"WORKER_GATEWAYS__HUB__BASE_URL": "http://x", "WORKER_GATEWAYS__HUB__API_KEY": "k"}
    )
    paper = Console(force_terminal=True, color_system="standard", width=200, file=StringIO())

    paper.print(drawn(overview_sections(overview, None, settings=settings)))

    assert isinstance(paper.file, StringIO)
    (line,) = [line for line in paper.file.getvalue().splitlines() if "hub" in line]
    assert ("\x1b[1;31m" in line) == is_red


def test_receivers_behind_a_breaker_are_counted(cli: Cli, sessions: Sessions) -> None:
    """Open ones, and those that probe while deliveries wait; not one whose time is over and that is idle."""
    opened = {"failures": 5, "openings": 1}
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session, origin="https://well.example:443", failures=4)
        add_origin(session, origin="https://idle.example:443", open_until=later(hours=-1), **opened)
        add_origin(session, origin="https://open.example:443", open_until=later(), **opened)
        add_delivery(session, origin="https://probing.example:443")
        add_origin(
            session,
            origin="https://probing.example:443",
            open_until=later(hours=-1),
            next_claim_at=NOW,
            **opened,
        )

    machine, person = cli("status", "--json"), cli("status")

    assert json.loads(machine.stdout)["origins_open"] == 2
    lines = [" ".join(line.split()) for line in person.stdout.splitlines()]
    assert "receivers behind a breaker 2: `suno-worker origins` names them" in lines


def test_a_dead_broker_hides_nothing_else(cli: Cli) -> None:
    """With a broker that does not answer, `status` still counts; dead letters are unknown."""
    env = {"WORKER_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0"}

    machine, person = cli("status", "--json", env=env), cli("status", env=env)

    assert json.loads(machine.stdout) == EMPTY
    assert "unknown: no broker answers" in person.stdout
    assert (person.exit_code, person.stderr) == (0, "")
    assert "hunter2" not in person.output + machine.output


def later(*, hours: float = 1) -> datetime:
    """Return a time that is `hours` from the real now: the database's clock cannot be frozen."""
    return datetime.now(UTC) + timedelta(hours=hours)
