"""Scripts of peers that do anything but answer well."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable
from functools import cache

from tests.clients.peers import OK, Connection, Script, server_tls


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


async def continue_tersely(connection: Connection) -> None:
    """Send the shortest interim answers that there are, as fast as the client takes them."""
    while True:
        await connection.send(b"HTTP/1.1 100 \r\n\r\n" * 4096)


async def continue_then_say_nothing(connection: Connection) -> None:
    """Send one interim answer and then nothing."""
    await connection.request()
    await connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    await asyncio.Event().wait()


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


async def huge_body(connection: Connection) -> None:
    """Send 300 MB, as announced."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\n\r\nstart")
    for _ in range(300):
        await connection.send(b"." * 1_000_000)


async def gzip_bomb(connection: Connection) -> None:
    """Send 300 KB that would unpack to 300 MB."""
    await connection.request()
    bomb = packed_zeros()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    await connection.send(head.encode() + bomb)


async def endless_chunks(connection: Connection) -> None:
    """Send chunks that never end, of one byte each: most framing for least body."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n")
    while True:
        await connection.send(b"1\r\n.\r\n" * 10_000)


async def endless_chunk_extension(connection: Connection) -> None:
    """Send one chunk whose first line never ends."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n1;")
    while True:
        await connection.send(b"a" * 65536)


async def endless_trailers(connection: Connection) -> None:
    """Send what follows the last chunk for ever."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n0\r\n")
    while True:
        await connection.send(b"X-A: b\r\n" * 1024)


async def bytes_of_no_text(connection: Connection) -> None:
    """Send invalid UTF-8 and NUL for ever."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\n\r\nstart")
    while True:
        await connection.send(b"\xff\xfe\x00\xc3" * 16384)


@cache
def packed_zeros() -> bytes:
    """Return 300 MB of zeros, packed."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(bytes(1_000_000)) for _ in range(300)) + packer.flush()


async def broken_chunks(connection: Connection) -> None:
    """Break the encoding of a body that has begun."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n")
    await asyncio.sleep(0.05)
    await connection.send(b"zzz\r\n")


async def broken_chunks_at_once(connection: Connection) -> None:
    """Break the encoding of the body in the packet that brings the head."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\nzzz\r\n")


async def hold_tls_open(connection: Connection) -> bool:
    """Answer one request over TLS and ignore whatever comes; at the end return if the TLS session was ended.

    `start_server` would answer the end of a session by itself: this one's TLS is its own.
    """
    came, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = server_tls().wrap_bio(came, sent, server_side=True)
    await _pumped(connection, came, sent, session.do_handshake)
    await _pumped(connection, came, sent, session.read)
    session.write(OK)
    await connection.send(sent.read())
    came.write(await connection.reader.read())  # to the end of the TCP connection
    try:
        return session.read() == b""
    except ssl.SSLWantReadError:
        return False


async def _pumped(
    connection: Connection, came: ssl.MemoryBIO, sent: ssl.MemoryBIO, step: Callable[[], object]
) -> None:
    """Carry bytes to and fro until a step of the session is done."""
    while True:
        try:
            step()
        except ssl.SSLWantReadError:
            await connection.send(sent.read())
            came.write(await connection.reader.read(65536))
        else:
            await connection.send(sent.read())
            return


def saying(data: bytes) -> Script:
    """Make a peer that sends `data` after the request and closes."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)

    return script
