from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from tests.cli.conftest import Cli
from tests.factory import add_delivery, add_gateway, add_task
from worker.cli import pruning
from worker.db.models import SunoTask
from worker.db.session import Sessions


@pytest.fixture
def three_tasks(sessions: Sessions) -> None:
    """Write an old task, an old one that is still owed, and a young one."""
    now = datetime.now(UTC)
    with sessions.begin() as session:
        add_gateway(session)
        for days, state in ((31, "DELIVERED"), (31, "PENDING"), (1, "DELIVERED")):
            task = add_task(session, status="SUCCESS", finished_at=now - timedelta(days=days))
            add_delivery(session, suno_task_id=task, state=state)


def left(sessions: Sessions) -> int:
    """Count the Suno tasks."""
    with sessions() as session:
        return session.scalars(select(func.count()).select_from(SunoTask)).one()


@pytest.mark.usefixtures("three_tasks")
def test_what_is_past_its_retention_goes(cli: Cli, sessions: Sessions) -> None:
    """The old task goes, the owed and the young stay; a second call finds nothing."""
    assert cli("prune").stdout == "deleted 1 Suno tasks, 0 rejections, 0 idle origins\n"
    assert cli("prune").stdout == "deleted 0 Suno tasks, 0 rejections, 0 idle origins\n"
    assert left(sessions) == 2


@pytest.mark.usefixtures("three_tasks")
def test_a_dry_run_changes_nothing(cli: Cli, sessions: Sessions) -> None:
    """It says how many would go, for people and machines."""
    assert cli("prune", "--dry-run").stdout == "1 Suno tasks are past WORKER_RETENTION\n"
    assert json.loads(cli("prune", "--dry-run", "--json").stdout)["past_retention"] == 1
    assert left(sessions) == 3


@pytest.mark.usefixtures("three_tasks")
def test_the_retention_is_the_setting(cli: Cli) -> None:
    """A shorter retention takes the young one too."""
    shown = json.loads(cli("prune", "--json", env={"WORKER_RETENTION": "3600"}).stdout)

    assert shown["removed"] == {"suno_tasks": 2, "rejections": 0, "origins": 0}


@pytest.mark.usefixtures("three_tasks")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OperationalError("x", {}, Exception("gone"))])
def test_one_that_is_stopped_says_how_far_it_came(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Ctrl-C or a database that goes away ends it in one line: what is deleted stays deleted."""

    def stopped(*_: object, **__: object) -> object:
        yield "suno_tasks", 200
        raise error

    monkeypatch.setattr(pruning, "pruned", stopped)

    result = cli("prune")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: stopped after 200 Suno tasks; call again for the rest: ")
