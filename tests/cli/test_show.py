from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from tests.cli.conftest import Cli
from tests.factory import (
    HOOK,
    NOW,
    ORIGIN,
    add_attempt,
    add_batch,
    add_delivery,
    add_gateway,
    add_origin,
    add_task,
    add_transition,
)
from worker.cli.timeline import after
from worker.db.session import Sessions

DATA = '[ {"title":"caf\\u00e9 \u9f8d",\n "duration":1.50} ]'


def add_finished(session: Session) -> None:
    """Add a finished task whose result was refused once and is due again."""
    add_gateway(session)
    add_origin(session)
    task = add_task(
        session,
        task_id="song-1",
        status="SUCCESS",
        upstream_status="SUCCESS",
        progress=100,
        data=DATA,
        last_polled_at=NOW,
    )
    add_transition(session, suno_task_id=task, at=NOW - timedelta(seconds=10))
    add_transition(session, suno_task_id=task, from_status="SUBMITTED", to_status="SUCCESS", at=NOW)
    delivery = add_delivery(session, id="msg_1", suno_task_id=task, attempt_count=1)
    add_attempt(
        session,
        delivery_id=delivery,
        status_code=None,
        error="dns_error",
        detail="no such name",
        dns_ms=11,
        next_attempt_at=NOW + timedelta(seconds=5),
    )


def test_json_tells_everything_of_a_finished_task(cli: Cli, sessions: Sessions) -> None:
    """`show --json` has exactly the documented keys; times are UTC in ISO 8601, `data` is the gateway's."""
    with sessions.begin() as session:
        add_finished(session)

    result = cli("show", "song-1", "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "task_id": "song-1",
        "gateway": "hub",
        "action": "MUSIC",
        "status": "SUCCESS",
        "upstream_status": "SUCCESS",
        "progress": 100,
        "fail_reason": "",
        "notify_hook": HOOK,
        "enqueued_at": "2026-11-21T11:59:50Z",
        "finished_at": "2026-11-21T12:00:00Z",
        "last_polled_at": "2026-11-21T12:00:00Z",
        "next_poll_at": None,
        "transitions": [
            {"from": None, "to": "SUBMITTED", "at": "2026-11-21T11:59:50Z"},
            {"from": "SUBMITTED", "to": "SUCCESS", "at": "2026-11-21T12:00:00Z"},
        ],
        "deliveries": [
            {
                "id": "msg_1",
                "state": "PENDING",
                "attempt_count": 1,
                "next_attempt_at": "2026-11-21T12:00:00Z",
                "waits_behind": None,
                "attempts": [
                    {
                        "number": 1,
                        "at": "2026-11-21T12:00:00Z",
                        "trigger": "schedule",
                        "status_code": None,
                        "error": "dns_error",
                        "detail": "no such name",
                        "duration_ms": 12,
                        "dns_ms": 11,
                        "connect_ms": None,
                        "first_byte_ms": None,
                        "remote_address": None,
                        "request_bytes": 2,
                        "request_sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                        "next_attempt_at": "2026-11-21T12:00:05Z",
                    }
                ],
            }
        ],
        "data": [{"title": "café 龍", "duration": 1.5}],
    }
    assert DATA in result.stdout


def test_json_of_a_pending_task_has_its_batchs_times(cli: Cli, sessions: Sessions) -> None:
    """A task that is not finished shows when its batch was and will be polled, and has no data."""
    with sessions.begin() as session:
        add_gateway(session)
        batch = add_batch(session, last_polled_at=NOW - timedelta(seconds=5))
        add_task(session, task_id="song-1", status="IN_PROGRESS", progress=40, poll_batch_id=batch)

    shown = json.loads(cli("show", "song-1", "--json").stdout)

    assert (shown["next_poll_at"], shown["last_polled_at"]) == (
        "2026-11-21T12:00:00Z",
        "2026-11-21T11:59:55Z",
    )
    assert (shown["data"], shown["deliveries"], shown["finished_at"]) == (None, [], None)


def test_a_delivery_that_has_ended_has_no_next_attempt(cli: Cli, sessions: Sessions) -> None:
    """`next_attempt_at` is null once a delivery is DISCARDED, whatever its row still holds."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session)
        task = add_task(session, task_id="song-1", status="FAILURE")
        add_delivery(session, suno_task_id=task, state="DISCARDED", discard_reason="410 Gone")

    (delivery,) = json.loads(cli("show", "song-1", "--json").stdout)["deliveries"]

    assert (delivery["state"], delivery["next_attempt_at"]) == ("DISCARDED", None)
    assert "410 Gone" in cli("show", "song-1").stdout


def test_a_person_reads_one_timeline(cli: Cli, sessions: Sessions) -> None:
    """Enqueue, transitions, attempts and what comes next are one list in the order of their times."""
    with sessions.begin() as session:
        add_finished(session)

    result = cli("show", "song-1")

    assert result.exit_code == 0
    day = "2026-11-21"
    said = "12 ms (dns 11); 2 B, sha256 44136fa355b3; next 2026-11-21 12:00:05Z; no such name"
    assert table(result.stdout, title="Timeline") == [
        "at after what details",
        f"{day} 11:59:50Z +0 s enqueued {HOOK}",
        f"{day} 11:59:50Z +0 s SUBMITTED",
        f"{day} 12:00:00Z +10 s SUBMITTED → SUCCESS",
        f"{day} 12:00:00Z +10 s attempt 1: dns_error {said}",
        f"{day} 12:00:00Z +10 s attempt 2 is due",
    ]
    assert table(result.stdout, title="Deliveries") == ["id state attempts why", "msg_1 PENDING 1 -"]


def test_a_pending_task_shows_when_it_is_asked_about(cli: Cli, sessions: Sessions) -> None:
    """The timeline of a task that is not finished ends with its next poll."""
    with sessions.begin() as session:
        add_gateway(session)
        batch = add_batch(session, next_poll_at=NOW + timedelta(hours=1))
        add_task(session, task_id="song-1", status="IN_PROGRESS", poll_batch_id=batch, notify_hook=None)

    shown = table(cli("show", "song-1").stdout, title="Timeline")

    assert shown[1:] == [
        "2026-11-21 11:59:50Z +0 s enqueued only watched",
        "2026-11-21 13:00:00Z +1 h 00 min next poll",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "+0 s"),
        (0.9, "+0 s"),
        (59, "+59 s"),
        (60, "+1 min 00 s"),
        (3599, "+59 min 59 s"),
        (3600, "+1 h 00 min"),
        (169_260, "+47 h 01 min"),
    ],
)
def test_lengths_are_read_at_a_glance(seconds: float, words: str) -> None:
    """A length has its two largest units, and is never below zero."""
    assert after(timedelta(seconds=seconds)) == words


def test_a_delivery_says_which_breaker_it_waits_behind(cli: Cli, sessions: Sessions) -> None:
    """A PENDING one names its origin and until when; while that is probing, that it is."""
    now = datetime.now(UTC).replace(microsecond=0)
    until = now + timedelta(minutes=5)
    with sessions.begin() as session:
        add_gateway(session)
        task = add_task(session, task_id="song-1", status="SUCCESS", data="1")
        add_delivery(session, suno_task_id=task, next_attempt_at=now)
        add_origin(session, failures=5, openings=3, open_until=until)

    text, machine = cli("show", "song-1"), cli("show", "song-1", "--json")

    assert f"waits behind the breaker of {ORIGIN} until {until:%Y-%m-%d %H:%M:%S}Z" in text.stdout
    (delivery,) = json.loads(machine.stdout)["deliveries"]
    assert delivery["waits_behind"] == {
        "origin": ORIGIN,
        "breaker": "open",
        "open_until": f"{until:%Y-%m-%dT%H:%M:%S}Z",
    }

    with sessions.begin() as session:
        add_origin(session, open_until=now)

    probing = f"waits behind the breaker of {ORIGIN} while one delivery at a time probes it"
    assert probing in cli("show", "song-1").stdout


def test_attempts_stand_in_the_timeline(cli: Cli, sessions: Sessions) -> None:
    """Each attempt says what came of it, where its time went, where it went and who asked for it."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session)
        task = add_task(session, task_id="song-1", status="SUCCESS", data="1")
        delivery = add_delivery(session, suno_task_id=task, state="DELIVERED", attempt_count=2)
        later = {"at": NOW + timedelta(minutes=1), "trigger": "resend", "number": 2, "status_code": 200}
        way = {"dns_ms": 1, "connect_ms": 20, "first_byte_ms": 300, "remote_address": "192.0.2.7"}
        add_attempt(session, delivery_id=delivery, duration_ms=322, detail="ok", **later, **way)
        add_attempt(session, delivery_id=delivery, first_byte_ms=9, detail="x" * 300, remote_address="::1")

    log = table(cli("show", "song-1").stdout, title="Timeline")[2:]

    sent = "2 B, sha256 44136fa355b3"
    way_there = "322 ms (dns 1, connect 20, first byte 300); to 192.0.2.7"
    assert log == [
        f"2026-11-21 12:00:00Z +10 s attempt 1: 500 12 ms (first byte 9); to ::1; {sent}; {'x' * 199}…",
        f"2026-11-21 12:01:00Z +1 min 10 s attempt 2: 200 {way_there}; {sent}; by resend; ok",
    ]


def table(text: str, *, title: str) -> list[str]:
    """Return the lines of one table, its heads first, with single spaces between the cells."""
    lines = text.splitlines()
    rest = lines[lines.index(title) + 1 :]
    end = rest.index("") if "" in rest else len(rest)
    return [" ".join(line.split()) for line in rest[:end]]


def test_strangers_words_are_shown_literally(cli: Cli, sessions: Sessions) -> None:
    """Escape sequences, direction marks and rich's markup come out as what they are, in text and in JSON."""
    hostile = "[red]\x1b[2J\u202egnp\x9b1m[/red]"
    with sessions.begin() as session:
        add_gateway(session)
        add_task(
            session, task_id="song-1", status="FAILURE", fail_reason=hostile, data='"\u202e\x7f\U000e0001"'
        )

    text, machine = cli("show", "song-1"), cli("show", "song-1", "--json")

    assert "[red]\\x1b[2J\\u202egnp\\x9b1m[/red]" in text.stdout
    assert '"\\u202e\\x7f\\U000e0001"' in text.stdout
    assert json.loads(machine.stdout)["fail_reason"] == hostile
    assert json.loads(machine.stdout)["data"] == "\u202e\x7f\U000e0001"
    assert all(one.isprintable() or one == "\n" for one in text.stdout + machine.stdout)


def test_an_unknown_task_is_a_failure(cli: Cli) -> None:
    """No such Suno task: exit code 1 and one line."""
    result = cli("show", "song-1", "--json")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: there is no Suno task song-1; `suno-worker enqueue` puts one under watch\n"
    )


def test_the_gateway_is_asked_for_only_when_it_matters(cli: Cli, sessions: Sessions) -> None:
    """An id at two gateways needs `--gateway`: without it exit code 2 and their names."""
    with sessions.begin() as session:
        for name in ("hub", "other"):
            add_gateway(session, name=name)
            add_task(session, gateway=name, task_id="song-1")

    several = cli("show", "song-1")
    chosen = cli("show", "song-1", "--gateway", "Other", "--json")
    elsewhere = cli("show", "song-1", "--gateway", "third")

    assert (several.exit_code, several.stdout) == (2, "")
    assert "Suno task song-1 is at several gateways: hub, other; name one with --gateway" in several.stderr
    assert json.loads(chosen.stdout)["gateway"] == "other"
    assert elsewhere.exit_code == 1
    assert (
        elsewhere.stderr == "Error: gateway third has no Suno task song-1; it is at hub, other: name that\n"
    )
