from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from svix.webhooks import Webhook as SvixWebhook
from svix.webhooks import WebhookVerificationError as SvixVerificationError

from worker.core.signature import decode_secret, new_secret, sign

OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"task_id":"a","data":"späß"}'.encode()
MESSAGE_ID = "0197e2a0-0000-7000-8000-000000000001"


def signed(*secrets: str, body: bytes = BODY) -> dict[str, str]:
    """Build the headers of a request that is sent now."""
    timestamp = int(datetime.now(tz=UTC).timestamp())
    keys = [decode_secret(secret) for secret in secrets]
    return {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets=keys, message_id=MESSAGE_ID, timestamp=timestamp, body=body),
    }


def test_the_specifications_example() -> None:
    """The published example of Standard Webhooks comes out to the letter."""
    signature = sign(
        secrets=[decode_secret(OLD)],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_public_libraries_accept_it() -> None:
    """Receivers verify with the libraries of Standard Webhooks and of Svix."""
    headers = signed(OLD)

    assert Webhook(OLD).verify(BODY.decode(), headers) == json.loads(BODY)
    SvixWebhook(OLD).verify(BODY, headers)  # returns nothing and raises when it does not fit
    with pytest.raises(SvixVerificationError):
        SvixWebhook(NEW).verify(BODY, headers)


def test_rotation() -> None:
    """With two secrets both receivers accept, whichever they hold; the newest signature stands first."""
    headers = signed(NEW, OLD)

    assert Webhook(NEW).verify(BODY.decode(), headers) == json.loads(BODY)
    assert Webhook(OLD).verify(BODY.decode(), headers) == json.loads(BODY)
    assert headers["webhook-signature"].split(" ")[0] == signed(NEW)["webhook-signature"]
    assert headers["webhook-signature"].count(" ") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "0197e2a0-0000-7000-8000-000000000002"},
        {"webhook-timestamp": str(int(datetime.now(tz=UTC).timestamp()) - 1)},
        {"webhook-signature": signed(NEW)["webhook-signature"]},
    ],
    ids=["id", "timestamp", "secret"],
)
def test_nothing_signed_can_be_changed(change: dict[str, str]) -> None:
    """Another id, time or secret breaks the signature."""
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY.decode(), signed(OLD) | change)


def test_the_body_cannot_be_changed() -> None:
    """One byte more breaks the signature."""
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY.decode() + " ", signed(OLD))


def test_no_secret_no_signature() -> None:
    """Without a secret there is nothing to sign with."""
    assert sign(secrets=[], message_id=MESSAGE_ID, timestamp=1, body=BODY) == ""


@pytest.mark.parametrize("length", [24, 32, 64])
def test_a_new_secret_can_be_read(length: int) -> None:
    """Entropy of 24 to 64 bytes becomes a secret that holds it."""
    entropy = bytes(range(length))

    secret = new_secret(entropy)

    assert secret == "whsec_" + base64.b64encode(entropy).decode()
    assert decode_secret(secret) == entropy


@pytest.mark.parametrize("length", [0, 23, 65])
def test_a_new_secret_needs_entropy(length: int) -> None:
    """Too little or too much entropy is refused."""
    with pytest.raises(ValueError, match=f"^the key has {length} bytes, not 24 to 64$"):
        new_secret(bytes(length))


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("", "a webhook secret starts with whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a webhook secret starts with whsec_"),
        ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a webhook secret starts with whsec_"),
        ("whsec_hunter2!", "what follows whsec_ is not base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "what follows whsec_ is not base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "what follows whsec_ is not base64"),
        ("whsec_späßchen", "what follows whsec_ is not base64"),
        ("whsec_aHVudGVyMg==", "the key has 7 bytes, not 24 to 64"),
        ("whsec_", "the key has 0 bytes, not 24 to 64"),
    ],
)
def test_a_bad_secret_is_not_echoed(secret: str, problem: str) -> None:
    """The error says what is wrong, in words that do not hold the secret; nor does its cause."""
    with pytest.raises(ValueError, match=r".*") as raised:
        decode_secret(secret)

    assert str(raised.value) == problem
    assert raised.value.__context__ is None
