"""Checks a Standard Webhooks signature with the public `standardwebhooks` library, not with our own code.

The library is the extra `sandbox`; it is imported when a verifier is made, so that a worker without the
extra can still load every module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Verifier = Callable[[bytes, Mapping[str, str]], str | None]


class ExtraMissing(Exception):
    """The library is not installed; the text is one line that says what to do."""


def make_verifier(secrets: Sequence[str]) -> Verifier:
    """Return a function that gives None for a good signature, else what is wrong, in one line.

    A signature by any of `secrets` is good, as during a rotation. Raises ExtraMissing when the library
    is missing and ValueError when a secret is not `whsec_` and base64; the text never repeats the secret.
    """
    try:
        from standardwebhooks.webhooks import (  # noqa: PLC0415 - an optional extra
            EmptyWebhookSecretError,
            Webhook,
            WebhookVerificationError,
        )
    except ModuleNotFoundError as error:
        message = (
            "the sandbox receiver needs the standardwebhooks library: pip install 'suno-worker[sandbox]'"
        )
        raise ExtraMissing(message) from error
    try:
        webhooks = [Webhook(secret) for secret in secrets]
    except (EmptyWebhookSecretError, ValueError) as error:
        message = (
            f"secret: not `whsec_` and base64 ({type(error).__name__}): take one from `suno-worker secret`"
        )
        raise ValueError(message) from None

    def verify(body: bytes, headers: Mapping[str, str]) -> str | None:
        problem = "no secret to verify with"
        for webhook in webhooks:
            try:
                webhook.verify(body, dict(headers), json_parse=False)
            except (
                WebhookVerificationError,
                ValueError,
            ) as error:  # ValueError: base64, text encoding, commas
                problem = str(error)
            else:
                return None
        return problem

    return verify
