"""Answers that are spoilt as a whole: late, endless, cut, redirected, or somebody else's.

`instead` answers in place of the right answer, `send` delivers the right answer badly. What is wrong with
single items is the business of `appearances`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import msgspec
from aiohttp import web

from worker.sandbox.faults import Fault, FaultKind

_FOR_EVER = 86_400.0
_MIB = 1024 * 1024

_HTML = "<!doctype html><html><head><title>One API</title></head><body><div id='root'></div></body></html>"

_FAILURE = '{"code":"failure","message":"sandbox fault: envelope","data":null}'
_NULL = '{"code":"success","message":"","data":null}'


async def instead(fault: Fault | None, *, request: web.Request) -> web.StreamResponse | None:
    """Return the answer that the fault gives, or None when the right answer is to be given after all."""
    match fault:
        case None:
            return None
        case Fault(kind=FaultKind.HANG | FaultKind.SLOW):
            await asyncio.sleep(_FOR_EVER if fault.kind is FaultKind.HANG else fault.seconds)
            return None
        case Fault(kind=FaultKind.DROP):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(body=b"")
        case Fault(kind=FaultKind.FLOOD):
            return await _flood(request, mib=fault.mib)
        case _:
            return _plain(fault)


async def send(answer: web.Response, *, fault: Fault | None, request: web.Request) -> web.StreamResponse:
    """Return the right answer as the fault lets it through."""
    match fault:
        case Fault(kind=FaultKind.TRUNCATED):
            content = _content(answer)
            return web.Response(
                body=content[: len(content) // 2], status=answer.status, content_type=answer.content_type
            )
        case Fault(kind=FaultKind.DRIP):
            return await _drip(answer, every=fault.seconds, request=request)
        case _:
            return answer


def _plain(fault: Fault) -> web.Response | None:
    match fault.kind:
        case FaultKind.STATUS:
            status_code = fault.status_code or HTTPStatus.BAD_GATEWAY
            return web.Response(
                status=status_code,
                text=_error_body(fault, status_code=status_code),
                content_type=fault.content_type,
                headers=_retry_after(fault),
            )
        case FaultKind.REDIRECT:
            status_code = fault.status_code or HTTPStatus.MOVED_PERMANENTLY
            return web.Response(status=status_code, headers={"Location": fault.location})
        case FaultKind.HTML:
            return web.Response(text=fault.body or _HTML, content_type="text/html")
        case FaultKind.EMPTY:
            return web.Response(body=b"")
        case FaultKind.ENVELOPE:
            return web.Response(text=fault.body or _FAILURE, content_type="application/json")
        case FaultKind.NULL:
            return web.Response(text=_NULL, content_type="application/json")
        case _:  # the right answer, spoilt in its delivery or in its items
            return None


async def _flood(request: web.Request, *, mib: int) -> web.StreamResponse:
    """Stream valid JSON, so that only a limit on its size can refuse it."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"code":"success","data":null,"message":"')
    for _ in range(mib):
        await response.write(b"x" * _MIB)
    await response.write(b'"}')
    await response.write_eof()
    return response


async def _drip(answer: web.Response, *, every: float, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    await response.prepare(request)
    for byte in _content(answer):
        await response.write(bytes((byte,)))
        await asyncio.sleep(every)
    await response.write_eof()
    return response


def _content(answer: web.Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


def _retry_after(fault: Fault) -> dict[str, str]:
    if fault.retry_after_date is not None:
        until = datetime.now(UTC) + timedelta(seconds=fault.retry_after_date)
        return {"Retry-After": format_datetime(until, usegmt=True)}
    return {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}


def _error_body(fault: Fault, *, status_code: int) -> str:
    if fault.body is not None:
        return fault.body
    error = {"message": f"sandbox fault: {status_code}", "type": "new_api_error", "code": "sandbox_fault"}
    return msgspec.json.encode({"error": error}).decode()
