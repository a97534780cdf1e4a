from __future__ import annotations

import yaml

from tests.pages import ROOT, Page

PAGE = Page.read("docs/operating.md")
RULES = ROOT / "deploy" / "prometheus" / "suno-worker.rules.yml"


def test_every_alert_has_its_row() -> None:
    """The page says of each alert, in the order of the rules, what it means and what to do."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]

    rows = PAGE.table(first="alert")
    assert [cells[0].strip("`") for cells in rows] == alerts
    assert all(cells[1] and cells[2] for cells in rows)
