"""Where a request goes, worked out once for each URL, and the bytes that go there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65_535


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
        hook's signed query. httpx does that; yarl, aiohttp's own, would write both anew.
        """
        parts = httpx.URL(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.host:
            raise ValueError("neither http nor https")
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        if port > _LAST_PORT:
            raise ValueError("no such port")
        return cls(
            peer=Peer(host=parts.raw_host.decode("ascii"), port=port, tls=parts.scheme == "https"),
            authority=parts.netloc.decode("ascii"),
            path=parts.raw_path.decode("ascii"),
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
