"""Every setting with its default, unit and limits; the only reader of the environment.

`load_settings` reads the variables `WORKER_…` and nothing else: no `.env` file, no command line. All mistakes
are reported together, each as one line with the variable, what is wrong with its value, what to do and an
example. Secrets appear in no error and no repr. `Settings(...)` called directly reads no environment, only
its arguments; tests build theirs so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, SecretStr

from worker.core.addresses import Allow
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE
from worker.core.signature import decode_secret
from worker.settings.environment import PREFIX, Problem, find_variables
from worker.settings.gateway import Gateway, Secrets, name_gateways, setting
from worker.settings.loading import FromVariables, Loaded, build
from worker.settings.running_up import is_held
from worker.settings.urls import folder_of, read_database_url, read_redis_url, read_result_backend
from worker.settings.values import Count, OneOf, Seconds, Waits, read_allow

MINUTE, HOUR, DAY = 60, 3_600, 86_400

FIRST_POLL_DELAY = timedelta(seconds=10)
LARGEST_BATCH = 100  # ids in one POST: what the strictest gateway of the family answers
SINGLE_BATCH = 10  # ids in one claim where each id is a GET of its own

# The broker gives a dead worker's message to another after 180 s and up to 10 s. Were the task's row gone by
# then, the message would begin it anew, and its result would come a second time under another `webhook-id`.
LEAST_RETENTION = 5 * MINUTE

STATE_FOLDER = ".suno-worker"
BROKER_URL_FILE = "broker-url"
UP_LOCK = "lock"


class LogLevel(StrEnum):
    """The least grave line that is written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class LogFormat(StrEnum):
    """Lines for people, or one JSON object a line."""

    CONSOLE = "console"
    JSON = "json"


class SettingsError(ValueError):
    """The environment cannot be used; the text has one line for each mistake."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


FirstPollDelay = Annotated[
    timedelta,
    PlainValidator(Seconds(most=HOUR)),
    Field(
        description="from enqueue to the first poll (LYRICS: at most 1 s)",
        examples=["10"],
        json_schema_extra={"unit": "s"},
    ),
]
WebhookAllow = Annotated[
    Allow,
    PlainValidator(read_allow),
    Field(
        description="private receivers that may be reached",
        examples=["10.1.0.0/16,hooks.internal"],
        json_schema_extra={"unit": ""},
    ),
]


class Settings(FromVariables):
    """Everything that can be configured, in the order in which `suno-worker settings` lists it."""

    database_url: Annotated[str, PlainValidator(read_database_url)] = Field(
        "sqlite:///worker.db",
        description="SQLite in a file, or PostgreSQL for more than one machine",
        examples=["postgresql+psycopg://worker:PASSWORD@localhost/worker"],
        repr=False,  # may hold a password
    )
    broker_url: Annotated[SecretStr, PlainValidator(read_redis_url)] | None = setting(
        None,
        meaning="Redis or Valkey; without it, the embedded one that `suno-worker up` started",
        example="redis://:PASSWORD@localhost:6379/0",
    )
    result_backend: Annotated[SecretStr, PlainValidator(read_result_backend)] | None = setting(
        None,
        meaning="keeps the results of `suno.enqueue` for 1 h, for senders that wait for them",
        example="redis://:PASSWORD@localhost:6379/1",
    )
    gateways: Annotated[dict[str, Gateway], BeforeValidator(name_gateways)] = Field(default_factory=dict)
    webhook_secret: Secrets = setting(
        (),
        meaning="signs every webhook; several during rotation, newest first",
        example="$(suno-worker secret)",
    )
    webhook_allow: WebhookAllow = Allow()
    webhook_retry_schedule: Annotated[
        tuple[timedelta, ...], PlainValidator(Waits(wait=Seconds(most=7 * DAY), most=50))
    ] = setting(
        DEFAULT_RETRY_SCHEDULE, meaning="waits after attempt 1, 2, …", example="5,30,120,600", unit="s"
    )
    webhook_timeout: Annotated[timedelta, PlainValidator(Seconds(most=300, zero=False))] = setting(
        timedelta(seconds=15), meaning="wall clock for one attempt", example="15", unit="s"
    )
    webhook_origin_concurrency: Annotated[int, PlainValidator(Count(most=1_000))] = setting(
        64,
        meaning="most attempts at once to one receiver, over all workers; it adapts below that",
        example="64",
        unit="requests",
    )
    poll_interval: Annotated[timedelta, PlainValidator(Seconds(most=HOUR, zero=False))] = setting(
        timedelta(seconds=10),
        meaning="between polls in a task's first 2 minutes; later ×2, ×6, ×30",
        example="10",
        unit="s",
    )
    first_poll_delay: FirstPollDelay = FIRST_POLL_DELAY
    task_deadline: Annotated[timedelta, PlainValidator(Seconds(most=365 * DAY, zero=False))] = setting(
        timedelta(days=1),
        meaning="a task that is not finished by then ends as FAILURE",
        example="86400",
        unit="s",
    )
    missing_grace: Annotated[timedelta, PlainValidator(Seconds(most=30 * DAY))] = setting(
        timedelta(minutes=5),
        meaning="how long a new task may be unknown to its gateway",
        example="300",
        unit="s",
    )
    stuck_after: Annotated[timedelta, PlainValidator(Seconds(most=30 * DAY, zero=False))] = setting(
        timedelta(minutes=10),
        meaning="how long a task may stand at 100 % with a fail_reason and no final status",
        example="600",
        unit="s",
    )
    retention: Annotated[timedelta, PlainValidator(Seconds(least=LEAST_RETENTION, most=3_650 * DAY))] = (
        setting(
            timedelta(days=30),
            meaning="how long finished tasks are kept, 300 at least",
            example="2592000",
            unit="s",
        )
    )
    log_level: Annotated[LogLevel, PlainValidator(OneOf(words=LogLevel))] = setting(
        LogLevel.INFO, meaning="the least grave line that is written", example="INFO"
    )
    log_format: Annotated[LogFormat, PlainValidator(OneOf(words=LogFormat))] = setting(
        LogFormat.CONSOLE, meaning="lines for people, or one JSON object a line", example="json"
    )

    def signing_secrets(self, *, gateway: str) -> tuple[bytes, ...]:
        """Return the keys that sign the results of `gateway`, newest first; none means unsigned.

        A gateway that is no longer configured signs with the global secret.
        """
        configured = self.gateways.get(gateway)
        own = configured.webhook_secret if configured else ()
        return tuple(decode_secret(secret.get_secret_value()) for secret in own or self.webhook_secret)

    def state_folder(self) -> Path:
        """Return the absolute folder `.suno-worker`: beside the SQLite file, else in the working folder."""
        return folder_of(self.database_url) / STATE_FOLDER

    def broker_url_file(self) -> Path:
        """Return the file in which `suno-worker up` leaves the URL of its embedded broker."""
        return self.state_folder() / BROKER_URL_FILE

    def up_lock(self) -> Path:
        """Return the file whose lock `suno-worker up` holds while it runs."""
        return self.state_folder() / UP_LOCK

    def resolve_broker_url(self) -> str | None:
        """Return the configured broker's URL, else that of a running `up`, else None.

        An `up` that has ended leaves its file behind, and any other program may have its port by now. OSError
        passes when a file exists and cannot be read: it belongs to another user.
        """
        if self.broker_url is not None:
            return self.broker_url.get_secret_value()
        if not is_held(self.up_lock()):
            return None
        try:
            return self.broker_url_file().read_text(encoding="utf-8").strip() or None
        except (FileNotFoundError, NotADirectoryError):
            return None


class IntakeSettings(FromVariables):
    """The two settings that another service needs to enqueue in its own transaction."""

    first_poll_delay: FirstPollDelay = FIRST_POLL_DELAY
    webhook_allow: WebhookAllow = Allow()


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `environ` (default: the process's); SettingsError has every mistake."""
    found = find_variables(
        os.environ if environ is None else environ,
        settings=[PREFIX + name.upper() for name in Settings.model_fields if name != "gateways"],
        gateway_keys=[key.upper() for key in Gateway.model_fields if key != "name"],
    )
    return _settle(Settings, values=found.values, problems=found.problems)


def load_intake_settings(environ: Mapping[str, str] | None = None) -> IntakeSettings:
    """Return what an enqueue needs; every other variable is the host service's own business."""
    found = find_variables(
        os.environ if environ is None else environ,
        settings=[PREFIX + name.upper() for name in IntakeSettings.model_fields],
        gateway_keys=(),
    )
    return _settle(IntakeSettings, values=found.values, problems=())


def _settle(kind: type[Loaded], *, values: Mapping[str, str], problems: tuple[Problem, ...]) -> Loaded:
    built = build(kind, values=values)
    if isinstance(built, kind) and not problems:
        return built
    problems += built if isinstance(built, tuple) else ()
    raise SettingsError(tuple(sorted(problems, key=attrgetter("variable"))))
