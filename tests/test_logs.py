from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from celery import Celery
from celery.app.trace import LOG_SUCCESS
from celery.beat import SchedulingError
from celery.exceptions import CPendingDeprecationWarning, Reject
from kombu.exceptions import OperationalError
from pytest_httpserver import HTTPServer

from tests.configuration import configured_app
from tests.factory import add_delivery, add_gateway
from tests.programs import NO_GATEWAY, running
from worker import logs
from worker.db.session import make_engine, make_sessions

SECRET = "sk-0123456789"
logger = logging.getLogger("worker.of.this.test")


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the logging of the test run back."""
    for name in logs.LEFT_OUT:
        monkeypatch.setattr(logging, name, getattr(logging, name))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in (*logs.CHATTY, logs.TELLTALE)}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    logging.captureWarnings(capture=False)


def configured(*, level: str = "INFO", as_json: bool = False) -> io.StringIO:
    """Return what will be written from here on."""
    written = io.StringIO()
    logs.configure(level=level, as_json=as_json, secrets=[SECRET, f"{SECRET}-longer", "abc"], stream=written)
    return written


def test_a_line_names_time_level_and_place() -> None:
    """A console line begins with the moment in UTC, the level and the module."""
    written = configured()

    logger.warning("%d attempts", 3)

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 WARNING worker\.of\.this\.test 3 attempts\n",
        written.getvalue(),
    )


def test_a_record_holds_nothing_that_no_line_shows() -> None:
    """Neither thread, process nor caller is looked up: that is a sixth of a line's cost."""
    written = configured()
    (handler,) = logging.getLogger().handlers
    handler.setFormatter(logging.Formatter("%(thread)s %(process)s %(processName)s %(filename)s"))

    logger.warning("here")

    assert written.getvalue() == "None None None (unknown file)\n"


def test_json_is_one_object_a_line() -> None:
    """With `json` each event is one line of JSON; empty fields are left out."""
    written = configured(as_json=True)

    logger.warning("first\nsecond")
    logger.error("it failed", exc_info=ValueError("why"))

    first, second = map(json.loads, written.getvalue().splitlines())
    assert set(first) == {"at", "level", "logger", "message"}
    assert (first["level"], first["message"]) == ("WARNING", "first\nsecond")
    assert second["exception"].endswith("ValueError: why")


@pytest.mark.parametrize("as_json", [False, True], ids=["console", "json"])
def test_a_line_names_its_celery_task(*, as_json: bool) -> None:
    """What is logged inside a Celery task names it and its message."""
    app = configured_app()
    written = configured(as_json=as_json)

    @app.task(name="test.logs", shared=False)
    def task() -> None:
        logger.info("inside")

    try:
        task.apply(task_id="a-message").get()
    finally:
        app.tasks.unregister("test.logs")
    line = written.getvalue()
    if as_json:
        assert (json.loads(line)["celery_task"], json.loads(line)["celery_id"]) == ("test.logs", "a-message")
    else:
        assert " test.logs[a-message] inside\n" in line


@pytest.mark.parametrize("as_json", [False, True], ids=["console", "json"])
def test_no_secret_is_written(*, as_json: bool) -> None:
    """A known secret is masked in message, arguments and traceback; what only looks like one stays."""
    written = configured(as_json=as_json)

    error = ValueError(f"Bearer {SECRET}")
    logger.error("key %s, %s, and abc", SECRET, f"{SECRET}-longer", exc_info=error)

    text = written.getvalue()
    assert SECRET not in text
    assert "key ***, ***, and abc" in text
    assert "ValueError: Bearer ***" in text


def test_nothing_is_forged() -> None:
    """Text from outside begins no line of its own and steers no terminal, in a traceback neither."""
    written = configured()

    error = ValueError("one\n2026-11-21 INFO all is well\x1b[2J")
    logger.error("a\nb\r\x1b[31m\u202e", exc_info=error)

    first, *rest = written.getvalue().splitlines()
    assert first.endswith(r" a\nb\r\x1b[31m\u202e")
    assert all(line.startswith("    | ") for line in rest)
    assert rest[-1] == r"    | 2026-11-21 INFO all is well\x1b[2J"


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Error 111"),
        redis.TimeoutError("Error 111"),
        OperationalError("Error 111"),
        SchedulingError("Error 111"),
        Reject("Error 111", requeue=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_absent_broker_is_one_line(error: Exception) -> None:
    """An outage is told in one line that ends with its reason, without the traceback that Celery adds."""
    written = configured()

    for message in ("it failed: Error 111\nand the whole stack", "it failed\nand the whole stack"):
        logger.error(message, exc_info=error)

    assert [line.partition("test ")[2] for line in written.getvalue().splitlines()] == [
        "it failed: Error 111"
    ] * 2


def test_a_stumble_over_an_outage_is_one_line() -> None:
    """What fails in Celery's tidying after the broker went is told as the outage; elsewhere it is a bug."""
    written = configured()
    stumble = AttributeError("no attribute 'connection_errors'")
    stumble.__context__ = redis.ConnectionError("Connection closed by server.")

    logging.getLogger("celery.bootsteps").error("Error on restarting Gossip", exc_info=stumble)
    logging.getLogger("worker.tasks").error("it failed", exc_info=stumble)

    first, *others = written.getvalue().splitlines()
    assert first.endswith("ERROR celery.bootsteps Error on restarting Gossip: Connection closed by server.")
    assert others[0].endswith("it failed")
    assert others[-1].endswith("AttributeError: no attribute 'connection_errors'")


def test_celery_does_not_echo_every_tick() -> None:
    """Two ticks a second would write four lines that say nothing: they are left out, refusals are not."""
    written = configured()

    logging.getLogger("celery.app.trace").info(LOG_SUCCESS, {"name": "suno.poll"})
    logging.getLogger("celery.worker.strategy").info("received")
    logging.getLogger("celery.beat").info("sending")
    logging.getLogger("celery.app.trace").info("raised expected")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("of the default", CPendingDeprecationWarning, stacklevel=1)

    (line,) = written.getvalue().splitlines()
    assert line.endswith(" celery.app.trace raised expected")


def test_debug_shows_the_ticks() -> None:
    """Who asks for DEBUG sees what Beat sends and the worker receives."""
    written = configured(level="DEBUG")

    logging.getLogger("celery.beat").info("sending")

    assert written.getvalue().endswith(" sending\n")


def test_debug_writes_no_whole_hook(
    httpserver: HTTPServer, sqlite_url: str, broker_url: str, tmp_path: Path
) -> None:
    """At DEBUG too, no line of a worker shows the query of a `notify_hook`, which may hold a token."""
    httpserver.expect_request("/hook").respond_with_data("", status=204)
    hook = httpserver.url_for("/hook?token=of-the-receiver")
    engine = make_engine(sqlite_url)
    with make_sessions(engine).begin() as session:
        add_gateway(session)
        add_delivery(session, notify_hook=hook, origin=httpserver.url_for("").rstrip("/"))
    engine.dispose()
    settings = {
        **NO_GATEWAY,
        "WORKER_DATABASE_URL": sqlite_url,
        "WORKER_BROKER_URL": broker_url,
        "WORKER_WEBHOOK_ALLOW": "localhost",
        "WORKER_LOG_LEVEL": "DEBUG",
    }

    with (
        running("worker", settings=settings, folder=tmp_path) as worker,
        closing(Celery(broker=broker_url)) as sender,
    ):
        worker.wait_for(" ready.")
        sender.send_task("suno.deliver", queue="deliver")
        sender.send_task(
            "suno.enqueue", kwargs={"task_id": "a", "action": "MUSIC", "notify_hook": hook}, queue="enqueue"
        )
        worker.wait_for("verdict=delivered")
        said = worker.wait_for("task_id='a' is under watch")

    assert " DEBUG " in said
    assert "of-the-receiver" not in worker.output.text


def test_python_warnings_are_lines() -> None:
    """A Python warning is a line like any other."""
    written = configured()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("beware", UserWarning, stacklevel=1)

    assert " WARNING py.warnings " in written.getvalue()
    assert "beware" in written.getvalue()
