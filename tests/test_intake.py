"""A request is taken once, refused clearly, and never half done."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from tests.factory import add_gateway
from worker.core.addresses import Allow
from worker.db import gateways
from worker.db.models import Delivery, PollBatch, Rejection, SunoTask, Transition
from worker.db.persist import is_passing
from worker.db.session import Sessions, make_engine, make_sessions
from worker.intake import Enqueued, put_under_watch, reject
from worker.request import Policy, Refused, Request, parse_request

HOOK = "https://receiver.example/hook?token=t"
CORRECT_IT = "nothing was changed; `suno-worker resend TASK_ID --notify-hook URL` corrects a hook"
POLICY = Policy(batch_sizes={"hub": 100}, allow=Allow(), first_poll_delay=timedelta(seconds=10))


def put(sessions: Sessions, *requests: Request, policy: Policy = POLICY) -> list[Enqueued | Refused]:
    """Put `requests` under watch in a transaction of their own."""
    with sessions.begin() as session:
        return put_under_watch(session, requests=requests, policy=policy)


def counts(sessions: Sessions) -> dict[str, int]:
    """Return the number of rows of each table that an enqueue writes."""
    with sessions() as session:
        models = (SunoTask, Transition, PollBatch, Delivery)
        return {
            model.__tablename__: session.scalars(select(func.count()).select_from(model)).one()
            for model in models
        }


def test_a_new_task_is_submitted_and_in_a_batch(sessions: Sessions) -> None:
    """One request writes the task, its first transition and its future poll."""
    (outcome,) = put(sessions, Request(task_id="t 1", action="music", notify_hook=HOOK))
    assert outcome == Enqueued(task_id="t 1", gateway="hub", created=True, status="SUBMITTED")
    with sessions() as session:
        task = session.scalars(select(SunoTask)).one()
        batch = session.scalars(select(PollBatch)).one()
        transition = session.scalars(select(Transition)).one()
    assert (task.action, task.notify_hook, task.poll_batch_id) == ("MUSIC", HOOK, batch.id)
    assert (transition.from_status, transition.to_status, transition.at) == (
        None,
        "SUBMITTED",
        task.enqueued_at,
    )
    assert batch.youngest_at == task.enqueued_at
    assert batch.next_poll_at == task.enqueued_at + timedelta(seconds=10)


def test_lyrics_are_polled_early(sessions: Sessions) -> None:
    """LYRICS are often finished when the submit answers."""
    put(sessions, Request(task_id="t", action="LYRICS"))
    with sessions() as session:
        batch = session.scalars(select(PollBatch)).one()
    assert batch.next_poll_at == batch.youngest_at + timedelta(seconds=1)


def test_the_same_request_again_changes_nothing(sessions: Sessions) -> None:
    """An enqueue may be repeated as often as its sender likes."""
    request = Request(task_id="t", action="MUSIC", notify_hook=HOOK, gateway="hub")
    put(sessions, request)
    before = counts(sessions)
    assert put(sessions, request) == [Enqueued(task_id="t", gateway="hub", created=False, status="SUBMITTED")]
    assert counts(sessions) == before


@pytest.mark.parametrize(
    ("request_again", "text"),
    [
        (
            Request(task_id="t", action="LYRICS", notify_hook=HOOK),
            (
                "action: 't' is already watched at gateway 'hub' with action MUSIC; "
                "nothing was changed; send that action, or the other task's own id"
            ),
        ),
        (
            Request(task_id="t", action="MUSIC", notify_hook="https://other.example/"),
            "notify_hook: 't' is already watched at gateway 'hub' with another notify_hook; " + CORRECT_IT,
        ),
    ],
)
def test_a_conflicting_request_is_refused(sessions: Sessions, request_again: Request, text: str) -> None:
    """The same id with other arguments is an error of one of two senders; nothing changes."""
    put(sessions, Request(task_id="t", action="MUSIC", notify_hook=HOOK))
    before = counts(sessions)
    (outcome,) = put(sessions, request_again)
    assert isinstance(outcome, Refused)
    assert str(outcome) == text
    assert counts(sessions) == before
    with sessions() as session:
        task = session.scalars(select(SunoTask)).one()
        assert (task.action, task.notify_hook) == ("MUSIC", HOOK)


def test_the_same_id_twice_in_one_call_is_created_once(sessions: Sessions) -> None:
    """Lines of one file are taken in order, as if each came alone."""
    outcomes = put(
        sessions,
        Request(task_id="t", action="MUSIC"),
        Request(task_id="t", action="MUSIC"),
        Request(task_id="t", action="MUSIC", notify_hook=HOOK),
    )
    assert [getattr(one, "created", None) for one in outcomes] == [True, False, None]
    assert counts(sessions)["suno_tasks"] == 1


def test_of_two_that_contradict_each_other_the_first_counts(sessions: Sessions) -> None:
    """Also when the second one's action comes first in the alphabet."""
    first, second = put(
        sessions,
        Request(task_id="t", action="MUSIC"),
        Request(task_id="t", action="LYRICS", notify_hook=HOOK),
    )
    assert isinstance(first, Enqueued)
    assert (
        str(second) == "action: 't' is already watched at gateway 'hub' with action MUSIC; "
        "nothing was changed; send that action, or the other task's own id"
    )
    with sessions() as session:
        assert session.scalars(select(SunoTask.action)).one() == "MUSIC"


def test_one_bad_request_does_not_keep_the_others_out(sessions: Sessions) -> None:
    """Refusals are answers in their place, not errors of the whole call."""
    outcomes = put(sessions, Request(task_id="", action="MUSIC"), Request(task_id="t", action="MUSIC"))
    assert [type(one) for one in outcomes] == [Refused, Enqueued]
    assert counts(sessions)["suno_tasks"] == 1


def test_batches_hold_no_more_than_their_gateway_takes(sessions: Sessions) -> None:
    """250 tasks make three batches of at most 100, and another gateway's size is its own."""
    policy = Policy(batch_sizes={"hub": 100, "slow": 10}, allow=Allow(), first_poll_delay=timedelta(0))
    requests = [Request(task_id=f"t{n}", action="MUSIC", gateway="hub") for n in range(250)]
    put(
        sessions,
        *requests,
        *(Request(task_id=f"t{n}", action="LYRICS", gateway="slow") for n in range(15)),
        policy=policy,
    )
    with sessions() as session:
        sizes = session.execute(
            select(PollBatch.gateway, PollBatch.action, func.count())
            .join(SunoTask, SunoTask.poll_batch_id == PollBatch.id)
            .group_by(PollBatch.id)
        )
        assert sorted(tuple(row) for row in sizes) == [
            ("hub", "MUSIC", 50),
            ("hub", "MUSIC", 100),
            ("hub", "MUSIC", 100),
            ("slow", "LYRICS", 5),
            ("slow", "LYRICS", 10),
        ]


def test_a_second_call_touches_no_existing_batch(sessions: Sessions) -> None:
    """Enqueues never wait for the poller: each call makes its own batches."""
    put(sessions, Request(task_id="a", action="MUSIC"))
    put(sessions, Request(task_id="b", action="MUSIC"))
    assert counts(sessions)["poll_batches"] == 2


def test_senders_at_once_create_each_task_once(sessions: Sessions) -> None:
    """Four senders of the same ids in opposite orders end without a deadlock and agree on one creator."""
    ids = [f"t{number}" for number in range(30)]
    created: list[str] = []
    barrier = threading.Barrier(4)

    def send(order: int) -> None:
        barrier.wait()
        requests = [Request(task_id=task_id, action="MUSIC") for task_id in ids[::order]]
        created.extend(
            one.task_id for one in put(sessions, *requests) if isinstance(one, Enqueued) and one.created
        )

    threads = [threading.Thread(target=send, args=(1 if number % 2 else -1,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == sorted(ids)
    assert counts(sessions) == {"suno_tasks": 30, "transitions": 30, "poll_batches": 1, "deliveries": 0}
    with sessions() as session:
        assert session.scalars(select(PollBatch.size)).all() == [30]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"action": "MUSIC"}, "task_id: missing; it is required"),
        ({"task_id": None, "action": "MUSIC"}, "task_id: missing; it is required"),
        ({"task_id": 7, "action": "MUSIC"}, "task_id: must be a string, not int"),
        ({"task_id": "t"}, "action: missing; it is required"),
        ({"task_id": "t", "action": ["MUSIC"]}, "action: must be a string, not list"),
        (
            {"task_id": "t", "action": "MUSIC", "hook": "x"},
            "hook: unknown argument; known are task_id, action, notify_hook, gateway",
        ),
        (
            {"task_id": "t", "action": "MUSIC", "a\nb": "x"},
            "a\\nb: unknown argument; known are task_id, action, notify_hook, gateway",
        ),
    ],
)
def test_arguments_from_outside_are_named_when_wrong(arguments: dict[str, object], text: str) -> None:
    """Missing, unknown and mistyped arguments are told by name."""
    with pytest.raises(Refused) as caught:
        parse_request(arguments)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("request_", "start"),
    [
        (Request(task_id="", action="MUSIC"), "task_id: is empty; "),
        (Request(task_id="x" * 192, action="MUSIC"), "task_id: has 192 characters; at most 191 are allowed"),
        (Request(task_id="a\nb", action="MUSIC"), "task_id: 'a\\nb' holds a character that is not printable"),
        (Request(task_id="a\0", action="MUSIC"), "task_id: 'a\\x00' holds a character"),
        (Request(task_id="\ud800", action="MUSIC"), "task_id: '\\ud800' holds a character"),
        (Request(task_id="t", action="VIDEO"), "action: 'VIDEO' is unknown; use MUSIC or LYRICS"),
        (Request(task_id="t", action="mus\u0131c"), "action: 'mus\\u0131c' is unknown; use MUSIC or LYRICS"),
        (Request(task_id="t", action=""), "action: '' is unknown; use MUSIC or LYRICS"),
        (
            Request(task_id="t", action="MUSIC", gateway="nope"),
            "gateway: 'nope' is not configured; name one of hub",
        ),
        (Request(task_id="t", action="MUSIC", notify_hook=""), "notify_hook: "),
        (Request(task_id="t", action="MUSIC", notify_hook="ftp://x.example/"), "notify_hook: "),
        (Request(task_id="t", action="MUSIC", notify_hook="https://u:pw@x.example/"), "notify_hook: "),
        (Request(task_id="t", action="MUSIC", notify_hook="http://127.0.0.1:8080/"), "notify_hook: "),
        (Request(task_id="t", action="MUSIC", notify_hook="http://[::ffff:10.0.0.1]/"), "notify_hook: "),
        (
            Request(task_id="t", action="MUSIC", notify_hook="https://x.example/" + "y" * 2048),
            "notify_hook: ",
        ),
    ],
)
def test_a_bad_value_is_refused_by_its_field(sessions: Sessions, request_: Request, start: str) -> None:
    """The text names the field first; nothing is written, and no password is repeated."""
    (outcome,) = put(sessions, request_)
    assert isinstance(outcome, Refused)
    assert str(outcome).startswith(start)
    assert "pw" not in str(outcome)
    assert set(counts(sessions).values()) == {0}


@pytest.mark.parametrize(
    ("names", "gateway", "expected"),
    [
        ({"only": 100}, None, "only"),
        ({"default": 100, "other": 100}, None, "default"),
        ({"default": 100, "other": 100}, "other", "other"),
        ({"default": 100, "other": 100}, "OTHER", "other"),
        ({"a": 100, "b": 100}, None, "gateway: missing, and several are configured; name one of a, b"),
        ({}, None, "gateway: no gateway is configured; set WORKER_GATEWAYS__<NAME>__BASE_URL and …__API_KEY"),
    ],
)
def test_the_gateway_that_is_meant(
    sessions: Sessions, names: dict[str, int], gateway: str | None, expected: str
) -> None:
    """Without a name it is the only one, else `default`."""
    policy = Policy(batch_sizes=names, allow=Allow(), first_poll_delay=timedelta(0))
    (outcome,) = put(sessions, Request(task_id="t", action="MUSIC", gateway=gateway), policy=policy)
    assert (outcome.gateway if isinstance(outcome, Enqueued) else str(outcome)) == expected


def test_an_allowed_private_hook_is_taken(sessions: Sessions) -> None:
    """WORKER_WEBHOOK_ALLOW opens private receivers."""
    policy = Policy(batch_sizes={"hub": 1}, allow=Allow.parse(["127.0.0.0/8"]), first_poll_delay=timedelta(0))
    (outcome,) = put(
        sessions, Request(task_id="t", action="MUSIC", notify_hook="http://127.0.0.1:81/"), policy=policy
    )
    assert isinstance(outcome, Enqueued)


def test_a_rejection_is_kept_without_passwords_and_odd_characters(sessions: Sessions) -> None:
    """What was refused can be read later, by whoever sent it."""
    arguments = {"task_id": "a\0\ud800", "notify_hook": "https://user:pw@host/x", "n": 1}
    with sessions.begin() as session:
        reject(session, source="celery:\n7", reason="task_id: bad\x1b", arguments=arguments)
    with sessions() as session:
        row = session.scalars(select(Rejection)).one()
    assert (row.source, row.reason) == ("celery:\\n7", "task_id: bad\\x1b")
    assert json.loads(row.arguments) == {"task_id": "a\0?", "notify_hook": "https://***@host/x", "n": 1}


def test_a_missing_gateway_row_is_filled_in(sessions: Sessions) -> None:
    """A gateway configured after the last migration can be used at once; known ones keep their health."""
    with sessions.begin() as session:
        add_gateway(session, failures=3)
    put(sessions, Request(task_id="t", action="MUSIC"))
    policy = Policy(batch_sizes={"new": 5}, allow=Allow(), first_poll_delay=timedelta(0))
    assert isinstance(put(sessions, Request(task_id="t", action="MUSIC"), policy=policy)[0], Enqueued)


def test_an_open_enqueue_holds_nobody_up(postgresql_url: str) -> None:
    """A service that enqueues in a long transaction of its own keeps nobody else waiting."""
    engine = make_engine(postgresql_url)
    sessions = make_sessions(engine)
    put(sessions, Request(task_id="before", action="MUSIC"))
    with sessions.begin() as long, sessions.begin() as other:
        put_under_watch(long, requests=[Request(task_id="a", action="MUSIC")], policy=POLICY)
        other.execute(text("SET LOCAL lock_timeout = '2s'"))
        assert gateways.lock(other, name="hub") is not None
        (outcome,) = put_under_watch(other, requests=[Request(task_id="b", action="MUSIC")], policy=POLICY)
        assert isinstance(outcome, Enqueued)
    engine.dispose()


def test_a_row_that_a_stranger_holds_is_not_waited_for_without_end(postgresql_url: str) -> None:
    """Another service has not yet committed the same id: after 10 s the wait ends as passing trouble."""
    engine = make_engine(postgresql_url)
    with engine.connect() as connection:
        shown = {
            name: connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
        }
    assert shown == {
        "lock_timeout": "10s",
        "statement_timeout": "1min",
        "idle_in_transaction_session_timeout": "1min",
    }
    sessions = make_sessions(engine)
    put(sessions, Request(task_id="before", action="MUSIC"))
    with sessions.begin() as stranger:
        put_under_watch(stranger, requests=[Request(task_id="a", action="MUSIC")], policy=POLICY)
        with sessions() as session:
            session.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(OperationalError) as caught:
                put_under_watch(session, requests=[Request(task_id="a", action="MUSIC")], policy=POLICY)
    assert is_passing(caught.value)
    engine.dispose()
