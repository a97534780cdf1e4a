"""The names that may be used are those that a worker still says."""

from __future__ import annotations

from datetime import timedelta

from tests.factory import NOW
from worker.db import gateways
from worker.db.gateways import Health
from worker.db.session import Sessions


def test_a_gateway_that_was_renamed_is_forgotten(sessions: Sessions) -> None:
    """Two and a half hours after the last worker that had it in its settings; the health of others stays."""
    with sessions.begin() as session:
        gateways.remember(session, batch_sizes={"old": 100, "kept": 10}, now=NOW)
        health = Health(cooling_until=NOW, failures=1, trouble="network")
        gateways.record_trouble(session, name="kept", health=health, message="x", now=NOW)
        gateways.remember(session, batch_sizes={"new": 100, "kept": 20}, now=NOW + timedelta(minutes=150))
        assert gateways.batch_sizes(session) == {"old": 100, "kept": 20, "new": 100}
        gateways.remember(session, batch_sizes={"new": 100, "kept": 20}, now=NOW + timedelta(minutes=151))
        assert gateways.batch_sizes(session) == {"kept": 20, "new": 100}
        assert gateways.lock(session, name="kept") == health


def test_a_name_that_comes_back_is_known_again(sessions: Sessions) -> None:
    """An enqueue for a gateway whose worker starts later makes it known too."""
    with sessions.begin() as session:
        gateways.add_missing(session, batch_sizes={"a": 100}, now=NOW)
        gateways.remember(session, batch_sizes={"b": 100}, now=NOW + timedelta(days=1))
        assert gateways.batch_sizes(session) == {"b": 100}
        gateways.remember(session, batch_sizes={"a": 100}, now=NOW + timedelta(days=1))
        assert gateways.batch_sizes(session) == {"a": 100, "b": 100}
