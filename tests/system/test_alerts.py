"""Each alert fires when it should and only then, by Prometheus' own reckoning."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.debian import program
from tests.test_monitoring import RULES, RULES_FILE

WELL = {
    'up{job="suno-worker"}': "1x120",
    "suno_worker_database_up": "1x120",
    "suno_worker_broker_up": "1x120",
    'suno_worker_oldest_due_seconds{work="poll"}': "1 0 2 59x117",
    'suno_worker_oldest_due_seconds{work="delivery"}': "1 0 2 59x117",
    'suno_worker_queue_messages{queue="enqueue"}': "0 1000x119",
    'suno_worker_gateway_trouble{gateway="hub",trouble="unauthorized"}': "0x120",
    # A cool-down that heals, again and again.
    'suno_worker_gateway_failures{gateway="hub"}': "0 1 2 3 0 1 2 3 4 5 0x110",
    'suno_worker_pending_tasks{gateway="hub"}': "100x120",
    'suno_worker_pending_tasks{gateway="removed"}': "0x120",
    'suno_worker_gateway_configured{gateway="hub"}': "1x120",
    'suno_worker_gateway_configured{gateway="removed"}': "0x120",
    'suno_worker_attempts_total{answer="2xx",verdict="delivered"}': "0+60x120",
    'suno_worker_attempts_total{answer="5xx",verdict="retried"}': "0+50x120",
    'suno_worker_attempts_total{answer="5xx",verdict="discarded"}': "0x120",
    'suno_worker_receivers{breaker="open"}': "0 1x40 0x80",
    'suno_worker_receivers{breaker="probing"}': "0x120",
    'suno_worker_delivery_lag_seconds_bucket{le="30"}': "0+96x120",
    'suno_worker_delivery_lag_seconds_bucket{le="60"}': "0+96x120",
    'suno_worker_delivery_lag_seconds_bucket{le="300"}': "0+100x120",
    'suno_worker_delivery_lag_seconds_bucket{le="+Inf"}': "0+100x120",
    "suno_worker_rejections_total": "3x120",
    "suno_worker_dead_letters": "5x120",
    'suno_worker_exporter_errors_total{part="counts"}': "0 1 2x118",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Trouble after some minutes: the series that differ, when the alert is still quiet, when it fires."""

    alert: str
    series: Mapping[str, str]
    quiet_at: str
    fires_at: str


CASES = (
    Case(
        alert="SunoWorkerExporterDown",
        series={'up{job="suno-worker"}': "1x9 0x110"},
        quiet_at="12m",
        fires_at="14m",
    ),
    Case(
        alert="SunoWorkerDatabaseDown",
        series={"suno_worker_database_up": "1x9 0x110"},
        quiet_at="11m",
        fires_at="13m",
    ),
    Case(
        alert="SunoWorkerBrokerDown",
        series={"suno_worker_broker_up": "1x9 0x110"},
        quiet_at="11m",
        fires_at="13m",
    ),
    Case(
        alert="SunoWorkerPollsLate",
        series={'suno_worker_oldest_due_seconds{work="poll"}': "0x9 61x110"},
        quiet_at="14m",
        fires_at="16m",
    ),
    Case(
        alert="SunoWorkerDeliveriesLate",
        series={'suno_worker_oldest_due_seconds{work="delivery"}': "0x9 61x110"},
        quiet_at="14m",
        fires_at="16m",
    ),
    Case(
        alert="SunoWorkerEnqueueBacklog",
        series={'suno_worker_queue_messages{queue="enqueue"}': "0x9 1001x110"},
        quiet_at="14m",
        fires_at="16m",
    ),
    Case(
        alert="SunoWorkerGatewayRefusesKey",
        series={'suno_worker_gateway_trouble{gateway="hub",trouble="unauthorized"}': "0x9 1x110"},
        quiet_at="11m",
        fires_at="13m",
    ),
    Case(
        alert="SunoWorkerGatewayInTrouble",
        series={'suno_worker_gateway_failures{gateway="hub"}': "0x9 1+1x110"},
        quiet_at="24m",
        fires_at="26m",
    ),
    Case(
        alert="SunoWorkerGatewayNotConfigured",
        series={'suno_worker_gateway_configured{gateway="hub"}': "1x9 0x110"},
        quiet_at="24m",
        fires_at="26m",
    ),
    Case(
        alert="SunoWorkerDeliveriesDiscarded",
        series={'suno_worker_attempts_total{answer="5xx",verdict="discarded"}': "0x9 1x110"},
        quiet_at="9m",
        fires_at="12m",
    ),
    Case(
        alert="SunoWorkerAttemptsFail",
        series={'suno_worker_attempts_total{answer="5xx",verdict="retried"}': "0x9 0+100x110"},
        quiet_at="20m",
        fires_at="60m",
    ),
    Case(
        alert="SunoWorkerReceiversLeftAlone",
        series={'suno_worker_receivers{breaker="probing"}': "0x9 1x110"},
        quiet_at="60m",
        fires_at="80m",
    ),
    Case(
        alert="SunoWorkerDeliverySlow",
        series={
            'suno_worker_delivery_lag_seconds_bucket{le="30"}': "0+96x9 864+90x110",
            'suno_worker_delivery_lag_seconds_bucket{le="60"}': "0+96x9 864+90x110",
        },
        quiet_at="30m",
        fires_at="90m",
    ),
    Case(
        alert="SunoWorkerRequestsRefused",
        series={"suno_worker_rejections_total": "3x9 4x110"},
        quiet_at="9m",
        fires_at="12m",
    ),
    Case(
        alert="SunoWorkerDeadLetters",
        series={"suno_worker_dead_letters": "5x29 6x90"},
        quiet_at="29m",
        fires_at="31m",
    ),
    Case(
        alert="SunoWorkerFiguresMissing",
        series={'suno_worker_exporter_errors_total{part="counts"}': "0+1x119"},
        quiet_at="15m",
        fires_at="40m",
    ),
)


def play(folder: Path, *, series: Mapping[str, str], firing: Mapping[str, list[str]]) -> None:
    """Have promtool play the series and compare which alerts fire at which times."""
    checks = [
        {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": at,
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)],
        }
        for at, names in firing.items()
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    file = folder / "alerts.test.yml"
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": checks}
    # JSON is YAML.
    file.write_text(
        json.dumps({"rule_files": [str(RULES_FILE)], "evaluation_interval": "1m", "tests": [test]})
    )
    done = subprocess.run(
        [program("promtool"), "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_case_for_each_alert() -> None:
    """No alert is there that nobody has seen fire."""
    assert [case.alert for case in CASES] == [rule["alert"] for rule in RULES]


def test_a_healthy_installation_is_quiet(tmp_path: Path) -> None:
    """Short troubles that heal, figures just below their edges, and old refusals wake nobody."""
    play(tmp_path, series=WELL, firing={f"{minutes}m": [] for minutes in range(0, 120, 10)})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires(tmp_path: Path, case: Case) -> None:
    """It waits its time, then fires, alone: one trouble is one alert."""
    play(tmp_path, series={**WELL, **case.series}, firing={case.quiet_at: [], case.fires_at: [case.alert]})


def test_a_refused_key_is_one_alert(tmp_path: Path) -> None:
    """A gateway that refuses its key gives no good answer either; that says nothing more."""
    series = {
        'suno_worker_gateway_trouble{gateway="hub",trouble="unauthorized"}': "0x9 1x110",
        'suno_worker_gateway_failures{gateway="hub"}': "0x9 1+1x110",
    }

    play(tmp_path, series={**WELL, **series}, firing={"60m": ["SunoWorkerGatewayRefusesKey"]})


def test_an_exporter_that_is_not_scraped_at_all_is_an_alert(tmp_path: Path) -> None:
    """A job that was forgotten or renamed in Prometheus' own configuration."""
    series = {name: values for name, values in WELL.items() if not name.startswith("up{")}

    play(tmp_path, series=series, firing={"2m": [], "10m": ["SunoWorkerExporterDown"]})
