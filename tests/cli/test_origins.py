from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from tests.cli.conftest import Cli
from tests.factory import ORIGIN, add_delivery, add_gateway, add_origin
from worker.db.session import Sessions

WELL = "https://well.example:443"


def fill(sessions: Sessions, *, until: datetime) -> None:
    """Add an origin whose breaker is open until `until`, with two deliveries, and one that is well."""
    with sessions.begin() as session:
        add_gateway(session)
        add_delivery(session)
        add_delivery(session)
        add_origin(session, concurrency=2, failures=5, openings=3, open_until=until, next_claim_at=until)
        add_origin(session, origin=WELL, concurrency=200)


def test_json_tells_everything_of_an_origin(cli: Cli, sessions: Sessions) -> None:
    """Limit, what is in force of it, breaker, what waits and when it is looked at next; trouble first."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    fill(sessions, until=until)

    result = cli("origins", "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == [
        {
            "origin": ORIGIN,
            "limit": 2,
            "limit_in_force": 0,
            "in_flight": 0,
            "breaker": "open",
            "open_until": f"{until:%Y-%m-%dT%H:%M:%S}Z",
            "openings": 3,
            "failures": 5,
            "pending": 2,
            "next_claim_at": f"{until:%Y-%m-%dT%H:%M:%S}Z",
            "last_used_at": "2026-11-21T12:00:00Z",
        },
        {
            "origin": WELL,
            "limit": 200,
            "limit_in_force": 16,
            "in_flight": 0,
            "breaker": "closed",
            "open_until": None,
            "openings": 0,
            "failures": 0,
            "pending": 0,
            "next_claim_at": None,
            "last_used_at": "2026-11-21T12:00:00Z",
        },
    ]


def test_a_person_reads_the_same(cli: Cli, sessions: Sessions) -> None:
    """Each origin is a line; the configured most bounds what is in force."""
    until = datetime.now(UTC) + timedelta(minutes=5)
    fill(sessions, until=until)

    shown = cli("origins", env={"WORKER_WEBHOOK_ORIGIN_CONCURRENCY": "16"}).stdout

    then = f"{until:%Y-%m-%d %H:%M:%S}Z"
    assert [" ".join(line.split()) for line in shown.splitlines()] == [
        "Origins",
        "origin limit in force in flight breaker failures in a row pending deliveries next look",
        f"{ORIGIN} 2 0 0 open until {then} 5 2 {then}",
        f"{WELL} 200 16 0 closed 0 0 -",
    ]


def test_a_breaker_whose_time_is_over_is_probing(cli: Cli, sessions: Sessions) -> None:
    """One POST at a time is in force, whatever the limit is."""
    over = datetime.now(UTC) - timedelta(seconds=1)
    fill(sessions, until=over)

    line = cli("origins").stdout.splitlines()[2]

    assert " ".join(line.split()) == f"{ORIGIN} 2 1 0 probing 5 2 {over:%Y-%m-%d %H:%M:%S}Z"


def test_a_long_list_is_cut_and_says_so(cli: Cli, sessions: Sessions) -> None:
    """The title tells how many there are; what was cut is the least troubled."""
    fill(sessions, until=datetime.now(UTC) + timedelta(minutes=5))

    shown = cli("origins", "--limit", "1").stdout

    assert shown.startswith("Origins (1 of 2: see --limit)\n")
    assert (ORIGIN in shown, WELL in shown) == (True, False)


def test_nothing_was_ever_sent(cli: Cli) -> None:
    """An empty database has no origins, which is no failure."""
    text, machine = cli("origins"), cli("origins", "--json")

    assert (text.exit_code, text.stdout) == (0, "Origins\nnone\n")
    assert (machine.exit_code, json.loads(machine.stdout)) == (0, [])
