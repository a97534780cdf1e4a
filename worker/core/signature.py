"""Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body`.

The body is signed as the very bytes that are sent. The timestamp is signed too, so that a recorded request
can be refused later; receivers use five minutes. While a secret is rotated each request carries one
signature for each secret, and a receiver accepts it when any fits.

Limit: the id must hold no full stop, which is the separator. Ours are UUIDs.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
SHORTEST_KEY = 24  # bytes, as the specification asks
LONGEST_KEY = 64


def decode_secret(secret: str) -> bytes:
    """Return the key inside `whsec_…`; ValueError says what is wrong and never echoes the secret."""
    if not secret.startswith(PREFIX):
        raise ValueError(f"a webhook secret starts with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = None
    if key is None:
        raise ValueError(f"what follows {PREFIX} is not base64")
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise ValueError(f"the key has {len(key)} bytes, not {SHORTEST_KEY} to {LONGEST_KEY}")
    return key


def new_secret(entropy: bytes) -> str:
    """Return `entropy` (24 to 64 bytes, drawn by the caller) as a `whsec_…` secret."""
    secret = PREFIX + base64.b64encode(entropy).decode()
    decode_secret(secret)
    return secret


def sign(*, secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: one `v1,…` for each secret, in their order, newest first."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    digests = (hmac.digest(secret, signed, "sha256") for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
