from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.celery import QUEUES
from worker.cli import VERBS
from worker.metrics.serving import PORT
from worker.open_files import NEEDED
from worker.settings import load_settings

ROOT = Path(__file__).parent.parent
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
CELERY_PROGRAMS = {"worker", "beat", "flower"}

# ${NAME}, ${NAME:-default}, ${NAME:?message}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*)|:\?(?P<message>[^}]*))?\}")


def words(service: Mapping[str, Any]) -> list[str]:
    """Return a service's command as its words."""
    command: str | list[str] = service["command"]
    return shlex.split(command) if isinstance(command, str) else command


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """Return a service's environment as Compose gives it when no variable is set."""
    return {
        name: VARIABLE.sub(lambda found: found["default"] or "", value)
        for name, value in service.get("environment", {}).items()
    }


def test_every_queue_has_a_worker_of_its_own() -> None:
    """The queues that the workers read are the queues of the code, one each."""
    read = [
        word.partition("=")[2] for service in OURS.values() for word in words(service) if "--queues" in word
    ]

    assert sorted(read) == sorted(QUEUES)


def test_every_command_exists() -> None:
    """Our services run a program of Celery or a verb of the command line."""
    verbs = [words(service)[1] for service in OURS.values() if words(service)[0] == "suno-worker"]
    celery = [words(service) for service in OURS.values() if words(service)[0] == "celery"]

    assert len(verbs) + len(celery) == len(OURS)
    assert [verb for verb in verbs if verb not in VERBS] == []
    assert {tuple(command[1:3]) for command in celery} == {("-A", "worker")}
    assert {command[3] for command in celery} == CELERY_PROGRAMS


def test_there_are_two_beats() -> None:
    """Ticks go on when one Beat dies."""
    assert [name for name, service in OURS.items() if words(service)[3:4] == ["beat"]] == ["beat-1", "beat-2"]


def test_only_flower_and_metrics_are_published_and_on_loopback() -> None:
    """From outside this machine nothing can be reached."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"flower": ["127.0.0.1:5555:5555"], "exporter": [f"127.0.0.1:{PORT}:{PORT}"]}
    assert [name for name, service in SERVICES.items() if "network_mode" in service] == []
    assert {name for name, service in SERVICES.items() if service["networks"] == ["store"]} >= {
        "postgres",
        "redis",
    }


def test_flower_needs_a_password() -> None:
    """Without FLOWER_BASIC_AUTH nothing starts, the message says what to do; nothing else must be set."""
    required = [
        (found["name"], found["message"])
        for found in VARIABLE.finditer((ROOT / "docker-compose.yml").read_text())
        if found["message"]
    ]

    assert required == [("FLOWER_BASIC_AUTH", "set FLOWER_BASIC_AUTH=USER:PASSWORD in .env")]
    assert SERVICES["flower"]["environment"]["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_has_few_rights(name: str) -> None:
    """Each service writes nowhere but in its volume and in memory, and can gain no right."""
    service = SERVICES[name]

    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]  # noqa: S108 - inside the container
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "build" in service or service["user"] in {"postgres", "redis"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_comes_back_and_is_watched(name: str) -> None:
    """Each service restarts and has a health check, except the migrations, which run once and end."""
    service = SERVICES[name]

    assert service["restart"] == ("on-failure" if name == "migrate" else "unless-stopped")
    assert ("healthcheck" in service) is (name != "migrate")


def test_the_workers_wait_for_the_migrations() -> None:
    """No worker starts on tables of another version."""
    workers = [service for service in OURS.values() if words(service)[3:4] == ["worker"]]

    assert [service["depends_on"]["migrate"]["condition"] for service in workers] == [
        "service_completed_successfully"
    ] * len(QUEUES)


def test_a_worker_may_have_enough_files_open() -> None:
    """Whatever the default of the machine's Docker is."""
    workers = [service for service in OURS.values() if words(service)[3:4] == ["worker"]]

    assert [service["ulimits"] for service in workers] == [{"nofile": NEEDED}] * len(QUEUES)


def test_a_stop_waits_for_the_longest_request() -> None:
    """A worker that is told to stop has time for its longest request and the record of it."""
    settings = load_settings(
        {"WORKER_GATEWAYS__ONE__BASE_URL": "https://one.example", "WORKER_GATEWAYS__ONE__API_KEY": "sk-one"}
    )
    longest = max(settings.webhook_timeout, settings.gateways["one"].timeout)

    for service in OURS.values():
        assert timedelta(seconds=int(service["stop_grace_period"].removesuffix("s"))) >= longest + timedelta(
            seconds=15
        )


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_settings_of_a_service_are_settings(name: str) -> None:
    """What Compose sets is read without complaint, and names the servers that Compose starts."""
    settings = load_settings(environment(OURS[name]))

    assert "@postgres:5432/" in settings.database_url or words(OURS[name])[3:4] != ["worker"]
    assert settings.broker_url is not None or name == "migrate"
    if settings.broker_url is not None:
        assert settings.broker_url.get_secret_value().endswith("@redis:6379/0")


def test_the_passwords_of_both_ends_are_one() -> None:
    """Redis and PostgreSQL ask for the password that the workers have."""
    worker = environment(SERVICES["worker-poll"])
    postgres = environment(SERVICES["postgres"])
    redis = environment(SERVICES["redis"])

    asked_for = words(
        {"command": VARIABLE.sub(lambda found: found["default"], SERVICES["redis"]["command"])}
    )[-1]
    assert worker["WORKER_BROKER_URL"].startswith(f"redis://:{asked_for}@")
    assert redis["REDISCLI_AUTH"] == asked_for
    login = f"{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}@"
    assert worker["WORKER_DATABASE_URL"].startswith(f"postgresql+psycopg://{login}")
    assert worker["WORKER_DATABASE_URL"].endswith(f"/{postgres['POSTGRES_DB']}")


def test_the_example_of_worker_env_is_right() -> None:
    """The example sets nothing as it is, and every line of it that is uncommented is a setting."""
    lines = (ROOT / "deploy/worker.env.example").read_text().splitlines()
    settings = [line.removeprefix("#") for line in lines if line.startswith("#WORKER_")]

    assert [line for line in lines if line and not line.startswith("#")] == []
    loaded = load_settings(dict(line.split("=", 1) for line in settings))
    assert set(loaded.gateways) == {"openai_hub", "nengyongai"}


def test_the_image_is_built_from_what_the_builder_gets() -> None:
    """Each COPY of the Dockerfile names what exists and what .dockerignore lets through."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = {
        name
        for line in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE)
        for name in line.split()
    }
    let_through = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert copied == set(let_through)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_runs_as_an_ordinary_user() -> None:
    """The last user that the Dockerfile sets is not root."""
    assert re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE) == ["suno-worker"]
