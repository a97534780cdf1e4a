from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import select

from tests.programs import NO_GATEWAY
from worker import runtime
from worker.core.signature import new_secret
from worker.db.models import Gateway
from worker.db.session import Sessions, reading
from worker.dispatcher import Dispatcher
from worker.runtime import Runtime
from worker.settings import load_settings


def gateways(sessions: Sessions) -> dict[str, int]:
    """Return the gateways that the database knows, with their batch sizes."""
    with reading(sessions) as session:
        return {row.name: row.batch_size for row in session.scalars(select(Gateway))}


def test_a_worker_makes_its_gateways_known(database_url: str, sessions: Sessions) -> None:
    """A worker's start fills the table `gateways`, so that other services may name them; a second time
    changes nothing.
    """
    settings = load_settings(
        {
            **NO_GATEWAY,
            "WORKER_DATABASE_URL": database_url,
            "WORKER_GATEWAYS__SINGLE__BASE_URL": "http://127.0.0.1:9",
            "WORKER_GATEWAYS__SINGLE__API_KEY": "sk-x",
            "WORKER_GATEWAYS__SINGLE__FETCH": "single",
        }
    )
    opened = Runtime.open(settings, ring_deliver=lambda: None)
    try:
        assert gateways(sessions) == {}
        opened.make_gateways_known()
        opened.make_gateways_known()
    finally:
        opened.close()

    assert gateways(sessions) == {"main": 100, "single": 10}


@pytest.mark.parametrize(("takes_it", "expected"), [(True, ["own"]), (False, ["own", "others"])])
def test_a_new_result_wakes_this_process_or_else_another(
    monkeypatch: pytest.MonkeyPatch, *, takes_it: bool, expected: list[str]
) -> None:
    """A dispatcher's run in the poller's process is woken past the broker; without one, one is rung for."""
    heard: list[str] = []
    wired: dict[str, Any] = {}

    def wake(_: Dispatcher) -> bool:
        heard.append("own")
        return takes_it

    monkeypatch.setattr(runtime, "Poller", wired.update)
    monkeypatch.setattr(Dispatcher, "wake", wake)

    opened = Runtime.open(load_settings(NO_GATEWAY), ring_deliver=lambda: heard.append("others"))
    try:
        assert heard == []
        wired["ring_deliver"]()
    finally:
        opened.close()

    assert heard == expected


@pytest.mark.parametrize(
    ("signed", "warned"),
    [
        ("nobody", ["main, other"]),
        ("main", ["other"]),
        ("all", []),
    ],
)
def test_unsigned_webhooks_are_warned_of(
    signed: str, warned: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The log names once the gateways whose results go out unsigned."""
    secret = new_secret(bytes(32))
    variables = {
        "nobody": {},
        "main": {"WORKER_GATEWAYS__MAIN__WEBHOOK_SECRET": secret},
        "all": {"WORKER_WEBHOOK_SECRET": secret},
    }[signed]
    other = {
        "WORKER_GATEWAYS__OTHER__BASE_URL": "http://127.0.0.1:9",
        "WORKER_GATEWAYS__OTHER__API_KEY": "sk-x",
    }

    with caplog.at_level(logging.WARNING, logger="worker.runtime"):
        Runtime.open(load_settings({**NO_GATEWAY, **other, **variables}), ring_deliver=lambda: None).close()

    assert caplog.messages == [
        f"without WORKER_WEBHOOK_SECRET webhooks go unsigned: {names}" for names in warned
    ]
