"""Ask a gateway for Suno tasks: one POST for many ids, or one GET for each.

Each request has one wall-clock deadline for look-up, connect, headers and body together. Redirects are not
followed (they would carry the key along), at most 32 MiB are read, and every trouble comes back as a value
whose message holds no key, no URL and no address: the caller knows the gateway's name.

The gateway is the operator's own choice, so the address guard does not apply to it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final
from urllib.parse import quote

import httpx
import msgspec

from worker.clients.connections import Connections
from worker.clients.failures import explain
from worker.clients.gateway_answer import BODY_LIMIT, Answer, read_answer, without_key
from worker.clients.lookup import Lookup
from worker.clients.passage import Passage
from worker.clients.response import Response
from worker.clients.target import Peer, Target, compose
from worker.core.lifecycle import Action
from worker.core.verdicts import PostError
from worker.core.wire import Bad, Fetch, Reply, Trouble, read_batch, read_single
from worker.version import __version__

# Gateways stand behind proxies that keep idle connections for a minute or more, and are asked every 10 s.
KEEP_ALIVE: Final = timedelta(seconds=30)

_TIMEOUTS: Final = frozenset({PostError.CONNECT_TIMEOUT, PostError.READ_TIMEOUT, PostError.DEADLINE})
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t -~]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTarget:
    """What is needed to ask one gateway. `base_url` has no trailing `/`, `/suno` or `/suno/fetch`."""

    name: str
    base_url: str
    api_key: str = field(repr=False)
    fetch: Fetch
    auth_header: str
    auth_prefix: str
    timeout: timedelta


HEARD_LIMIT: Final = 2 * BODY_LIMIT  # bytes on the wire: head, framing of chunks, body


class GatewayClient:
    """The process's way to its gateways. To be built on the event loop that it will serve."""

    def __init__(
        self, *, nameservers: Sequence[str] | None = None, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._lookup = Lookup(nameservers=nameservers)
        self._connections = Connections(resolver=self._lookup, keep_alive=KEEP_ALIVE, ssl_context=ssl_context)

    async def fetch(
        self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]
    ) -> AsyncIterator[tuple[tuple[str, ...], Reply]]:
        """Yield each reply with the ids that it is about, as it comes; raises nothing but CancelledError.

        `batch` yields once, for all ids. `single` asks one id after the other and ends with the first Bad:
        a gateway in trouble is not asked again for each of the rest, about which then nothing is yielded.
        """
        match target.fetch:
            case Fetch.BATCH:
                yield tuple(task_ids), await self._fetch_batch(target, action=action, task_ids=task_ids)
            case Fetch.SINGLE:
                for task_id in task_ids:
                    reply = await self._fetch_single(target, action=action, task_id=task_id)
                    yield (task_id,), reply
                    if isinstance(reply, Bad):
                        return

    async def close(self) -> None:
        """Close all connections; what is in flight ends as network trouble."""
        await self._connections.close()
        await self._lookup.close()

    async def _fetch_batch(self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]) -> Reply:
        answer = await self._ask(
            target,
            method="POST",
            url=f"{target.base_url}/suno/fetch",
            body=msgspec.json.encode({"ids": list(task_ids), "action": action.value}),
        )
        if isinstance(answer, Bad):
            return answer
        read = partial(
            read_batch,
            status_code=answer.status_code,
            content_type=answer.content_type,
            retry_after=answer.retry_after,
            asked=task_ids,
        )
        return without_key(read, body=answer.body, key=target.api_key)

    async def _fetch_single(self, target: GatewayTarget, *, action: Action, task_id: str) -> Reply:
        url = f"{target.base_url}/suno/fetch/{_path_segment(task_id)}"
        answer = await self._ask(target, method="GET", url=url, body=None)
        if isinstance(answer, Bad):
            return answer
        read = partial(
            read_single,
            status_code=answer.status_code,
            content_type=answer.content_type,
            retry_after=answer.retry_after,
            asked=task_id,
            action=action,
        )
        return without_key(read, body=answer.body, key=target.api_key)

    async def _ask(self, target: GatewayTarget, *, method: str, url: str, body: bytes | None) -> Answer | Bad:
        authorization = target.auth_prefix + target.api_key
        if not (_HEADER_NAME.fullmatch(target.auth_header) and _HEADER_VALUE.fullmatch(authorization)):
            return Bad(
                trouble=Trouble.UNAUTHORIZED,
                message="not asked: the API key or its header holds characters that HTTP forbids there "
                "(a line break at the end of the key?)",
            )
        headers = _headers(body=body) | {target.auth_header: authorization}
        try:
            there = Target.of(url)
            request = compose(method, there, headers=headers, body=body)
        except (httpx.InvalidURL, ValueError):
            return Bad(trouble=Trouble.NETWORK, message="not asked: the base URL cannot be used")
        return await self._reply(there.peer, request, deadline=target.timeout)

    async def _reply(self, peer: Peer, request: bytes, *, deadline: timedelta) -> Answer | Bad:
        response = Response(body_limit=BODY_LIMIT, most_bytes=HEARD_LIMIT)
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                await self._connections.ask(
                    peer, request, answer=response, passage=Passage(), connect=deadline, read=deadline
                )
        except Exception as error:  # noqa: BLE001  # whatever the network does is a value
            failed = explain(error)
            trouble = Trouble.TIMEOUT if failed.error in _TIMEOUTS else Trouble.NETWORK
            return Bad(trouble=trouble, message=failed.detail)
        return read_answer(response)


def _headers(*, body: bytes | None) -> dict[str, str]:
    headers = {
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"suno-worker/{__version__}",
    }
    return headers if body is None else {**headers, "content-type": "application/json"}


def _path_segment(task_id: str) -> str:
    """Quote an id so that it stays one segment: a bare `.` or `..` would be taken for a step in the path."""
    quoted = quote(task_id, safe="")
    return quoted.replace(".", "%2E") if quoted in {".", ".."} else quoted
