"""A real Prometheus takes what the exporter says, and understands what dashboard and alerts ask."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.factory import add_attempt, add_delivery, add_gateway
from tests.system.debian import program
from tests.system.waiting import PATIENCE_S, wait_until
from tests.test_monitoring import ROOT, RULES, RULES_FILE, expressions
from worker.db.session import make_engine, make_sessions
from worker.embedded.children import spawn
from worker.embedded.valkey import free_port

pytestmark = pytest.mark.timeout(600)  # a busy machine takes its time

SCRAPE_EVERY = "5s"  # which is also how long a scrape may take


@pytest.fixture
def exporter(sqlite_url: str, broker_url: str, tmp_path: Path) -> Iterator[str]:
    """Give the address of a real exporter beside a database that has something in it."""
    engine = make_engine(sqlite_url)
    with make_sessions(engine).begin() as session:
        add_gateway(session, name="hub")
        add_attempt(session, delivery_id=add_delivery(session))
    engine.dispose()
    port = free_port()
    settings = {"WORKER_DATABASE_URL": sqlite_url, "WORKER_BROKER_URL": broker_url}
    child = spawn(
        [sys.executable, "-m", "worker", "exporter", "--port", str(port)],
        environment={"PYTHONPATH": str(ROOT), **settings},
        folder=tmp_path,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/metrics")
        yield f"127.0.0.1:{port}"
    finally:
        child.stop(grace=10)


@pytest.fixture
def prometheus(exporter: str, tmp_path: Path) -> Iterator[str]:
    """Give the address of a Prometheus that has scraped the exporter, with our rules."""
    config = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    folder = tmp_path / "prometheus"
    folder.mkdir()
    (folder / RULES_FILE.name).write_text(RULES_FILE.read_text())
    file = folder / "prometheus.yml"
    file.write_text(config.replace("127.0.0.1:5556", exporter).replace("15s", SCRAPE_EVERY))
    address = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        child = spawn(
            [
                program("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--log.level=error",
            ],
            environment={},
            folder=folder,
        )
        stack.callback(child.stop, grace=10)
        wait_for(f"http://{address}/-/ready")
        # What is counted once a minute comes last, and later where a first reading took too long.
        wait_until(lambda: asked(address, "suno_worker_deliveries and on () up == 1"), what="a whole scrape")
        yield address


def wait_for(url: str) -> None:
    """Return when `url` answers 200."""
    wait_until(lambda: httpx.get(url).status_code == httpx.codes.OK, what=f"{url} answers")


def asked(address: str, query: str) -> list[dict[str, Any]]:
    """Return the series of a query; fail with Prometheus' words when it does not understand it."""
    answer = httpx.get(f"http://{address}/api/v1/query", params={"query": query}, timeout=PATIENCE_S).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    series: list[dict[str, Any]] = answer["data"]["result"]
    return series


def run(*arguments: str | Path, stdin: str = "") -> str:
    """Run promtool to its good end; return what it said."""
    done = subprocess.run(
        [program("promtool"), *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_and_the_configuration_are_right() -> None:
    """`promtool check` finds nothing in what we ship."""
    assert f"{len(RULES)} rules found" in run("check", "rules", RULES_FILE)
    assert "is valid prometheus config" in run("check", "config", ROOT / "deploy/prometheus/prometheus.yml")


def test_the_metrics_are_named_as_is_usual(exporter: str) -> None:
    """`promtool check metrics` has no advice to give."""
    assert (
        run("check", "metrics", stdin=httpx.get(f"http://{exporter}/metrics", timeout=PATIENCE_S).text) == ""
    )


def test_every_query_is_understood(prometheus: str) -> None:
    """Each expression of the dashboard and of the alerts is good PromQL for what was scraped."""
    for expression in expressions().values():
        asked(prometheus, expression.replace("$__rate_interval", "1m"))


def test_it_scrapes_and_judges(prometheus: str) -> None:
    """The target is up, every rule is well, and nothing but the exporter's own truth is in the series."""
    targets = httpx.get(f"http://{prometheus}/api/v1/targets").json()["data"]["activeTargets"]
    (up,) = asked(prometheus, 'up{job="suno-worker"}')
    pending = asked(prometheus, 'suno_worker_deliveries{state="PENDING"}')
    waited = asked(prometheus, 'suno_worker_oldest_due_seconds{work="delivery"}')
    (group,) = httpx.get(f"http://{prometheus}/api/v1/rules").json()["data"]["groups"]

    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
    assert up["value"][1] == "1"
    assert [one["value"][1] for one in pending] == ["1"]
    assert float(waited[0]["value"][1]) > 0
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in RULES]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}


def test_the_dashboard_is_json_that_grafana_imports() -> None:
    """Every panel is of a kind that each Grafana has, and asks with the interval that fits its width."""
    dashboard = json.loads((ROOT / "deploy/grafana/suno-worker.json").read_text())

    assert {panel["type"] for panel in dashboard["panels"]} == {"row", "stat", "timeseries"}
    for expression in expressions().values():
        for window in re.findall(r"rate\([^[]*\[([^]]+)\]", expression):
            assert window == "$__rate_interval" or re.fullmatch(r"\d+m", window)
