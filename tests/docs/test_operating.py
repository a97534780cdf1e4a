from __future__ import annotations

import re
from datetime import timedelta

import yaml

from tests.pages import ROOT, Page
from worker.cli.probes import MOST_CLOCK_OFFSET
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE, SUSPECT_SCHEDULE
from worker.core.verdicts import PostError
from worker.db.session import POOL_SIZE
from worker.dispatcher import SLOTS
from worker.open_files import NEEDED

PAGE = Page.read("docs/operating.md")
RULES = ROOT / "deploy" / "prometheus" / "suno-worker.rules.yml"


def test_every_alert_has_its_row() -> None:
    """The page says of each alert, in the order of the rules, what it means and what to do."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]

    rows = PAGE.table(first="alert")
    assert [cells[0].strip("`") for cells in rows] == alerts
    assert all(cells[1] and cells[2] for cells in rows)


def test_the_services_that_are_named_exist() -> None:
    """A command for Docker that is copied at night reaches a service of the compose file."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    named = re.findall(r"docker compose (?:exec(?: -T)?|logs --since \S+) ([a-z-]+)", PAGE.text)

    assert named
    assert set(named) <= set(services)


def test_numbers() -> None:
    """The page's numbers are the code's."""
    text = " ".join(PAGE.text.split())
    hours = round(sum(DEFAULT_RETRY_SCHEDULE, timedelta()) / timedelta(hours=1))
    minutes = round(sum(SUSPECT_SCHEDULE, timedelta()) / timedelta(minutes=1))

    assert f"at most {POOL_SIZE} connections" in text
    assert f"up to {SLOTS:,} POSTs in flight" in text
    assert f"all its {SLOTS:,} requests in flight" in text
    assert f"may need {NEEDED:,} open files" in text
    assert f"fail as `{PostError.INTERNAL}`" in text
    assert f"`check` complains of {MOST_CLOCK_OFFSET.total_seconds():g} s" in text
    assert f"is tried for {hours} hours" in text
    assert f"after about {minutes} minutes" in text
