"""Scripts of peers that do anything but answer well."""

from __future__ import annotations

import asyncio

from tests.clients.peers import Connection, Script


async def reset_mid_head(connection: Connection) -> None:
    """Reset the connection in the middle of a header."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    connection.reset()


async def reset_at_once(connection: Connection) -> None:
    """Reset the connection before reading anything."""
    connection.reset()


async def close_without_answer(connection: Connection) -> None:
    """Close properly after the request."""
    await connection.request()


async def drip_head(connection: Connection) -> None:
    """Send a header every 10 ms, for ever."""
    await connection.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await connection.send(b"X-A: b\r\n")
        await asyncio.sleep(0.01)


async def say_nothing(connection: Connection) -> None:
    """Read the request and never answer."""
    await connection.request()
    await asyncio.Event().wait()


async def continue_slowly(connection: Connection) -> None:
    """Send an interim answer every 10 ms, for ever."""
    while True:
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.01)


async def continue_fast(connection: Connection) -> None:
    """Send interim answers as fast as the client takes them."""
    while True:
        await connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100)


async def endless_header(connection: Connection) -> None:
    """Send one header that never ends."""
    await connection.send(b"HTTP/1.1 200 OK\r\nX-A: ")
    while True:
        await connection.send(b"a" * 4096)


async def endless_headers(connection: Connection) -> None:
    """Send headers that never end, fast."""
    await connection.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await connection.send(b"X-A: b\r\n" * 512)


async def reset_mid_body(connection: Connection) -> None:
    """Reset the connection in the middle of the body."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart")
    connection.reset()


async def drip_body(connection: Connection) -> None:
    """Send a byte of the body every 10 ms, for ever."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nstart")
    while True:
        await connection.send(b".")
        await asyncio.sleep(0.01)


async def endless_body(connection: Connection) -> None:
    """Send a body that never ends, fast."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\n\r\nstart")
    while True:
        await connection.send(b"." * 65536)


async def broken_chunks(connection: Connection) -> None:
    """Break the encoding of a body that has begun."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n")
    await asyncio.sleep(0.05)  # one packet with both would end in the HTTP parser, see endpoint.py
    await connection.send(b"zzz\r\n")


def saying(data: bytes) -> Script:
    """Make a peer that sends `data` after the request and closes."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)

    return script
