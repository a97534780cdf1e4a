"""Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body`."""

from __future__ import annotations

from collections.abc import Sequence


def decode_secret(secret: str) -> bytes:
    """Return the key inside `whsec_…`; ValueError says what is wrong and never echoes the secret."""
    raise NotImplementedError


def new_secret(entropy: bytes) -> str:
    """Return `entropy` (24 to 64 bytes, drawn by the caller) as a `whsec_…` secret."""
    raise NotImplementedError


def sign(*, secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: one `v1,…` for each secret, in their order."""
    raise NotImplementedError
