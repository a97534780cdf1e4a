"""What the demo says of webhooks that are not as they should be."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.factory import add_gateway
from worker.cli.onlooker import Onlooker, Song
from worker.cli.rehearsal import Rehearsal
from worker.core.lifecycle import Action
from worker.db.session import Sessions
from worker.embedded.children import spawn
from worker.library import enqueue
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.receiver import SandboxReceiver, Webhook
from worker.sandbox.songs import SimulatedTask
from worker.sandbox.sources import SOURCES
from worker.settings import load_settings

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SONG = Song(task_id="346c5d10-a4a1", source=SOURCES[0], action=Action.MUSIC)


@pytest.fixture
def onlooker(sessions: Sessions, tmp_path: Path) -> Iterator[Onlooker]:
    """Give an onlooker of one song that ended at its gateway at noon; `up` is a process that waits."""
    gateway = SandboxGateway(clock=lambda: NOON)
    lasts = timedelta(minutes=1)
    gateway.register(
        SimulatedTask(task_id=SONG.task_id, action="MUSIC", submitted_at=NOON - lasts, lasts=lasts)
    )
    up = spawn(["sleep", "60"])
    rehearsal = Rehearsal(
        settings=load_settings({}),
        broker_url="redis://127.0.0.1:1/0",
        gateway=gateway,
        gateway_url="",
        api_key="",
        receiver=SandboxReceiver(clock=lambda: NOON, verify=None),
        hook="",
        up=up,
        log=tmp_path / "up.log",
    )
    yield Onlooker(
        rehearsal=rehearsal, sessions=sessions, came=queue.SimpleQueue(), began_at=NOON, songs=[SONG]
    )
    up.stop(grace=5)


def webhook(*, seconds: float, problem: str | None = None, task_id: str = SONG.task_id) -> Webhook:
    """Return a webhook that came so many seconds after noon."""
    headers: Mapping[str, str] = {"webhook-id": "msg_1"}
    return Webhook(
        at=NOON + timedelta(seconds=seconds),
        path="/hook",
        headers=headers,
        body=b"{}",
        problem=problem,
        repeated=False,
        task_id=task_id,
        action="MUSIC",
        status="SUCCESS",
    )


def test_nothing_came(onlooker: Onlooker) -> None:
    """At the deadline the table says what is missing."""
    onlooker.watch(seconds=0.01)

    assert onlooker.verified == []
    assert onlooker.row(SONG) == ("346c5d10", "openai_hub", "MUSIC", "not under watch", "did not come", "-")


def test_a_webhook_that_does_not_verify_is_no_success(
    onlooker: Onlooker, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad signature is told with its reason, and the watch goes on until the deadline."""
    onlooker.came.put(webhook(seconds=2, problem="No matching signature found"))
    onlooker.watch(seconds=0.01)

    assert onlooker.verified == []
    assert onlooker.row(SONG)[4:] == ("NOT VERIFIED: No matching signature found", "2.0 s")
    assert capsys.readouterr().out == (
        "   2.0 s  346c5d10  openai_hub  MUSIC   webhook SUCCESS, 2 bytes, "
        "NOT VERIFIED: No matching signature found\n"
    )


def test_the_first_good_webhook_counts(onlooker: Onlooker, capsys: pytest.CaptureFixture[str]) -> None:
    """A good one replaces a bad one, repetitions and strangers are not told, and the watch is over."""
    for one in (
        webhook(seconds=1, task_id="a-stranger"),
        webhook(seconds=2, problem="No matching signature found"),
        webhook(seconds=3),
        webhook(seconds=4),
    ):
        onlooker.came.put(one)
    onlooker.watch(seconds=60)

    assert onlooker.verified == [SONG.task_id]
    assert onlooker.row(SONG)[4:] == ("verified", "3.0 s")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_transitions_are_told_once(onlooker: Onlooker, capsys: pytest.CaptureFixture[str]) -> None:
    """Each transition has one line, however often one looks."""
    with onlooker.sessions.begin() as session:
        add_gateway(session, name="openai_hub")
        enqueue(session, task_id=SONG.task_id, action="MUSIC", gateway="openai_hub")
    onlooker.watch(seconds=0.5)

    assert capsys.readouterr().out.count("new → SUBMITTED") == 1
