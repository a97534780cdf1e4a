from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from tests.cli.conftest import Cli
from tests.factory import ORIGIN, add_delivery, add_gateway
from worker import recovery
from worker.db.models import Delivery
from worker.db.session import Sessions

OTHER = "https://other.example:8443"
HOUR = timedelta(hours=1)


@pytest.fixture
def now() -> datetime:
    """Give the present, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def given_up(sessions: Sessions, now: datetime) -> Sessions:
    """Give deliveries that were discarded 30 h, 3 h and 1 h ago and, at another origin, 1 h ago."""
    with sessions.begin() as session:
        add_gateway(session)
        for name, hours, origin in (("a", 30, ORIGIN), ("b", 3, ORIGIN), ("c", 1, ORIGIN), ("d", 1, OTHER)):
            add_delivery(
                session,
                id=f"msg_{name}",
                origin=origin,
                state="DISCARDED",
                discarded_at=now - hours * HOUR,
                discard_reason="given up",
                attempt_count=11,
            )
    return sessions


def due(sessions: Sessions) -> str:
    """Return the last letters of all PENDING deliveries' ids."""
    with sessions() as session:
        return "".join(
            one[-1]
            for one in session.scalars(
                select(Delivery.id).where(Delivery.state == "PENDING").order_by(Delivery.id)
            )
        )


def zulu(moment: datetime) -> str:
    """Return a time as the summary shows it."""
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def test_what_was_given_up_is_due_again(cli: Cli, given_up: Sessions, now: datetime) -> None:
    """One line says how many, and for which stretch of time in UTC."""
    since, until = now - 4 * HOUR, now - HOUR / 2

    result = cli("recover", "--since", since.isoformat(), "--until", f"{until:%Y-%m-%d %H:%M:%S}")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"3 deliveries given up from {zulu(since)} to {zulu(until)} are due now\n"
    assert due(given_up) == "bcd"


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (("--since", "2h"), "cd"),
        (("--since", "2d"), "abcd"),
        (("--since", "2d", "--until", "2h"), "ab"),
        (("--since", "2d", "--until", "now"), "abcd"),
        (("--since", "2d", "--until", "9999-12-31"), "abcd"),
        (("--since", "2h", "--origin", "https://OTHER.example:8443/hook?token=1"), "d"),
        (("--since", "2h", "--origin", "https://receiver.example"), "c"),
        (("--since", "2h", "--origin", "http://receiver.example"), ""),
        (("--since", "30m"), ""),
    ],
)
def test_the_range_and_the_origin_choose(
    cli: Cli, given_up: Sessions, arguments: tuple[str, ...], ids: str
) -> None:
    """Relative times count from now, `--until` is now by default, and an origin may be any URL of it."""
    result = cli("recover", *arguments)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{len(ids)} deliveries ")
    assert due(given_up) == ids


def test_a_dry_run_only_counts(cli: Cli, given_up: Sessions) -> None:
    """How many for each origin, the most first; nothing is changed."""
    result = cli("recover", "--since", "2d", "--dry-run")

    assert (result.exit_code, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[:4] == ["Given up", "origin deliveries", f"{ORIGIN} 3", f"{OTHER} 1"]
    assert lines[4].startswith("4 deliveries were given up from ")
    assert lines[4].endswith("; nothing was changed")
    assert due(given_up) == ""


def test_json_tells_the_same(cli: Cli, given_up: Sessions, now: datetime) -> None:
    """The keys are the same in a dry run; the origin is as the tables have it."""
    arguments = ("recover", "--since", (now - 4 * HOUR).isoformat(), "--until", now.isoformat(), "--json")
    range_ = {"since": iso(now - 4 * HOUR), "until": iso(now), "left": 0}
    dry, real = (
        json.loads(cli(*arguments, *more).stdout)
        for more in (("--dry-run",), ("--origin", "HTTPS://receiver.example"))
    )

    one, two = {"origin": OTHER, "deliveries": 1}, {"origin": ORIGIN, "deliveries": 2}
    assert dry == {
        **range_,
        "origin": None,
        "dry_run": True,
        "found": 3,
        "recovered": 0,
        "origins": [two, one],
    }
    assert real == {
        **range_,
        "origin": ORIGIN,
        "dry_run": False,
        "found": 2,
        "recovered": 2,
        "origins": [two],
    }
    assert due(given_up) == "bc"


def iso(moment: datetime) -> str:
    """Return a time as JSON has it."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def test_more_than_one_call_takes_is_said(
    cli: Cli, given_up: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest go first; the line says how many are left for another call, also in a dry run."""
    monkeypatch.setattr(recovery, "MOST", 3)

    dry, first, second = (cli("recover", "--since", "2d", *more) for more in (("--dry-run",), (), ()))

    assert dry.stdout.endswith("; one call takes the oldest 3; nothing was changed\n")
    assert first.stdout.startswith("3 deliveries given up ")
    assert first.stdout.endswith(" are due now; that is the most of one call: call again for the other 1\n")
    assert second.stdout.startswith("1 deliveries given up ")
    assert second.stdout.endswith(" are due now\n")
    assert due(given_up) == "abcd"


def test_a_long_list_of_origins_is_cut(cli: Cli, given_up: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person sees those with the most; the number in the summary is that of all."""
    monkeypatch.setattr("worker.cli.recovery_report.SHOWN_ORIGINS", 1)

    shown = cli("recover", "--since", "2d", "--dry-run").stdout

    assert shown.startswith("Given up (the first 1 of 2)\n")
    assert (ORIGIN in shown, OTHER in shown, "\n4 deliveries " in shown) == (True, False, True)
    assert due(given_up) == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--since'"),
        (("--since", "soon"), "'--since': 'soon' is no time: try 2026-11-21T08:30 (UTC)"),
        (("--since", "2h", "--until", "x\x1b[2J"), "'--until': 'x\\\\x1b[2J' is no time: try "),
        (("--since", "1h", "--until", "2h"), "'--since': "),
        (("--since", "now"), "'--since': "),
        (("--since", "9999-01-01", "--until", "9999-02-01"), "(now at the latest); example: --since 2h --"),
        (("--since", "2h", "--origin", "receiver"), "'--origin': must start with http:// or https://; ex"),
        (("--since", "2h", "--origin", "https://u:hunter2@h"), "'--origin': holds a user name or password"),
        (("--since", "2h", "--origin", "https://a b"), "'--origin': the host is no name that can be looked"),
    ],
)
def test_wrong_usage_is_told(cli: Cli, given_up: Sessions, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, the option, what is wrong and an example; no secret, and nothing is changed."""
    result = cli("recover", *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "hunter2" not in result.stderr
    assert "\x1b" not in result.stderr
    assert due(given_up) == ""


def test_a_range_the_wrong_way_round_names_both_ends(cli: Cli, now: datetime) -> None:
    """The message shows the times that were understood."""
    result = cli("recover", "--since", "2026-11-21T08:00", "--until", "2026-11-21T09:00+02:00")

    assert now > datetime(2026, 11, 21, tzinfo=UTC)
    assert result.exit_code == 2
    assert "2026-11-21 08:00:00Z is not before --until, which is 2026-11-21 07:00:00Z" in result.stderr


def test_what_was_recovered_before_a_failure_stays(
    cli: Cli, given_up: Sessions, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the tables disappear in the middle, one line says how many are done and what to do."""
    monkeypatch.setattr(recovery, "GROUP", 2)
    groups = recovery.recover

    def then_none(sessions: Sessions, **options: Any) -> Iterator[int]:  # noqa: ANN401 - passed on
        for group in groups(sessions, **options):
            yield group
            with engine.begin() as connection:
                connection.execute(text("ALTER TABLE deliveries RENAME TO hidden"))

    monkeypatch.setattr(recovery, "recover", then_none)

    result = cli("recover", "--since", "2d")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(
        "Error: stopped after 2 deliveries, which are due now; call again for the"
    )
    assert "suno-worker migrate" in result.stderr
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO deliveries"))
    assert due(given_up) == "ab"


def test_an_interrupt_says_how_far_it_came(
    cli: Cli, given_up: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between two groups ends with exit code 1; what was done stays done."""
    monkeypatch.setattr(recovery, "GROUP", 1)
    groups = recovery.recover

    def interrupted(sessions: Sessions, **options: Any) -> Iterator[int]:  # noqa: ANN401 - passed on
        yield next(groups(sessions, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(recovery, "recover", interrupted)

    result = cli("recover", "--since", "2d")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: stopped after 1 deliveries, which are due now; call again for the rest: interrupted\n"
    )
    assert due(given_up) == "a"
