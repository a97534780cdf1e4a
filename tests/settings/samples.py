"""Values that several tests of settings share."""

from __future__ import annotations

from base64 import b64encode

# One gateway with nothing but what it must have.
GATEWAY = {
    "WORKER_GATEWAYS__OPENAI-HUB__BASE_URL": "https://api.example.com",
    "WORKER_GATEWAYS__OPENAI-HUB__API_KEY": "sk-1",
}

SECRETS = tuple(f"whsec_{b64encode(letter * 32).decode()}" for letter in (b"a", b"b"))
