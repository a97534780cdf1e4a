"""What can be set for one gateway."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SecretStr

from worker.core.wire import Fetch
from worker.settings.urls import read_base_url
from worker.settings.values import (
    Count,
    OneOf,
    Seconds,
    read_api_key,
    read_header_name,
    read_prefix,
    read_secrets,
)

LARGEST_BATCH = 100  # ids in one POST: what the strictest gateway of the family answers
SINGLE_BATCH = 10  # ids in one claim where each id is a GET of its own

Secrets = Annotated[tuple[SecretStr, ...], PlainValidator(read_secrets)]


def setting(default: Any, *, meaning: str, example: str, unit: str = "") -> Any:  # noqa: ANN401 - as pydantic's Field
    """Return a field whose example ends each error, and whose unit stands in `suno-worker settings`."""
    return Field(default, description=meaning, examples=[example], json_schema_extra={"unit": unit})


class Gateway(BaseModel):
    """One gateway: `WORKER_GATEWAYS__<NAME>__…`, the name in lower case."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str
    base_url: Annotated[str, PlainValidator(read_base_url)] = Field(
        description="where `/suno/fetch` is found",
        examples=["https://api.example.com"],
    )
    api_key: Annotated[SecretStr, PlainValidator(read_api_key)] = Field(
        description="the key that the gateway gave you",
        examples=["sk-0123456789"],
    )
    fetch: Annotated[Fetch, PlainValidator(OneOf(words=Fetch))] = setting(
        Fetch.BATCH,
        meaning="`batch` is `POST /suno/fetch`, `single` is `GET /suno/fetch/{task_id}`",
        example="single",
    )
    auth_header: Annotated[str, PlainValidator(read_header_name)] = setting(
        "Authorization", meaning="the header that carries the key", example="X-API-Key"
    )
    auth_prefix: Annotated[str, PlainValidator(read_prefix)] = setting(
        "Bearer ", meaning="what stands before the key; may be empty", example="'Bearer '"
    )
    batch_size: Annotated[int, PlainValidator(Count(most=LARGEST_BATCH))] = Field(
        default_factory=lambda data: SINGLE_BATCH if data.get("fetch") is Fetch.SINGLE else LARGEST_BATCH,
        description="most Suno tasks in one request (`single`: in one claim)",
        examples=["50"],
        json_schema_extra={"unit": "tasks"},
    )
    concurrency: Annotated[int, PlainValidator(Count(most=1_000))] = setting(
        4, meaning="requests at once, over all workers", example="4", unit="requests"
    )
    timeout: Annotated[timedelta, PlainValidator(Seconds(most=300, zero=False))] = setting(
        timedelta(seconds=30), meaning="wall clock for one request", example="30", unit="s"
    )
    cooldown: Annotated[timedelta, PlainValidator(Seconds(most=300, zero=False))] = setting(
        timedelta(seconds=5),
        meaning="first pause after trouble; doubles up to 300 s",
        example="5",
        unit="s",
    )
    webhook_secret: Secrets = setting(
        (),
        meaning="signs the results of this gateway instead of `WORKER_WEBHOOK_SECRET`",
        example="$(suno-worker secret)",
    )


def name_gateways(gateways: Mapping[str, object]) -> dict[str, object]:
    """Give each gateway that is still to be read the name that it has in its variables."""
    return {
        name: {"name": name, **gateway} if isinstance(gateway, Mapping) else gateway
        for name, gateway in gateways.items()
    }
