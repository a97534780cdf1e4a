from __future__ import annotations

import json

from sqlalchemy import select

from tests.cli.conftest import Cli
from tests.factory import HOOK, add_delivery, add_gateway, add_origin, add_task
from worker.db.models import Delivery, SunoTask
from worker.db.session import Sessions

NEW_HOOK = "https://new.example/hook"


def test_a_finished_tasks_result_is_due_again(cli: Cli, sessions: Sessions) -> None:
    """`resend` makes a discarded delivery PENDING under the same id."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session)
        task = add_task(session, task_id="song-1", status="SUCCESS")
        add_delivery(session, id="msg_1", suno_task_id=task, state="DISCARDED")

    result = cli("resend", "song-1")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "song-1 at gateway hub is due now (delivery msg_1)\n"
    with sessions() as session:
        assert session.scalars(select(Delivery.state)).all() == ["PENDING"]


def test_machines_read_what_was_done(cli: Cli, sessions: Sessions) -> None:
    """`resend --json` says what it did in one word, and names the delivery."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session)
        task = add_task(session, task_id="song-1", status="SUCCESS")
        add_delivery(session, id="msg_1", suno_task_id=task, state="DISCARDED")

    result = cli("resend", "song-1", "--json")

    assert json.loads(result.stdout) == {
        "task_id": "song-1",
        "gateway": "hub",
        "what": "due_now",
        "delivery_id": "msg_1",
    }


def test_a_hook_can_be_corrected_before_the_end(cli: Cli, sessions: Sessions) -> None:
    """With `--notify-hook`, an unfinished task will deliver to the new hook."""
    with sessions.begin() as session:
        add_gateway(session)
        add_task(session, task_id="song-1", notify_hook=HOOK)

    result = cli("resend", "song-1", "--notify-hook", NEW_HOOK)

    assert result.exit_code == 0
    assert (
        result.stdout == "song-1 at gateway hub is not finished; its result will go to the new notify_hook\n"
    )
    with sessions() as session:
        assert session.scalars(select(SunoTask.notify_hook)).all() == [NEW_HOOK]


def test_what_cannot_be_resent_says_why(cli: Cli, sessions: Sessions) -> None:
    """A task that is not finished, a bad hook and an unknown id end with exit code 1 and change nothing."""
    with sessions.begin() as session:
        add_gateway(session)
        add_task(session, task_id="song-1", notify_hook=HOOK)

    early = cli("resend", "song-1")
    bad_hook = cli("resend", "song-1", "--notify-hook", "http://[::1]/")
    unknown = cli("resend", "song-2")

    assert [one.exit_code for one in (early, bad_hook, unknown)] == [1, 1, 1]
    assert early.stderr.startswith("Error: task_id: ")
    assert bad_hook.stderr.startswith("Error: notify_hook: ")
    assert unknown.stderr.startswith("Error: there is no Suno task song-2")
    with sessions() as session:
        assert session.scalars(select(SunoTask.notify_hook)).all() == [HOOK]


def test_an_id_at_two_gateways_must_be_told_apart(cli: Cli, sessions: Sessions) -> None:
    """Without `--gateway` nothing is resent: exit code 2 and the names."""
    with sessions.begin() as session:
        for name in ("hub", "other"):
            add_gateway(session, name=name)
            add_task(session, gateway=name, task_id="song-1", notify_hook=HOOK)

    several = cli("resend", "song-1", "--notify-hook", NEW_HOOK)
    chosen = cli("resend", "song-1", "--notify-hook", NEW_HOOK, "--gateway", "other")

    assert (several.exit_code, chosen.exit_code) == (2, 0)
    assert "hub, other" in several.stderr
    with sessions() as session:
        hooks = dict(session.execute(select(SunoTask.gateway, SunoTask.notify_hook)).all())
    assert hooks == {"hub": HOOK, "other": NEW_HOOK}
