"""The settings as an operator reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.settings.samples import GATEWAY, SECRETS
from worker.embedded.folder import hold
from worker.settings import Settings, load_settings
from worker.settings.gateway import Gateway
from worker.settings.sources import Source, sources
from worker.settings.urls import masked_url


def test_every_setting_is_listed() -> None:
    """Every setting is listed in the order of the code, then every value of each gateway by name."""
    other = {name.replace("OPENAI-HUB", "A"): value for name, value in GATEWAY.items()}
    expected = [f"WORKER_{name.upper()}" for name in Settings.model_fields if name != "gateways"] + [
        f"WORKER_GATEWAYS__{gateway}__{key.upper()}"
        for gateway in ("A", "OPENAI-HUB")
        for key in Gateway.model_fields
        if key != "name"
    ]

    assert [row.variable for row in sources(load_settings(GATEWAY | other))] == expected


@pytest.mark.parametrize(
    ("variable", "given_value", "shown", "unit"),
    [
        ("WORKER_DATABASE_URL", "postgresql://u:p%40@h/d", "postgresql+psycopg://u:***@h/d", ""),
        ("WORKER_DATABASE_URL", "sqlite:////tmp/x.db", "sqlite:////tmp/x.db", ""),
        ("WORKER_BROKER_URL", "redis://:p@h:1/0", "redis://:***@h:1/0", ""),
        ("WORKER_RESULT_BACKEND", "redis://h?password=p&db=1", "redis://h?password=***&db=1", ""),
        ("WORKER_WEBHOOK_SECRET", ",".join(SECRETS), "***,***", ""),
        ("WORKER_WEBHOOK_ALLOW", "h,10.0.0.0/8", "10.0.0.0/8,h", ""),
        ("WORKER_WEBHOOK_RETRY_SCHEDULE", "[5, 0.25]", "5,0.25", "s"),
        ("WORKER_WEBHOOK_RETRY_SCHEDULE", "[]", "[]", "s"),
        ("WORKER_WEBHOOK_ORIGIN_CONCURRENCY", "7", "7", "requests"),
        ("WORKER_RETENTION", "123456.75", "123456.75", "s"),
        ("WORKER_LOG_LEVEL", "error", "ERROR", ""),
        ("WORKER_GATEWAYS__OPENAI-HUB__API_KEY", "hunter2", "***", ""),
        ("WORKER_GATEWAYS__OPENAI-HUB__AUTH_PREFIX", "", "", ""),
    ],
)
def test_a_given_value(variable: str, given_value: str, shown: str, unit: str) -> None:
    """A value from the environment is shown as its variable takes it, with its unit, secrets masked."""
    rows = sources(load_settings(GATEWAY | {variable: given_value}))

    assert Source(variable=variable, value=shown, unit=unit, source="environment") in rows


@pytest.mark.parametrize(
    ("variable", "value", "unit"),
    [
        ("WORKER_DATABASE_URL", "sqlite:///worker.db", ""),
        ("WORKER_WEBHOOK_SECRET", None, ""),
        ("WORKER_WEBHOOK_ALLOW", None, ""),
        ("WORKER_WEBHOOK_RETRY_SCHEDULE", "5,30,120,600,1800,3600,10800,21600,43200,86400", "s"),
        ("WORKER_TASK_DEADLINE", "86400", "s"),
        ("WORKER_GATEWAYS__OPENAI-HUB__BATCH_SIZE", "100", "tasks"),
        ("WORKER_GATEWAYS__OPENAI-HUB__AUTH_PREFIX", "Bearer ", ""),
    ],
)
def test_a_default(variable: str, value: str | None, unit: str) -> None:
    """What was not given is shown with its default."""
    rows = sources(load_settings(GATEWAY))

    assert Source(variable=variable, value=value, unit=unit, source="default") in rows


def test_the_broker_that_up_started(tmp_path: Path) -> None:
    """The broker that `up` left in its file is shown with that file as its source, its password masked."""
    settings = Settings(database_url=f"sqlite:///{tmp_path}/worker.db")
    unknown = Source(variable="WORKER_BROKER_URL", value=None, unit="", source="default")
    assert unknown in sources(settings)

    settings.state_folder().mkdir()
    settings.broker_url_file().write_text("redis://:p@127.0.0.1:1234/0\n", encoding="utf-8")

    file = str(tmp_path / ".suno-worker" / "broker-url")
    found = Source(variable="WORKER_BROKER_URL", value="redis://:***@127.0.0.1:1234/0", unit="", source=file)
    assert unknown in sources(settings)  # `up` has ended
    with hold(settings.up_lock()):
        assert found in sources(settings)


@given(user=st.text("uv"), password=st.text("hunter2", min_size=1), host=st.sampled_from(["X", "[::1]"]))
def test_masked_url(user: str, password: str, host: str) -> None:
    """Of a URL with a password everything but the password is shown."""
    assert masked_url(f"redis://{user}:{password}@{host}:1/0") == f"redis://{user}:***@{host}:1/0"
