from __future__ import annotations

import json
from datetime import timedelta

import redis

from tests.cli.conftest import Cli
from tests.factory import NOW
from worker import dead_letters
from worker.db import rejections
from worker.db.session import Sessions


def test_rejections_are_listed_newest_first(cli: Cli, sessions: Sessions) -> None:
    """`rejections` shows when, from where, why and what; `--limit` keeps the newest."""
    with sessions.begin() as session:
        for number in (1, 2):
            rejections.add(
                session,
                source=f"celery:{number}",
                reason="action: 'VIDEO' is unknown",
                arguments='{"task_id": "[b]x"}',
                now=NOW + timedelta(seconds=number),
            )

    person, machine = cli("rejections"), cli("rejections", "--json", "--limit", "1")

    assert person.stdout.index("celery:2") < person.stdout.index("celery:1")
    assert '{"task_id": "[b]x"}' in person.stdout
    assert json.loads(machine.stdout) == [
        {
            "id": 2,
            "at": "2026-11-21T12:00:02Z",
            "source": "celery:2",
            "reason": "action: 'VIDEO' is unknown",
            "arguments": '{"task_id": "[b]x"}',
        }
    ]


def test_long_arguments_are_cut_for_people(cli: Cli, sessions: Sessions) -> None:
    """However long a refused argument was, the table shows 100 characters of it; `--json` has all."""
    arguments = json.dumps({"notify_hook": "https://example.com/" + "x" * 1_500})
    with sessions.begin() as session:
        rejections.add(
            session, source="celery", reason="notify_hook: is longer", arguments=arguments, now=NOW
        )

    person, machine = cli("rejections"), cli("rejections", "--json")

    shown = person.stdout.splitlines()[-1].partition("  {")[2]
    assert "{" + shown == arguments[:99] + "…"
    assert json.loads(machine.stdout)[0]["arguments"] == arguments


def test_dead_letters_are_listed_and_put_back(bare_cli: Cli, broker_url: str) -> None:
    """`dead-letters` shows each message; `--requeue` puts one back into its queue, byte for byte."""
    env = {"WORKER_BROKER_URL": broker_url}
    with redis.Redis.from_url(broker_url) as client:
        letter = dead_letters.add(client, queue="enqueue", reason="no id", message=b"\xff\x1b[2J", now=NOW)

        person, machine = bare_cli("dead-letters", env=env), bare_cli("dead-letters", "--json", env=env)
        requeued = bare_cli("dead-letters", "--requeue", letter.id, env=env)

        assert client.lrange("enqueue", 0, -1) == [b"\xff\x1b[2J"]
        assert dead_letters.count(client) == 0
    assert "\\xff\\x1b[2J" in person.stdout
    assert "\x1b" not in person.stdout + machine.stdout
    assert json.loads(machine.stdout) == [
        {
            "id": letter.id,
            "at": "2026-11-21T12:00:00Z",
            "queue": "enqueue",
            "reason": "no id",
            "message": "\\xff\x1b[2J",
            "is_cut": False,
        }
    ]
    assert requeued.stdout == f"{letter.id} is back in the queue enqueue\n"


def test_an_unknown_dead_letter_is_a_failure(bare_cli: Cli, broker_url: str) -> None:
    """Nothing is put back for an id that is not there: exit code 1."""
    result = bare_cli("dead-letters", "--requeue", "nobody", env={"WORKER_BROKER_URL": broker_url})

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there is no dead letter 'nobody': `suno-worker dead-letters` lists them\n"


def test_without_a_broker_dead_letters_says_what_to_do(bare_cli: Cli) -> None:
    """No broker known, and one that does not answer: exit code 1, one line, no password."""
    none = bare_cli("dead-letters")
    odd = [
        bare_cli("dead-letters", env={"WORKER_BROKER_URL": f"redis://:hunter2@127.0.0.1:1/0?{option}"})
        for option in ("socket_timeout=x", "colour=red")
    ]
    away = bare_cli("dead-letters", env={"WORKER_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0"})

    assert (none.exit_code, away.exit_code) == (1, 1)
    assert none.stderr == "Error: no broker is known: set WORKER_BROKER_URL, or start `suno-worker up`\n"
    assert away.stderr.startswith("Error: the broker does not answer: ")
    assert "hunter2" not in away.output
    for result in odd:
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: WORKER_BROKER_URL has options after ? that make no sense: ")
        assert "hunter2" not in result.output
