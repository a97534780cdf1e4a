"""Celery's worker without its command line."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from worker import programs


@pytest.mark.parametrize("code", [0, 70])
def test_a_worker_ends_with_celerys_code(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever restarts what has failed, as systemd does, sees a failure by that alone."""
    ran: list[str] = []
    ended = SimpleNamespace(start=lambda: ran.append("worker"), exitcode=code)
    monkeypatch.setattr(programs, "app", SimpleNamespace(Worker=lambda *, quiet: ended if quiet else None))

    with pytest.raises(SystemExit) as caught:
        programs.worker()

    assert (ran, caught.value.code) == (["worker"], code)
