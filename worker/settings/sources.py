"""Every setting as an operator reads it: its variable, its value, its unit, and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from worker.core.addresses import Allow
from worker.settings import Settings
from worker.settings.environment import GATEWAYS, PREFIX
from worker.settings.gateway import Gateway
from worker.settings.urls import MASK, masked_url

EMPTY = "[]"  # given on purpose: a list without items
URLS = frozenset({"database_url", "broker_url", "result_backend"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One setting. `value` is written as its variable takes it, secrets masked; None where nothing is set."""

    variable: str
    value: str | None
    unit: str
    source: str  # `default`, `environment`, or the file it was read from


def sources(settings: Settings) -> list[Source]:
    """Return every setting in the order of `Settings`, then every value of each gateway."""
    rows = list(_rows(settings, prefix=PREFIX, fields=Settings.model_fields, without="gateways"))
    for name, gateway in sorted(settings.gateways.items()):
        prefix = f"{GATEWAYS}__{name.upper()}__"
        rows += _rows(gateway, prefix=prefix, fields=Gateway.model_fields, without="name")
    return [_found_broker(settings, row) for row in rows]


def _rows(
    model: BaseModel, *, prefix: str, fields: Mapping[str, FieldInfo], without: str
) -> Iterator[Source]:
    for name, field in fields.items():
        if name == without:
            continue
        extra = field.json_schema_extra
        given = name in model.model_fields_set
        value = _text(getattr(model, name), is_url=name in URLS)
        yield Source(
            variable=prefix + name.upper(),
            value=EMPTY if value is None and given else value,
            unit=str(extra["unit"]) if isinstance(extra, dict) else "",
            source="environment" if given else "default",
        )


def _found_broker(settings: Settings, row: Source) -> Source:
    """Fill in the embedded broker that `up` left in its file, when no other is configured."""
    if row.variable != f"{PREFIX}BROKER_URL" or row.value is not None:
        return row
    url = settings.resolve_broker_url()
    if url is None:
        return row
    return Source(
        variable=row.variable,
        value=masked_url(url),
        unit=row.unit,
        source=str(settings.broker_url_file()),
    )


def _text(value: object, *, is_url: bool) -> str | None:
    """Write a value as its variable takes it."""
    match value:
        case None:
            return None
        case SecretStr():
            return masked_url(value.get_secret_value()) if is_url else MASK
        case timedelta():
            seconds = value.total_seconds()
            return str(int(seconds) if seconds.is_integer() else seconds)
        case tuple():
            return ",".join(str(_text(one, is_url=is_url)) for one in value) or None
        case Allow():
            return ",".join([*map(str, value.networks), *sorted(value.hosts)]) or None
        case _:
            return masked_url(str(value)) if is_url else str(value)
