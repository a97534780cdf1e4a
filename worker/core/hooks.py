"""What a notify_hook may look like, judged at every door and again before each POST.

Only what all parsers read alike passes, so that the URL that was judged is the URL that is called: no
userinfo, no backslash, no odd spelling of an address. Names are judged when they are resolved, by
`clients`; this module only looks at the text.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import SplitResult, urlsplit

from worker.core.addresses import Allow, is_public, read_literal
from worker.core.hosts import host_of

LONGEST_URL = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
_WELL_KNOWN_PORTS = frozenset(DEFAULT_PORTS.values())
_FIRST_FREE_PORT = 1024  # below it live mail, SSH and the like, which a POST must not talk to
# urlsplit also takes text beside the brackets, where other parsers find another host.
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]*)?")
_ALLOW_HINT = "WORKER_WEBHOOK_ALLOW opens exceptions"


class BadHook(ValueError):
    """The URL cannot be used; the text names the problem and what to do."""


def check_notify_hook(url: str, *, allow: Allow) -> str:
    """Return `url` unchanged, or raise BadHook."""
    if len(url) > LONGEST_URL:
        raise BadHook(f"has {len(url)} characters; at most {LONGEST_URL} are kept")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise BadHook("holds a space or a control character; percent-encode it")
    parts = split_hook(url)
    allowed = _check_host(parts, allow=allow)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    if not allowed and port not in _WELL_KNOWN_PORTS and port < _FIRST_FREE_PORT:
        raise BadHook(f"port {port} is refused: use 80, 443 or 1024-65535, or {_ALLOW_HINT}")
    return url


def split_hook(url: str) -> SplitResult:
    """Return the parts of `url`, which then has a scheme, a host and a readable port, or raise BadHook."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text would echo a password
        raise BadHook("is no URL: its host or port cannot be read") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise BadHook("must start with http:// or https://")
    if "\\" in url:
        raise BadHook("holds a backslash; percent-encode it as %5C")
    if "@" in parts.netloc:
        raise BadHook("holds a user name or password before the host; put a token into the path or the query")
    if not parts.hostname:
        raise BadHook("names no host")
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise BadHook("the host is no name that can be looked up, and no address")
    if port == 0:
        raise BadHook("port 0 is refused: use 80, 443 or 1024-65535")
    return parts


def _check_host(parts: SplitResult, *, allow: Allow) -> bool:
    """Return whether the host is one of the operator's exceptions; BadHook when it cannot be called."""
    try:
        name = host_of(parts)
    except ValueError:
        raise BadHook("the host is no name that can be looked up, and no address") from None
    address = read_literal(name)
    if address is None:
        last = name.rpartition(".")[2]
        if last.isdigit() or last.startswith("0x"):
            raise BadHook("the host ends in a number but is no IPv4 address")
        return allow.permits_host(name)
    if not isinstance(address, IPv6Address) and str(address) != parts.hostname:
        raise BadHook(f"write the address as {address}")
    if allow.permits_address(address):
        return True
    if not is_public(address):
        raise BadHook(f"{address} is no public address; {_ALLOW_HINT} for private receivers")
    return False
