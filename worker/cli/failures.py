"""What may go wrong without being a mistake of ours, as one line that says why and what to do.

A failure is explained by its type, here and nowhere else; the verbs let it pass. No text quotes a password:
of a database URL only host, port and name are shown, and of a driver's error only its own message.
"""

from __future__ import annotations

import errno

from redis import AuthenticationError, RedisError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from worker.cli.connections import MIGRATE, database_place
from worker.cli.terminal import one_line, printable
from worker.request import Refused
from worker.settings import SettingsError, load_settings

# SQLSTATE of PostgreSQL: undefined table, undefined column.
UNMIGRATED = frozenset({"42P01", "42703"})

# What SQLite says, and what to do about it.
SQLITE_ADVICE = {
    "no such table": MIGRATE,
    "no such column": MIGRATE,
    "unable to open database file": "create its folder, and make it writable for this user",
    "readonly database": "make the file and its folder writable for this user",
    "database is locked": "another process has been writing for more than 20 s; try again",
    "not a database": "WORKER_DATABASE_URL names a file of another kind",
    "disk is full": "make room on the disk",
}

# What the operating system refuses, and what to do about it.
SYSTEM_ADVICE = {
    errno.EACCES: "let this user do that, or choose another place",
    errno.EPERM: "let this user do that, or choose another place",
    errno.ENOENT: "check the path",
    errno.ENOSPC: "make room on the disk",
    errno.EROFS: "choose a place that can be written",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.EADDRINUSE: "choose another port, or end the program that has this one",
    errno.EADDRNOTAVAIL: "choose an address of this machine",
    errno.ECONNREFUSED: "check that it runs, and its address",
}


def explain(error: Exception) -> str | None:
    """Return why `error` happened and what to do, without secrets; None when nobody expected it."""
    match error:
        case SettingsError():
            return "\n".join(printable(line) for line in str(error).splitlines())
        case Refused():
            return one_line(error, limit=1000)
        case DBAPIError():
            return explain_database(error)
        case SQLAlchemyError():
            return f"the database cannot be used: {one_line(error)}; check WORKER_DATABASE_URL"
        case RedisError():
            return explain_broker(error)
        case OSError():
            return explain_system(error)
        case _:
            return None


def explain_database(error: DBAPIError) -> str:
    """Return one line about a database that is away, refuses us, or lacks its tables."""
    place = database_place(load_settings())
    said = one_line(error.orig)
    if getattr(error.orig, "sqlstate", None) in UNMIGRATED:
        return f"the tables of {place} are not this version's: {MIGRATE}"
    for words, advice in SQLITE_ADVICE.items():
        if words in said:
            return f"{place}: {said}: {advice}"
    return f"{place}: {said}; check that it runs, and WORKER_DATABASE_URL"


def explain_system(error: OSError) -> str:
    """Return one line about what the operating system refused."""
    place = f": {printable(error.filename)}" if error.filename else ""
    advice = SYSTEM_ADVICE.get(error.errno or 0, "mend that, and try again")
    return f"{error.strerror or one_line(error)}{place}: {advice}"


def explain_broker(error: RedisError) -> str:
    """Return one line about a broker that is away or refuses us."""
    if isinstance(error, AuthenticationError):
        return f"the broker refuses the password in WORKER_BROKER_URL: {one_line(error)}"
    return f"the broker does not answer: {one_line(error)}; check that it runs, and WORKER_BROKER_URL"
