from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from worker.core.addresses import Allow
from worker.core.hooks import BadHook, check_notify_hook
from worker.core.lifecycle import Action, Status, Times
from worker.core.signature import decode_secret
from worker.core.webhook import Result, encode_body, headers, origin_of, origin_of_stored

NOW = datetime(2026, 7, 7, 12, 0, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RESULT = Result(
    task_id="a",
    notify_hook="https://receiver.example/hook",
    action=Action.MUSIC,
    status=Status.SUCCESS,
    fail_reason="",
    times=Times(
        submitted_at=NOW, started_at=None, finished_at=NOW + timedelta(seconds=96, microseconds=999_999)
    ),
    progress=100,
    data='[ {"id": 1.0, "t": "\\u0041\\ud83d"} ]',
)


def test_the_body_is_the_familys_task_object() -> None:
    """Exactly these bytes: the fields in the documents' order, `data` as the gateway wrote it."""
    assert encode_body(RESULT) == (
        b'{"task_id":"a","notify_hook":"https://receiver.example/hook","action":"MUSIC","status":"SUCCESS",'
        b'"fail_reason":"","submit_time":1783425600,"start_time":0,"finish_time":1783425696,"progress":"100%",'
        b'"data":[ {"id": 1.0, "t": "\\u0041\\ud83d"} ]}'
    )


def test_the_body_of_a_task_that_we_ended() -> None:
    """No data is null, no times are 0, and every text is escaped."""
    ended = replace(
        RESULT,
        action=Action.LYRICS,
        status=Status.FAILURE,
        fail_reason='worker: "späß"\n',
        times=Times(),
        progress=30,
        data=None,
    )

    assert (
        encode_body(ended)
        == (
            '{"task_id":"a","notify_hook":"https://receiver.example/hook","action":"LYRICS","status":"FAILURE",'
            '"fail_reason":"worker: \\"späß\\"\\n","submit_time":0,"start_time":0,"finish_time":0,'
            '"progress":"30%","data":null}'
        ).encode()
    )


@given(
    data=st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    ).map(lambda value: json.dumps(value, indent=1)),
    reason=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_data_travels_byte_for_byte(data: str, reason: str) -> None:
    """Whatever the gateway wrote stands at the end of the body, unchanged."""
    body = encode_body(replace(RESULT, data=data, fail_reason=reason))

    assert body.endswith(b'"data":' + data.encode() + b"}")
    assert json.loads(body)["fail_reason"] == reason
    assert list(json.loads(body)) == [
        "task_id",
        "notify_hook",
        "action",
        "status",
        "fail_reason",
        "submit_time",
        "start_time",
        "finish_time",
        "progress",
        "data",
    ]


def test_the_headers_of_an_attempt() -> None:
    """Exactly these, and the public library accepts them."""
    timestamp = int(datetime.now(tz=UTC).timestamp())
    body = encode_body(replace(RESULT, data="[]"))

    sent = headers(
        delivery_id="0197e2a0",
        attempt=2,
        timestamp=timestamp,
        secrets=[decode_secret(SECRET)],
        body=body,
        version="1.2.3",
    )

    signature = sent.pop("webhook-signature")
    assert sent == {
        "content-type": "application/json",
        "user-agent": "suno-worker/1.2.3",
        "webhook-id": "0197e2a0",
        "webhook-timestamp": str(timestamp),
        "webhook-attempt": "2",
    }
    assert Webhook(SECRET).verify(body.decode(), {**sent, "webhook-signature": signature}) == json.loads(body)


def test_headers_without_a_secret() -> None:
    """The same headers, unsigned."""
    sent = headers(delivery_id="d", attempt=1, timestamp=1, secrets=[], body=b"{}", version="1")

    assert sorted(sent) == [
        "content-type",
        "user-agent",
        "webhook-attempt",
        "webhook-id",
        "webhook-timestamp",
    ]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://receiver.example/hook?x=1", "https://receiver.example:443"),
        ("http://receiver.example", "http://receiver.example:80"),
        ("HTTP://Receiver.Example.:8080/", "http://receiver.example:8080"),
        ("https://receiver.example:/", "https://receiver.example:443"),
        ("https://bücher.example/", "https://xn--bcher-kva.example:443"),
        ("http://[2606:4700:0::1111]:81/", "http://[2606:4700::1111]:81"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9"),
    ],
)
def test_the_origin_of_a_url(url: str, origin: str) -> None:
    """Scheme, host and port in one spelling, so that one receiver is one row."""
    assert origin_of(url) == origin


def test_what_is_no_hook_has_no_origin() -> None:
    """A URL that was never checked is refused here too."""
    with pytest.raises(BadHook):
        origin_of("ftp://receiver.example")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://☃.example/hook", "https://%E2%98%83.example:443"),
        ("http://\uff21.example:8080", "http://%EF%BD%81.example:8080"),
        ("http://%E2%98%83.example:80", "http://%E2%98%83.example:80"),
        ("http://" + "☃." * 200 + "example", "http://" + ("%E2%98%83." * 26)[:252] + "%:80"),
        ("http://" + "a" * 60 + ".b" * 100 + "☃", "http://" + "a" * 60 + ".b" * 96 + "%:80"),
        ("http://\ud83d/", "http://%3F:80"),
    ],
    ids=ascii,
)
def test_the_origin_of_a_host_that_was_one_under_earlier_rules(url: str, origin: str) -> None:
    """A stored hook always has an origin: one that no host can have, and short enough for an index."""
    assert origin_of_stored(url) == origin_of_stored(origin) == origin
    with pytest.raises(BadHook):
        check_notify_hook(origin, allow=Allow())
    with pytest.raises(BadHook):
        check_notify_hook(url, allow=Allow())


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1]x/",
        "http://[::1/",
        "http://receiver.example:x/",
        "http://receiver.example:0/",
        "http://me:secret@receiver.example/",
        "ftp://receiver.example/",
        "receiver.example",
        "",
    ],
)
def test_stored_urls_that_are_none_any_more_share_an_origin(url: str) -> None:
    """One that no host can have, with nothing in it of what may be a password."""
    assert origin_of_stored(url) == origin_of_stored("http://%:80") == "http://%:80"
    for refused in (url, "http://%:80"):
        with pytest.raises(BadHook):
            check_notify_hook(refused, allow=Allow())


@given(host=st.text() | st.text(alphabet="aß☃\uff41.-_%1\u200d\u0661[:]"))
def test_every_stored_hook_has_an_origin(host: str) -> None:
    """Whatever the host: its own, or one in ASCII that no host can have."""
    origin = origin_of_stored(f"http://{host}/")
    assert origin.isascii()
    try:
        assert origin_of(f"http://{host}/") == origin
    except ValueError:
        with pytest.raises(BadHook):
            check_notify_hook(origin, allow=Allow())
