"""`suno-worker settings` and `suno-worker secret`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from standardwebhooks import Webhook

from tests.settings.samples import GATEWAY, SECRETS
from worker.cli import main
from worker.core.signature import decode_secret

SECRET_VALUES = GATEWAY | {
    "WORKER_WEBHOOK_SECRET": SECRETS[0],
    "WORKER_BROKER_URL": "redis://:hunter2@localhost/0",
    "WORKER_GATEWAYS__OPENAI-HUB__API_KEY": "hunter2",
}


def test_settings_as_table() -> None:
    """Without a terminal the settings are aligned text: variable, value, unit, source."""
    result = CliRunner(env=GATEWAY | {"WORKER_POLL_INTERVAL": "7"}).invoke(main, ["settings"])

    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert ["variable", "value", "unit", "source"] in lines
    assert ["WORKER_POLL_INTERVAL", "7", "s", "environment"] in lines
    assert ["WORKER_LOG_FORMAT", "console", "default"] in lines
    assert ["WORKER_BROKER_URL", "not", "set", "default"] in lines
    assert ["WORKER_GATEWAYS__OPENAI-HUB__AUTH_PREFIX", "'Bearer", "'", "default"] in lines


def test_settings_as_json() -> None:
    """With `--json` the same rows are one JSON list."""
    result = CliRunner(env={"WORKER_POLL_INTERVAL": "7"}).invoke(main, ["settings", "--json"])

    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert {"variable": "WORKER_POLL_INTERVAL", "value": "7", "unit": "s", "source": "environment"} in rows
    assert {"variable": "WORKER_BROKER_URL", "value": None, "unit": "", "source": "default"} in rows


@pytest.mark.parametrize("arguments", [["settings"], ["settings", "--json"]])
def test_settings_show_no_secret(arguments: list[str]) -> None:
    """Neither form shows a password, a key or a secret."""
    result = CliRunner(env=SECRET_VALUES).invoke(main, arguments)

    assert result.exit_code == 0
    assert "***" in result.output
    assert "hunter2" not in result.output
    assert SECRETS[0].removeprefix("whsec_") not in result.output


def test_wrong_settings() -> None:
    """Wrong settings end with exit code 1 and every mistake on stderr, without a traceback."""
    environ = {"WORKER_POLL_INTERVAL": "soon", "WORKER_LOG_LEVELS": "INFO"}
    result = CliRunner(env=environ).invoke(main, ["settings"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "Error: WORKER_LOG_LEVELS: is no setting; did you mean WORKER_LOG_LEVEL?\n"
        "WORKER_POLL_INTERVAL: 'soon' is not a number; give seconds above 0, at most 3600, "
        "for example WORKER_POLL_INTERVAL=10\n"
    )


def test_a_new_secret() -> None:
    """`secret` prints one that the public library takes, with 32 random bytes, new each time."""
    first, second = (CliRunner().invoke(main, ["secret"]) for _ in range(2))

    assert first.exit_code == 0
    assert len(decode_secret(first.stdout.removesuffix("\n"))) == 32
    assert Webhook(first.stdout.strip()).sign("id", datetime.now(tz=UTC), "{}").startswith("v1,")
    assert first.stdout != second.stdout


@pytest.mark.parametrize("verb", ["settings", "secret"])
def test_an_argument_too_many(verb: str) -> None:
    """An argument that the verb does not take is wrong usage: exit code 2."""
    result = CliRunner().invoke(main, [verb, "x"])

    assert result.exit_code == 2
    assert "Got unexpected extra argument" in result.stderr
