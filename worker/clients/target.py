"""Where a request goes, worked out once for each URL, and the bytes that go there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from worker.core.hooks import DEFAULT_PORTS
from worker.core.hosts import host_of


@dataclass(frozen=True, slots=True)
class Peer:
    """What a connection is made to, and kept for."""

    host: str  # a name in IDNA or an address, without brackets
    port: int
    tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One URL, ready to be asked."""

    peer: Peer
    authority: str  # as the header Host wants it
    path: str  # with the query, escaped as the URL has it

    @classmethod
    def of(cls, url: str) -> Target:
        """Read `url`; httpx.InvalidURL or ValueError if nothing can be asked there.

        No escape is undone or added that is not needed: `/suno/fetch/%2E%2E` stays what it is, and so does a
        hook's signed query. httpx does that; yarl, aiohttp's own, would write both anew. The host is not
        httpx's: it is the one that was judged and whose breaker counts.
        """
        parts = urlsplit(url)
        usual = DEFAULT_PORTS.get(parts.scheme)
        if usual is None:
            raise ValueError("neither http nor https")
        port = parts.port or usual
        host = host_of(parts)
        if (parts.hostname or "").endswith("."):
            host += "."  # then the name is whole, and the resolver tries no search domain
        return cls(
            peer=Peer(host=host, port=port, tls=parts.scheme == "https"),
            authority=(f"[{host}]" if ":" in host else host) + ("" if port == usual else f":{port}"),
            path=httpx.URL(url).raw_path.decode("ascii"),
        )


def compose(method: str, target: Target, *, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Return the request as it goes over the wire; ValueError when a header holds a line break."""
    lines = [f"{method} {target.path} HTTP/1.1", f"host: {target.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a header holds a line break")
    return b"%b\r\n\r\n%b" % (head.encode("ascii"), body or b"")
