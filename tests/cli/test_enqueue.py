from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from sqlalchemy import func, select

from tests.cli.conftest import HUB, Cli
from tests.factory import add_gateway
from worker.db.models import PollBatch, Rejection, SunoTask
from worker.db.session import Sessions

HOOK = "https://receiver.example/hook"
ARGUMENTS = ("enqueue", "song-1", "--action", "music", "--notify-hook", HOOK)


def stored(sessions: Sessions) -> list[tuple[str | None, ...]]:
    """Return what is under watch."""
    columns = (SunoTask.gateway, SunoTask.task_id, SunoTask.action, SunoTask.notify_hook, SunoTask.status)
    with sessions() as session:
        return [tuple(row) for row in session.execute(select(*columns).order_by(SunoTask.task_id))]


def test_a_task_is_put_under_watch(cli: Cli, sessions: Sessions) -> None:
    """`enqueue` writes the row itself, with its poll batch, and needs no broker."""
    result = cli(*ARGUMENTS)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "song-1 at gateway hub is now watched: SUBMITTED\n"
    assert stored(sessions) == [("hub", "song-1", "MUSIC", HOOK, "SUBMITTED")]
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(PollBatch)) == 1


def test_the_same_again_changes_nothing(cli: Cli, sessions: Sessions) -> None:
    """A repeated `enqueue` is no failure and no second row."""
    cli(*ARGUMENTS)

    result = cli(*ARGUMENTS)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "song-1 at gateway hub was watched already, nothing was changed: SUBMITTED\n"
    assert len(stored(sessions)) == 1


def test_a_task_without_a_hook_is_only_watched(cli: Cli, sessions: Sessions) -> None:
    """`--notify-hook` may be left out."""
    result = cli("enqueue", "song-1", "--action", "LYRICS")

    assert result.exit_code == 0
    assert stored(sessions) == [("hub", "song-1", "LYRICS", None, "SUBMITTED")]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("song-1", "--action", "MUSIC", "--notify-hook", "ftp://receiver.example/"), "notify_hook"),
        (("song-1", "--action", "MUSIC", "--notify-hook", "http://user:pw@receiver.example/"), "notify_hook"),
        (("song-1", "--action", "MUSIC", "--notify-hook", "http://127.0.0.1/hook"), "notify_hook"),
        (("song-1", "--action", "MUSIC", "--notify-hook", ""), "notify_hook"),
        (("song-1", "--action", "MUSIC", "--gateway", "nowhere"), "gateway"),
    ],
)
def test_a_refusal_names_the_field(
    cli: Cli, sessions: Sessions, arguments: Sequence[str], field: str
) -> None:
    """What cannot be taken ends with exit code 1 and one line that names the field; nothing is written."""
    result = cli("enqueue", *arguments)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {field}: ")
    assert result.stderr.count("\n") == 1
    assert stored(sessions) == []
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Rejection)) == 0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((), "TASK_ID"),
        (("song-1",), "--action"),
        (("--action", "MUSIC"), "TASK_ID"),
        (("song-1", "--action", "VIDEO"), "--action"),
        (("", "--action", "MUSIC"), "TASK_ID"),
        (("x" * 192, "--action", "MUSIC"), "TASK_ID"),
        (("song\x1b[2J", "--action", "MUSIC"), "TASK_ID"),
        (("song-1", "--action", "MUSIC", "--file", "-"), "--file"),
        (("--notify-hook", HOOK, "--file", "-"), "--file"),
        (("--file", "no-such-file"), "--file"),
        (("--file", "."), "--file"),
    ],
)
def test_wrong_usage_is_told_apart(
    cli: Cli, sessions: Sessions, arguments: Sequence[str], names: str
) -> None:
    """Arguments that make no sense end with exit code 2 and name the argument; nothing is written."""
    result = cli("enqueue", *arguments)

    assert result.exit_code == 2
    assert names in result.stderr.splitlines()[-1]
    assert "\x1b" not in result.stderr
    assert stored(sessions) == []


def test_a_conflict_changes_nothing(cli: Cli, sessions: Sessions) -> None:
    """The same id with another hook is refused, and the old hook stays."""
    cli(*ARGUMENTS)

    result = cli("enqueue", "song-1", "--action", "MUSIC", "--notify-hook", "https://other.example/")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: notify_hook: ")
    assert stored(sessions) == [("hub", "song-1", "MUSIC", HOOK, "SUBMITTED")]


def test_a_second_terminal_needs_no_gateway_settings(
    bare_cli: Cli, sessions: Sessions, database_url: str
) -> None:
    """Without gateways in the environment, those that a worker has named are taken."""
    with sessions.begin() as session:
        add_gateway(session, name="theirs")

    result = bare_cli(*ARGUMENTS, env={"WORKER_DATABASE_URL": database_url})

    assert result.exit_code == 0
    assert [row[0] for row in stored(sessions)] == ["theirs"]


def test_several_gateways_must_be_told_apart(cli: Cli, sessions: Sessions) -> None:
    """With two gateways and no `--gateway`, the refusal names both."""
    second = {name.replace("HUB", "OTHER"): value for name, value in HUB.items()}

    refused, taken = cli(*ARGUMENTS, env=second), cli(*ARGUMENTS, "--gateway", "Other", env=second)

    assert (refused.exit_code, taken.exit_code) == (1, 0)
    assert refused.stderr.startswith("Error: gateway: ")
    assert "hub, other" in refused.stderr
    assert [row[0] for row in stored(sessions)] == ["other"]


def test_machines_read_the_outcome(cli: Cli) -> None:
    """`enqueue --json` has the keys that `suno.enqueue` returns; the same again has `created` false."""
    first, again = cli(*ARGUMENTS, "--json"), cli(*ARGUMENTS, "--json")

    expected = {"task_id": "song-1", "gateway": "hub", "created": True, "status": "SUBMITTED"}
    assert json.loads(first.stdout) == expected
    assert json.loads(again.stdout) == expected | {"created": False}


def test_machines_read_the_count_of_a_file(cli: Cli) -> None:
    """`enqueue --file --json` counts the lines; what is wrong with a line stays on stderr."""
    cli(*ARGUMENTS)
    lines = [
        {"task_id": "song-1", "action": "MUSIC", "notify_hook": HOOK},
        {"task_id": "song-2", "action": "MUSIC"},
        {"task_id": "song-3", "action": "VIDEO"},
    ]

    result = cli("enqueue", "--file", "-", "--json", stdin="\n".join(map(json.dumps, lines)))

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"created": 1, "known": 1, "refused": 1}
    assert result.stderr.startswith("line 3: action: ")
