"""What a host is: judged, counted by a breaker and connected to in one and the same spelling.

International names follow IDNA 2008, as browsers and registries do: `faß.de` is `xn--fa-hia.de`. Python's own
codec is of 2003 and takes it for `fass.de`, which somebody else may own. Names that IDNA 2008 does not know,
such as full-width letters and symbols, are no hosts.

Limit: names in ASCII stay what they are; whether an `xn--` label means anything, the name server says.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from urllib.parse import SplitResult

import idna

_LONGEST_LABEL = 63  # of a name between two dots


def host_of(parts: SplitResult) -> str:
    """Return the host of a URL without brackets and final dot; ValueError when it has none to connect to."""
    name = parts.hostname or ""
    return str(IPv6Address(name)) if "[" in parts.netloc else normal_host(name)


def normal_host(host: str) -> str:
    """Return a host name as it goes on the wire: IDNA, lower case, no final dot; ValueError for none."""
    name = host.removesuffix(".").lower()
    if not name.isascii():
        name = idna.encode(name).decode()
    labels = name.split(".")
    for label in labels:
        if not 0 < len(label) <= _LONGEST_LABEL or not label.replace("-", "").replace("_", "").isalnum():
            raise ValueError(host)
    return name
