"""What a good environment becomes."""

from __future__ import annotations

import fcntl
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.settings.samples import GATEWAY, SECRETS
from worker.core.addresses import Allow
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE
from worker.core.signature import decode_secret
from worker.core.wire import Fetch
from worker.embedded.folder import hold
from worker.settings import LogFormat, LogLevel, Settings, load_intake_settings, load_settings
from worker.settings.gateway import Gateway
from worker.settings.running_up import is_held


def test_defaults() -> None:
    """An empty environment gives the documented defaults."""
    settings = load_settings({})

    assert settings.database_url == "sqlite:///worker.db"
    assert settings.broker_url is None
    assert settings.result_backend is None
    assert settings.gateways == {}
    assert settings.webhook_secret == ()
    assert settings.webhook_allow == Allow()
    assert settings.webhook_retry_schedule == DEFAULT_RETRY_SCHEDULE
    assert settings.webhook_timeout == timedelta(seconds=15)
    assert settings.webhook_origin_concurrency == 64
    assert settings.poll_interval == timedelta(seconds=10)
    assert settings.first_poll_delay == timedelta(seconds=10)
    assert settings.task_deadline == timedelta(seconds=86_400)
    assert settings.missing_grace == timedelta(seconds=300)
    assert settings.stuck_after == timedelta(seconds=600)
    assert settings.retention == timedelta(days=30)
    assert settings.log_level is LogLevel.INFO
    assert settings.log_format is LogFormat.CONSOLE


def test_a_gateway_needs_two_variables() -> None:
    """A gateway with base URL and key has the documented defaults for all else."""
    gateway = load_settings(GATEWAY).gateways["openai-hub"]

    assert gateway.name == "openai-hub"
    assert gateway.base_url == "https://api.example.com"
    assert gateway.api_key.get_secret_value() == "sk-1"
    assert gateway.fetch is Fetch.BATCH
    assert gateway.auth_header == "Authorization"
    assert gateway.auth_prefix == "Bearer "
    assert gateway.batch_size == 100
    assert gateway.concurrency == 4
    assert gateway.timeout == timedelta(seconds=30)
    assert gateway.cooldown == timedelta(seconds=5)
    assert gateway.webhook_secret == ()


def test_several_gateways() -> None:
    """Each gateway has its own values; its lower-cased name may hold digits, dashes and underscores."""
    settings = load_settings(
        GATEWAY
        | {
            "WORKER_GATEWAYS__RIX_API2__BASE_URL": "http://127.0.0.1:8000/prefix/suno/",
            "WORKER_GATEWAYS__RIX_API2__API_KEY": "123",
            "WORKER_GATEWAYS__RIX_API2__FETCH": "Single",
            "WORKER_GATEWAYS__RIX_API2__AUTH_HEADER": "X-API-Key",
            "WORKER_GATEWAYS__RIX_API2__AUTH_PREFIX": "",
            "WORKER_GATEWAYS__RIX_API2__BATCH_SIZE": "7",
            "WORKER_GATEWAYS__RIX_API2__CONCURRENCY": "1",
            "WORKER_GATEWAYS__RIX_API2__TIMEOUT": "0.5",
            "WORKER_GATEWAYS__RIX_API2__COOLDOWN": "300",
            "WORKER_GATEWAYS__RIX_API2__WEBHOOK_SECRET": SECRETS[0],
        }
    )

    assert sorted(settings.gateways) == ["openai-hub", "rix_api2"]
    gateway = settings.gateways["rix_api2"]
    assert gateway.name == "rix_api2"
    assert gateway.base_url == "http://127.0.0.1:8000/prefix"
    assert gateway.api_key.get_secret_value() == "123"  # not the number
    assert gateway.fetch is Fetch.SINGLE
    assert gateway.auth_header == "X-API-Key"
    assert gateway.auth_prefix == ""
    assert gateway.batch_size == 7
    assert gateway.concurrency == 1
    assert gateway.timeout == timedelta(seconds=0.5)
    assert gateway.cooldown == timedelta(minutes=5)
    assert gateway.webhook_secret == (SecretStr(SECRETS[0]),)


def test_a_single_gateway_claims_ten() -> None:
    """Where each id is a GET of its own, one claim takes 10 unless told otherwise."""
    settings = load_settings(GATEWAY | {"WORKER_GATEWAYS__OPENAI-HUB__FETCH": "single"})

    assert settings.gateways["openai-hub"].batch_size == 10


@pytest.mark.parametrize(
    "text", [",".join(SECRETS), f"{SECRETS[0]} , {SECRETS[1]},", f'["{SECRETS[0]}", "{SECRETS[1]}"]']
)
def test_lists_as_commas_or_json(text: str) -> None:
    """A list may be written with commas or as JSON; its order stays."""
    settings = load_settings({"WORKER_WEBHOOK_SECRET": text})

    assert [one.get_secret_value() for one in settings.webhook_secret] == list(SECRETS)


@pytest.mark.parametrize(
    ("text", "waits"),
    [("1,2.5", [1, 2.5]), ("[1, 2.5, 0]", [1, 2.5, 0]), ("[]", []), ("604800", [604_800])],
)
def test_retry_schedule(text: str, waits: list[float]) -> None:
    """The retry schedule is a list of seconds; an empty one means a single attempt."""
    settings = load_settings({"WORKER_WEBHOOK_RETRY_SCHEDULE": text})

    assert settings.webhook_retry_schedule == tuple(timedelta(seconds=wait) for wait in waits)


def test_webhook_allow() -> None:
    """Private receivers are networks, addresses and host names."""
    settings = load_settings({"WORKER_WEBHOOK_ALLOW": "10.1.0.0/16, 127.0.0.1, Hooks.Internal"})

    assert settings.webhook_allow == Allow(
        networks=(ip_network("10.1.0.0/16"), ip_network("127.0.0.1")), hosts=frozenset({"hooks.internal"})
    )


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("sqlite:///worker.db", "sqlite:///worker.db"),
        ("sqlite+pysqlite:////var/lib/worker.db", "sqlite:////var/lib/worker.db"),
        ("postgresql+psycopg://u:p%40ss@h:5433/d", "postgresql+psycopg://u:p%40ss@h:5433/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+psycopg://u@h/d?sslmode=require"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql:///d", "postgresql+psycopg:///d"),
    ],
)
def test_database_url(given: str, read: str) -> None:
    """PostgreSQL in any of its usual spellings is opened with psycopg; its password stays as it is."""
    assert load_settings({"WORKER_DATABASE_URL": given}).database_url == read


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://:p%40ss@h:6380/2", "rediss://u:p@h:6380/0?ssl_cert_reqs=required"]
)
def test_broker_url(url: str) -> None:
    """A Redis URL is kept as it was given, with or without TLS."""
    settings = load_settings({"WORKER_BROKER_URL": url, "WORKER_RESULT_BACKEND": url})

    assert settings.broker_url == settings.result_backend == SecretStr(url)
    assert settings.resolve_broker_url() == url


def test_words_in_any_case() -> None:
    """Words and names of variables count in any case, and white space around a value does not count."""
    settings = load_settings({"WORKER_LOG_LEVEL": " debug\n", "worker_log_format": "JSON"})

    assert settings.log_level is LogLevel.DEBUG
    assert settings.log_format is LogFormat.JSON


def test_an_empty_value_is_none() -> None:
    """A variable that is empty, as compose files leave it, is the same as one that is not set."""
    assert load_settings({"WORKER_POLL_INTERVAL": "", "WORKER_WEBHOOK_SECRET": " "}) == load_settings({})


@pytest.mark.parametrize(
    "variable",
    [
        "PATH",
        "WORKER",
        "WORKER_SERVICE_HOST",
        "WORKER_SERVICE_PORT_HTTP",
        "WORKER_PORT",
        "WORKER_PORT_5555_TCP_ADDR",
        "WORKER_FLOWER_PORT_5555_TCP",
    ],
)
def test_variables_of_others(variable: str) -> None:
    """What Kubernetes sets for a Service named `worker` is no mistake of the operator's."""
    assert load_settings({variable: "tcp://10.0.0.1:5555"}) == load_settings({})


def test_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the environment of the process is read."""
    monkeypatch.setenv("WORKER_POLL_INTERVAL", "3")
    monkeypatch.setenv("WORKER_FIRST_POLL_DELAY", "4")

    assert load_settings().poll_interval == timedelta(seconds=3)
    assert load_intake_settings().first_poll_delay == timedelta(seconds=4)


def test_settings_in_code_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings built in code depend on their arguments only, and take values as well as text."""
    monkeypatch.setenv("WORKER_POLL_INTERVAL", "3")

    gateway = Gateway(name="a", base_url="https://h", api_key=SecretStr("k"))

    settings = Settings(
        first_poll_delay=timedelta(seconds=1),
        webhook_retry_schedule=(timedelta(seconds=2),),
        broker_url=SecretStr("redis://h"),
        webhook_secret=(SecretStr(SECRETS[0]),),
        webhook_allow=Allow(hosts=frozenset({"h"})),
        gateways={"a": gateway},
    )

    assert settings.poll_interval == timedelta(seconds=10)
    assert settings.first_poll_delay == timedelta(seconds=1)
    assert settings.webhook_retry_schedule == (timedelta(seconds=2),)
    assert settings.webhook_allow.permits_host("h")
    assert settings.gateways == {"a": gateway}


def test_intake_settings_mind_their_own_business() -> None:
    """A service that only enqueues is not stopped by variables that it does not need."""
    settings = load_intake_settings(
        {
            "WORKER_FIRST_POLL_DELAY": "3",
            "WORKER_WEBHOOK_ALLOW": "h",
            "WORKER_POLL_INTERVAL": "nonsense",
            "WORKER_THREADS": "8",
        }
    )

    assert settings.first_poll_delay == timedelta(seconds=3)
    assert settings.webhook_allow.permits_host("h")


def test_signing_secrets() -> None:
    """A gateway's own secret signs its results; any other gateway, known or not, uses the global one."""
    settings = load_settings(
        GATEWAY
        | {
            "WORKER_WEBHOOK_SECRET": ",".join(SECRETS),
            "WORKER_GATEWAYS__OTHER__BASE_URL": "https://other.example.com",
            "WORKER_GATEWAYS__OTHER__API_KEY": "k",
            "WORKER_GATEWAYS__OTHER__WEBHOOK_SECRET": SECRETS[1],
        }
    )

    both = tuple(map(decode_secret, SECRETS))
    assert settings.signing_secrets(gateway="openai-hub") == both
    assert settings.signing_secrets(gateway="gone") == both
    assert settings.signing_secrets(gateway="other") == both[1:]
    assert load_settings({}).signing_secrets(gateway="openai-hub") == ()


def test_state_folder_beside_the_database(tmp_path: Path) -> None:
    """What `up` keeps lies beside the SQLite file."""
    settings = Settings(database_url=f"sqlite:///{tmp_path}/data/worker.db")

    assert settings.state_folder() == tmp_path / "data" / ".suno-worker"


@pytest.mark.parametrize("url", ["sqlite:///worker.db", "postgresql://h/d"])
def test_state_folder_in_the_working_folder(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PostgreSQL, or a relative SQLite file, it lies in the working folder, as an absolute path."""
    monkeypatch.chdir(tmp_path)

    assert Settings(database_url=url).state_folder() == tmp_path / ".suno-worker"


def test_the_broker_that_up_started(tmp_path: Path) -> None:
    """Without WORKER_BROKER_URL the broker is the one whose URL a running `up` left in its file."""
    settings = Settings(database_url=f"sqlite:///{tmp_path}/worker.db")
    assert settings.resolve_broker_url() is None

    settings.state_folder().mkdir()
    with hold(settings.up_lock()):
        assert settings.resolve_broker_url() is None

        settings.broker_url_file().write_text("redis://:p@127.0.0.1:1234/0\n", encoding="utf-8")
        assert settings.resolve_broker_url() == "redis://:p@127.0.0.1:1234/0"


def test_the_broker_of_an_up_that_has_ended(tmp_path: Path) -> None:
    """What an ended `up` left in its file is nobody's address, with its lock file or without; looking makes
    no file and takes no lock, and a folder that can only be read is looked into like any other.
    """
    settings = Settings(database_url=f"sqlite:///{tmp_path}/worker.db")
    settings.state_folder().mkdir()
    settings.broker_url_file().write_text("redis://:p@127.0.0.1:1234/0\n", encoding="utf-8")
    assert settings.resolve_broker_url() is None
    assert not settings.up_lock().exists()

    settings.up_lock().write_text("4194304000\n", encoding="utf-8")
    settings.up_lock().chmod(0o400)
    settings.state_folder().chmod(0o500)
    assert settings.resolve_broker_url() is None

    settings.state_folder().chmod(0o700)
    settings.up_lock().chmod(0o600)
    with hold(settings.up_lock()):
        assert settings.resolve_broker_url() is not None
    assert settings.resolve_broker_url() is None


def test_who_looks_for_an_up_is_not_taken_for_one(tmp_path: Path) -> None:
    """Two that look at the same moment do not see each other."""
    lock = tmp_path / "lock"
    lock.touch()
    with lock.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)

        assert not is_held(lock)


def test_repr_shows_no_secret() -> None:
    """No password, key or secret can be read from the settings' repr."""
    settings = load_settings(
        GATEWAY
        | {
            "WORKER_DATABASE_URL": "postgresql://u:hunter2@h/d",
            "WORKER_BROKER_URL": "redis://:hunter2@h",
            "WORKER_RESULT_BACKEND": "redis://:hunter2@h",
            "WORKER_WEBHOOK_SECRET": SECRETS[0],
            "WORKER_GATEWAYS__OPENAI-HUB__API_KEY": "hunter2",
            "WORKER_GATEWAYS__OPENAI-HUB__WEBHOOK_SECRET": SECRETS[1],
        }
    )

    for text in (repr(settings), str(settings)):
        assert "hunter2" not in text
        assert SECRETS[0] not in text
        assert SECRETS[1] not in text
