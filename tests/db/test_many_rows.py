"""Rows in bulk come to be what they would be one by one, on either database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import StatementError

from tests.factory import NOW, add_batch, add_gateway, add_task
from worker.db.many_rows import LONG, insert_rows, update_rows
from worker.db.models import PollBatch, SunoTask, Transition
from worker.db.session import Sessions, make_engine, make_sessions

ODD = [
    "",
    "plain",
    'quotes " and \\" and backslashes \\ \\\\n',
    '{"title":"\\u0000 and half a pair \\ud83d","lines":"a\\nb"}',
    "line\nbreaks\r\tand {braces}, [brackets], NULL, null, \\N",
    "ümläut, 漢字, 🎵, \u2028 and \x7f",
]


def test_what_is_written_in_bulk_is_read_again_as_it_was(sessions: Sessions) -> None:
    """Whatever characters a text has; None, numbers and times too."""
    at = NOW + timedelta(microseconds=123456)
    with sessions.begin() as session:
        add_gateway(session)
        ids = [add_task(session, task_id=f"t{number}") for number in range(len(ODD))]
        changes = [
            {
                "row_id": row_id,
                "status_seen": "SUBMITTED",
                "fail_reason": text,
                "progress": 10,
                "stuck_since_at": at,
            }
            for row_id, text in zip(ids, ODD, strict=True)
        ]
        changes[0] |= {"stuck_since_at": None}
        update_rows(session, SunoTask, changes, seen=(("id", "row_id"), ("status", "status_seen")))
    with sessions() as session:
        tasks = session.scalars(select(SunoTask).order_by(SunoTask.id)).all()
    assert [task.fail_reason for task in tasks] == ODD
    assert [task.stuck_since_at for task in tasks] == [None] + [at] * (len(ODD) - 1)
    assert {task.progress for task in tasks} == {10}


def test_a_row_that_is_not_as_it_was_seen_stays(sessions: Sessions) -> None:
    """And so does every row that nobody named."""
    with sessions.begin() as session:
        add_gateway(session)
        seen, changed, unnamed = (add_batch(session, claims=3) for _ in range(3))
        rows = [
            {"row_id": seen, "claims_seen": 3, "leased_until": NOW},
            {"row_id": changed, "claims_seen": 2, "leased_until": NOW},
        ]
        update_rows(session, PollBatch, rows, seen=(("id", "row_id"), ("claims", "claims_seen")))
    with sessions() as session:
        leased = dict(session.execute(select(PollBatch.id, PollBatch.leased_until)).all())
    assert leased == {seen: NOW, changed: None, unnamed: None}


def test_a_row_with_a_long_text_is_a_statement_of_its_own(postgresql_url: str) -> None:
    """A JSON of 32 MiB costs up to 300; the others are one statement, and all are as they should be."""
    engine = make_engine(postgresql_url)
    sent: list[list[int]] = []
    with make_sessions(engine).begin() as session:
        add_gateway(session)
        ids = [add_task(session, task_id=f"t{number}") for number in range(4)]
        texts = ["short", "🎵" * LONG, None, "x" * LONG]
        ended = {"status": "SUCCESS", "poll_batch_id": None, "finished_at": NOW}
        rows = [{"row_id": row_id, "data": text, **ended} for row_id, text in zip(ids, texts, strict=True)]
        event.listen(
            engine,
            "before_cursor_execute",
            lambda *said: sent.append([len(one) for one in said[3].values() if isinstance(one, str)]),
        )
        update_rows(session, SunoTask, rows, seen=(("id", "row_id"),), text="data")
    assert [max(lengths) for lengths in sent[:2]] == [LONG, LONG]
    assert len(sent) == 3
    assert max(sent[2]) < LONG
    with make_sessions(engine)() as session:
        tasks = session.scalars(select(SunoTask).order_by(SunoTask.id)).all()
    engine.dispose()
    assert [(task.data, task.finished_at) for task in tasks] == [(text, NOW) for text in texts]


def test_rows_are_inserted_in_their_order(sessions: Sessions) -> None:
    """Their numbers tell what came first."""
    with sessions.begin() as session:
        add_gateway(session)
        task = add_task(session)
        words = [f"word{number}" for number in range(150)]
        insert_rows(
            session,
            Transition,
            [{"suno_task_id": task, "from_status": None, "to_status": word, "at": NOW} for word in words],
        )
    with sessions() as session:
        assert list(session.scalars(select(Transition.to_status).order_by(Transition.id))) == words


def test_a_change_of_a_few_rows_reads_no_others(postgresql_url: str) -> None:
    """Four batches of two thousand are found by their keys, whatever the server takes their JSON for."""
    engine = make_engine(postgresql_url)
    sent: list[tuple[str, Any]] = []
    with make_sessions(engine).begin() as session:
        add_gateway(session)
        columns = {"gateway": "hub", "action": "MUSIC", "next_poll_at": NOW, "youngest_at": NOW}
        insert_rows(session, PollBatch, [columns] * 2_000)
        ids = list(session.scalars(select(PollBatch.id).limit(4)))
        session.execute(text("ANALYZE poll_batches"))
        event.listen(engine, "before_cursor_execute", lambda *said: sent.append((said[2], said[3])))
        rows = [{"row_id": one, "claims_seen": 0, "leased_until": NOW} for one in ids]
        update_rows(session, PollBatch, rows, seen=(("id", "row_id"), ("claims", "claims_seen")))
        ((statement, parameters),) = sent
        plan = "\n".join(
            line for (line,) in session.connection().exec_driver_sql(f"EXPLAIN {statement}", parameters)
        )
    engine.dispose()

    assert "using pk_poll_batches" in plan or "on pk_poll_batches" in plan
    assert "Seq Scan on poll_batches" not in plan


def test_a_time_without_a_zone_is_refused(sessions: Sessions) -> None:
    """In any row: the server would take it for one of its own zone."""
    naive = NOW.replace(tzinfo=None)
    with sessions.begin() as session:
        add_gateway(session)
        task, batch = add_task(session), add_batch(session)
    moved = {"suno_task_id": task, "from_status": None, "to_status": "SUBMITTED"}
    with pytest.raises((ValueError, StatementError), match="a time without a zone"), sessions() as session:
        insert_rows(session, Transition, [moved | {"at": NOW}, moved | {"at": naive}])
    leased = {"row_id": batch, "leased_until": naive}
    with pytest.raises((ValueError, StatementError), match="a time without a zone"), sessions() as session:
        update_rows(session, PollBatch, [leased], seen=(("id", "row_id"),))


def test_no_rows_are_no_statement(sessions: Sessions) -> None:
    """Nothing happens."""
    with sessions.begin() as session:
        insert_rows(session, Transition, [])
        update_rows(session, SunoTask, [], seen=(("id", "row_id"),))
        assert session.scalars(select(Transition)).all() == []
