"""Dashboard, alerts and documents speak of metrics that the exporter has, and of nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics_core import CounterMetricFamily

from tests.factory import add_gateway
from worker.celery import QUEUES
from worker.cli import VERBS
from worker.db.session import Sessions, make_engine, make_sessions
from worker.metrics.exporter import Exporter
from worker.metrics.gauges import PREFIX
from worker.metrics.serving import PORT

ROOT = Path(__file__).parents[1]
RULES_FILE = ROOT / "deploy/prometheus/suno-worker.rules.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(RULES_FILE.read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/suno-worker.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DOCUMENT = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")

# `name{label="value",…}`: the name, and what stands in the braces.
SELECTOR = re.compile(rf"\b({PREFIX}\w+)(?:\{{([^}}]*)\}})?")
MATCHER = re.compile(r'(\w+)\s*=~?\s*"([^"]*)"')


@pytest.fixture
def families(sqlite_url: str, broker_url: str) -> Iterator[list[Metric]]:
    """Give all families of a scrape of an installation that has one gateway."""
    engine = make_engine(sqlite_url)
    yield list(families_of(make_sessions(engine), broker_url=broker_url))
    engine.dispose()


def families_of(sessions: Sessions, *, broker_url: str) -> Iterator[Metric]:
    """Scrape once."""
    with sessions.begin() as session:
        add_gateway(session)
    registry = CollectorRegistry()
    registry.register(Exporter(sessions=sessions, queues=QUEUES, broker_url=lambda: broker_url))
    yield from registry.collect()


def expressions() -> dict[str, str]:
    """Return every query of the dashboard and of the alerts, by where it stands."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in PANELS
        for target in panel["targets"]
    }
    return found | {rule["alert"]: rule["expr"] for rule in RULES}


def test_every_query_asks_for_what_there_is(families: list[Metric]) -> None:
    """Names, labels and their values: a misspelt one would be an empty panel, or an alert that sleeps."""
    samples = [sample for family in families for sample in family.samples]
    for place, expression in expressions().items():
        for name, matchers in SELECTOR.findall(expression):
            wanted = dict(MATCHER.findall(matchers))
            for label, pattern in wanted.items():
                values = {one.labels[label] for one in samples if one.name == name and label in one.labels}
                for value in pattern.split("|"):
                    assert value in values, f"{place}: {name} has no {label}={value}"
            assert name in {one.name for one in samples}, f"{place}: there is no {name}"


def test_every_label_that_is_grouped_by_exists(families: list[Metric]) -> None:
    """`by (…)` of a label that no metric of the query has would put all series into one."""
    labels = {
        sample.name: set(sample.labels) for family in families for sample in family.samples if sample.labels
    }
    for place, expression in expressions().items():
        grouped = {
            one.strip() for found in re.findall(r"\bby \(([^)]*)\)", expression) for one in found.split(",")
        }
        known = set().union(*(labels.get(name, set()) for name, _ in SELECTOR.findall(expression)))
        assert grouped <= known, place


def test_every_metric_is_shown(families: list[Metric]) -> None:
    """The dashboard has a place for each figure, except those that speak of the exporter itself."""
    shown = {name for expression in expressions().values() for name, _ in SELECTOR.findall(expression)}
    unseen = {
        family.name for family in families if not any(sample.name in shown for sample in family.samples)
    }

    assert unseen == {f"{PREFIX}build_info", f"{PREFIX}counted_timestamp_seconds"}


def test_labels_are_closed_sets(families: list[Metric]) -> None:
    """No label carries what a stranger chose: an origin, a task id, an address."""
    names = {label for family in families for sample in family.samples for label in sample.labels}

    assert names == {
        *("answer", "breaker", "gateway", "part", "queue", "state", "status", "trouble", "verdict", "work"),
        *("le", "version"),
    }


def test_the_document_lists_every_metric(families: list[Metric]) -> None:
    """docs/metrics.md has each metric with its kind, its labels and its meaning, and none that is gone."""
    rows = [
        f"| `{exposed(family)}` | {family.type} | {labels_of(family)} | {family.documentation} |"
        for family in families
    ]

    assert re.findall(rf"^\| `{PREFIX}.*$", DOCUMENT, re.MULTILINE) == rows


def exposed(family: Metric) -> str:
    """Return the name that a query begins with."""
    is_counter = isinstance(family, CounterMetricFamily) or family.type == "counter"
    return f"{family.name}_total" if is_counter else family.name


def labels_of(family: Metric) -> str:
    """Return the names of the family's labels, as the document has them."""
    names = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
    return ", ".join(f"`{name}`" for name in names)


def test_the_document_lists_every_alert() -> None:
    """docs/metrics.md has each alert with its severity."""
    rows = re.findall(r"^\| `(SunoWorker\w+)` \| (\w+) \|", DOCUMENT, re.MULTILINE)

    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Each has a summary and a text that names a command, a log or a variable; commands are real verbs."""
    text = rule["annotations"]["description"]

    assert rule["annotations"]["summary"]
    assert re.search(r"`(suno-worker|celery) |WORKER_|-Q |the dashboard|log", text)
    assert set(re.findall(r"`suno-worker ([a-z-]+)", text)) <= set(VERBS)


def test_the_dashboard_asks_whichever_prometheus_is_chosen() -> None:
    """Panels have ids of their own and do not overlap, and no source of somebody's own Grafana is in them."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(ids) == len(set(ids))
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {
        "${datasource}"
    }


def test_prometheus_is_sent_to_the_exporter() -> None:
    """The example scrapes the exporter's own port under the name that the alerts ask for."""
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]

    assert config["rule_files"] == [RULES_FILE.name]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{PORT}"]}]
    assert f'up{{job="{job["job_name"]}"}}' in RULES[0]["expr"]
