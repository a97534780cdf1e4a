"""The URLs among the settings: of the database, of the broker, of gateways.

The readers follow the rules of `worker.settings.values`. A URL may hold a password, so no error quotes more
of it than its scheme.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from pydantic import SecretStr
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from worker.core.hosts import host_of
from worker.core.wire import normalise_base_url

MASK = "***"
PSYCOPG = "postgresql+psycopg"
POSTGRESQL = frozenset({"postgres", "postgresql", PSYCOPG})
SQLITE = frozenset({"sqlite", "sqlite+pysqlite"})
REDIS = frozenset({"redis", "rediss"})
SECRET_PARAMETER = re.compile(r"pass|secret|token|key", re.IGNORECASE)
LONGEST_BASE_URL = 2048


def read_base_url(value: object) -> str:
    """Return a gateway's base URL without the endings that users paste along, as `/suno/fetch`."""
    url = str(value)
    if len(url) > LONGEST_BASE_URL or not url.isprintable() or " " in url:
        raise ValueError("is longer than 2048 characters or has white space; give the gateway's base URL")
    parts = _split(url, advice="give the gateway's base URL")
    if parts.scheme not in {"http", "https"}:
        raise ValueError("begins with neither http:// nor https://; give the gateway's base URL")
    if not parts.hostname:
        raise ValueError("has no host; give the gateway's base URL")
    if "@" in parts.netloc:
        raise ValueError("has a user or password before the host; give them up and set API_KEY")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("has something after ? or #; give the gateway's base URL alone")
    try:
        host_of(parts)
    except ValueError:
        raise ValueError("has a host that is no name and no address; give the gateway's base URL") from None
    return normalise_base_url(url)


def read_database_url(value: object) -> str:
    """Return the URL for SQLAlchemy: SQLite in a file, or PostgreSQL with psycopg."""
    try:
        url = make_url(str(value))
    except (ArgumentError, ValueError):
        raise ValueError(
            "is no database URL; give sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE "
            "(special characters in the password percent-encoded)"
        ) from None
    if url.drivername in SQLITE:
        return _sqlite(url)
    if url.drivername in POSTGRESQL:
        return url.set(drivername=PSYCOPG).render_as_string(hide_password=False)
    if url.get_backend_name() in POSTGRESQL:
        raise ValueError(f"names the driver {url.get_driver_name()}; give {PSYCOPG}://…")
    raise ValueError(f"begins with {url.drivername}://; give sqlite:///FILE or {PSYCOPG}://…")


def _sqlite(url: URL) -> str:
    if url.host:
        raise ValueError(
            "has two slashes before its file; give three for a relative path, four for one from /"
        )
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ValueError("names no file, and workers cannot share memory; give sqlite:///FILE")
    return url.set(drivername="sqlite").render_as_string(hide_password=False)


def read_redis_url(value: object) -> SecretStr:
    """Return the URL of a Redis or Valkey server."""
    url = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    advice = "give redis://:PASSWORD@HOST:6379/0 (special characters in the password percent-encoded)"
    parts = _split(url, advice=advice)
    if parts.scheme not in REDIS:
        raise ValueError(f"begins with neither redis:// nor rediss://; {advice}")
    if not parts.hostname:
        raise ValueError(f"has no host; {advice}")
    if not re.fullmatch(r"(/\d{0,4})?", parts.path):
        raise ValueError(f"has a path that is no database number; {advice}")
    return SecretStr(url)


def read_result_backend(value: object) -> SecretStr:
    """Return the URL of the server for results; Celery refuses one with TLS that leaves its checks unsaid."""
    url = read_redis_url(value)
    parts = urlsplit(url.get_secret_value())
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in dict(parse_qsl(parts.query)):
        raise ValueError("does not say how to check the certificate; end it with ?ssl_cert_reqs=required")
    return url


def _split(url: str, *, advice: str) -> SplitResult:
    """Split `url` and look at its port, which urllib judges only when asked."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"is no URL; {advice}") from None
    if port == 0:
        raise ValueError(f"has port 0; {advice}")
    return parts


def masked_url(url: str) -> str:
    """Return a URL that was read without complaint, its password and secret parameters masked."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if parts.password is not None:
        netloc = f"{parts.username or ''}:{MASK}@{netloc.rpartition('@')[2]}"
    query = urlencode(
        [
            (name, MASK if SECRET_PARAMETER.search(name) else value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        ],
        safe="*/:",
    )
    return f"{parts.scheme}://{netloc}{parts.path}{f'?{query}' if query else ''}"


def folder_of(database_url: str) -> Path:
    """Return the absolute folder of a SQLite database's file; the working folder for PostgreSQL."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(url.database).absolute().parent
    return Path.cwd()
