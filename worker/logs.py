"""Log lines of worker and Beat: one line per event, no secrets, nothing forged.

Every line names the Celery task in which it was written, if any; in JSON the facts of an event are fields
of their own. Known secrets are replaced by `***` in the finished text, whatever part of it they came in.
Characters that are not printable are escaped, so that text from outside can neither begin a line of its own
nor steer a terminal. A traceback follows its console line indented by `    | `; in JSON it is the field
`exception`.

Limits: a line from a thread that is not Celery's (the event loop for HTTP) names no task. Records hold
neither thread, process nor caller, so a handler that somebody adds has nothing to show of them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

import redis
from celery._state import get_current_task  # as Celery's own formatter; `current_task` asks it at each look
from celery.app.trace import LOG_SUCCESS
from celery.beat import SchedulingError
from celery.exceptions import CPendingDeprecationWarning, Reject
from kombu.exceptions import OperationalError

from worker.told import Told

MASK = "***"
SHORTEST_SECRET = 4  # characters; masking a shorter one would blot out ordinary words

# A broker that is away is one line: a traceback through Celery, kombu and redis-py (200 lines from Beat, each
# second) says nothing more.
# The same for a message that a task puts back on purpose.
TOLD_IN_ONE_LINE = (redis.ConnectionError, redis.TimeoutError, OperationalError, SchedulingError, Reject)

# Celery closes its parts when the broker goes, and may stumble over what is gone already: "Error on
# restarting Gossip: AttributeError(…)" and 180 lines more, harmless. What it came upon is the outage.
STUMBLING = frozenset({"celery.bootsteps"})

# Beat and the worker announce each message of each second, and each one that is too old. At DEBUG they may.
CHATTY = ("celery.beat", "celery.worker.request", "celery.worker.strategy")

# What a record holds and no line of ours shows: thread, process, caller ("Optimization" in Python's Logging
# HOWTO, `_srcfile` too). From Python 3.12 on, the asyncio task as well.
LEFT_OUT = tuple(
    name
    for name in ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks", "_srcfile")
    if hasattr(logging, name)
)

# How Celery describes an exception that a task may raise: only `EnqueueRefused`, which has a line of ours.
REFUSED = "raised expected"

# At DEBUG it writes the arguments of each Celery task, and a `notify_hook` may have a token in its query.
TELLTALE = "celery.pool"


def configure(
    *, level: str, as_json: bool, secrets: Sequence[str] = (), stream: TextIO | None = None
) -> logging.Handler:
    """Send all log lines of this process from `level` upwards to `stream` (default: stderr)."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(LineFormatter(as_json=as_json, secrets=secrets))
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    _leave_out_what_no_line_shows()
    chatty_level = logging.NOTSET if root.level <= logging.DEBUG else logging.WARNING
    for name in CHATTY:
        logging.getLogger(name).setLevel(chatty_level)
    logging.getLogger(TELLTALE).setLevel(max(root.level, logging.INFO))
    return handler


def _leave_out_what_no_line_shows() -> None:
    """Spare each record its thread, process and caller: a sixth of what a line costs."""
    for name in LEFT_OUT:
        setattr(logging, name, None)


class LineFormatter(logging.Formatter):
    """Writes a record as one console line or one JSON object."""

    def __init__(self, *, as_json: bool, secrets: Sequence[str]) -> None:
        super().__init__()
        self._as_json = as_json
        # Longest first: a secret may contain another.
        self._secrets = sorted(
            {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the finished text."""
        at = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        message, exception = map(self._masked, self._message_and_traceback(record))
        task, task_id = _running_task()
        if self._as_json:
            facts = {
                "at": at,
                "level": record.levelname,
                "logger": record.name,
                "celery_task": task,
                "celery_id": task_id,
                "message": message,
                "exception": exception,
            }
            return json.dumps({name: fact for name, fact in facts.items() if fact} | self._fields(record))
        where = f" {task}[{printable(task_id)}]" if task else ""
        indented = "".join(f"\n    | {printable(line)}" for line in exception.splitlines())
        return f"{at} {record.levelname} {record.name}{where} {printable(message)}{indented}"

    def _message_and_traceback(self, record: logging.LogRecord) -> tuple[str, str]:
        message = record.getMessage().strip()
        if not record.exc_info:
            return message, ""
        error = _outage(record.exc_info[1], deep=record.name in STUMBLING)
        if error is None:
            return message, self.formatException(record.exc_info)
        first_line = message.partition("\n")[0]
        reason = str(error.args[0] if error.args else error)
        return first_line if reason in first_line else f"{first_line}: {reason}", ""

    def _fields(self, record: logging.LogRecord) -> dict[str, str | int | float | bool]:
        """Return the facts of a line of ours."""
        if not isinstance(record.msg, Told):
            return {}
        fields = record.msg.fields()
        return {name: self._masked(fact) if isinstance(fact, str) else fact for name, fact in fields.items()}

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def _outage(error: BaseException | None, *, deep: bool) -> BaseException | None:
    """Return what is told in one line: the error itself or, with `deep`, one that it came upon."""
    while deep and error is not None and not isinstance(error, TOLD_IN_ONE_LINE):
        error = error.__context__
    return error if isinstance(error, TOLD_IN_ONE_LINE) else None


def printable(text: str) -> str:
    """Return `text` with each character that is not printable as its Python escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _running_task() -> tuple[str, str]:
    task = get_current_task()
    if task is None:
        return "", ""
    return str(task.name), str(task.request.id)


def _is_news(record: logging.LogRecord) -> bool:
    """Drop what Celery says of itself.

    A line for each task that succeeded or refused: the use-cases log what happened in it. And at each lost
    connection a deprecation of the default that we do not use; Celery switches that warning on after our
    set-up.
    """
    if record.name == "py.warnings":
        return CPendingDeprecationWarning.__name__ not in record.getMessage()
    is_refusal = isinstance(record.args, dict) and record.args.get("description") == REFUSED
    return record.msg is not LOG_SUCCESS and not is_refusal
