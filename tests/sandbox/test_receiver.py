from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
import svix

from tests.sandbox.moment import Clock
from worker.sandbox.faults import Fault, FaultKind
from worker.sandbox.hosting import hosted
from worker.sandbox.receiver import SandboxReceiver, Webhook
from worker.sandbox.verification import make_verifier

OLD = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
NEW = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU="
STRANGE = "whsec_enp6enp6enp6enp6enp6enp6enp6enp6enp6enp6eg=="

BODY = '{"task_id":"t","action":"MUSIC","status":"SUCCESS","data":[ 1.10 ]}'


@pytest.fixture
def receiver() -> SandboxReceiver:
    """Give a receiver that knows two secrets."""
    return SandboxReceiver(clock=Clock(), verify=make_verifier([NEW, OLD]))


@pytest.fixture
def http(receiver: SandboxReceiver) -> Iterator[httpx.Client]:
    """Give a client that speaks with the served receiver."""
    with hosted(receiver.app()) as url, httpx.Client(base_url=url, timeout=5, trust_env=False) as client:
        yield client


def signed(*, secret: str = NEW, webhook_id: str = "msg_1", body: str = BODY) -> dict[str, str]:
    """Return the headers of a webhook that another library signed."""
    now = datetime.now(UTC)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": svix.Webhook(secret).sign(webhook_id, now, body),
        "webhook-attempt": "1",
    }


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_a_good_signature_is_taken(http: httpx.Client, receiver: SandboxReceiver, secret: str) -> None:
    """A webhook signed with any of the secrets is answered with 200 and kept to the byte."""
    answer = http.post("/hooks/mine", content=BODY, headers=signed(secret=secret))
    (webhook,) = receiver.webhooks

    assert (answer.status_code, answer.json()) == (200, {"received": True, "repeated": False})
    assert (webhook.verified, webhook.path, webhook.body) == (True, "/hooks/mine", BODY.encode())
    assert (webhook.task_id, webhook.action, webhook.status) == ("t", "MUSIC", "SUCCESS")


@pytest.mark.parametrize(
    ("secret", "changes", "problem"),
    [
        (STRANGE, {}, "No matching signature found"),
        (NEW, {"webhook-id": "msg_2"}, "No matching signature found"),
        (NEW, {"webhook-signature": ""}, "Missing required headers"),
        (NEW, {"webhook-timestamp": "1716191749"}, "Message timestamp too old"),
        (NEW, {"webhook-signature": "v1"}, "not enough values to unpack (expected 2, got 1)"),
        (NEW, {"webhook-signature": "v1,=a"}, "Invalid base64-encoded string"),
    ],
)
def test_a_bad_signature_is_refused(
    http: httpx.Client, receiver: SandboxReceiver, secret: str, changes: dict[str, str], problem: str
) -> None:
    """A webhook that does not verify is answered with 401 and the reason, and kept for the report."""
    answer = http.post("/", content=BODY, headers=signed(secret=secret) | changes)

    assert answer.status_code == 401
    assert answer.json()["error"].startswith(problem)
    assert [webhook.verified for webhook in receiver.webhooks] == [False]


def test_a_body_that_is_no_text_is_refused(http: httpx.Client, receiver: SandboxReceiver) -> None:
    """Bytes that are not UTF-8 cannot be verified; the receiver says so and goes on."""
    answer = http.post("/", content=b"\xff\xfe", headers=signed())

    assert answer.status_code == 401
    assert (receiver.webhooks[0].verified, receiver.webhooks[0].task_id) == (False, "")


def test_a_repeated_webhook_counts_once(http: httpx.Client) -> None:
    """At-least-once delivery may repeat: the report counts each webhook-id once."""
    for _ in range(2):
        http.post("/", content=BODY, headers=signed())
    http.post("/", content=BODY, headers=signed(webhook_id="msg_2"))
    report = http.get("/received").json()

    assert (report["unique"], report["repeated"], report["unverified"]) == (2, 1, 0)
    assert [webhook["repeated"] for webhook in report["webhooks"]] == [False, True, False]


def test_the_report_shows_what_came(http: httpx.Client) -> None:
    """The report is JSON with the body as the text that it was."""
    http.post("/hook", content=BODY, headers=signed())

    assert http.get("/received").json()["webhooks"] == [
        {
            "at": "2026-11-21T09:00:00Z",
            "path": "/hook",
            "webhook_id": "msg_1",
            "attempt": "1",
            "verified": True,
            "problem": None,
            "repeated": False,
            "task_id": "t",
            "action": "MUSIC",
            "status": "SUCCESS",
            "body": BODY,
        }
    ]


def test_the_receiver_can_forget(http: httpx.Client, receiver: SandboxReceiver) -> None:
    """After DELETE nothing is left, and a known webhook-id is new again."""
    http.post("/", content=BODY, headers=signed())
    assert http.delete("/received").json() == {"forgotten": 1}
    http.post("/", content=BODY, headers=signed())

    assert [webhook.repeated for webhook in receiver.webhooks] == [False]


def test_it_can_answer_otherwise_for_a_while(http: httpx.Client, receiver: SandboxReceiver) -> None:
    """Two webhooks are answered with 503 and `Retry-After`, the third with 200; all three are kept."""
    receiver.answer_with(503, times=2, retry_after="1")
    answers = [http.post("/", content=BODY, headers=signed()) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert [answer.headers.get("retry-after") for answer in answers] == ["1", "1", None]
    assert [webhook.repeated for webhook in receiver.webhooks] == [False, True, True]


def test_faults_reach_one_path_alone(http: httpx.Client, receiver: SandboxReceiver) -> None:
    """A hanging hook holds up no other one."""
    receiver.faults.switch_on(Fault(kind=FaultKind.HANG, path="/dead"))
    with pytest.raises(httpx.ReadTimeout):
        http.post("/dead", content=BODY, headers=signed(), timeout=0.2)

    assert http.post("/alive", content=BODY, headers=signed()).status_code == 200
    assert [webhook.path for webhook in receiver.webhooks] == ["/dead", "/alive"]


def test_one_can_wait_for_webhooks(http: httpx.Client, receiver: SandboxReceiver) -> None:
    """Waiting ends when enough has come, and says so when it has not."""
    assert not receiver.wait_for(lambda webhooks: len(webhooks) == 1, seconds=0.01)
    http.post("/", content=BODY, headers=signed())

    assert receiver.wait_for(lambda webhooks: len(webhooks) == 1, seconds=5)


def test_each_webhook_is_told_as_it_comes() -> None:
    """The callback gets every webhook; without a verifier all are taken."""
    told: list[Webhook] = []
    receiver = SandboxReceiver(clock=Clock(), verify=None, say=told.append)
    with hosted(receiver.app()) as url:
        answer = httpx.post(f"{url}/any/path", content="not JSON")

    assert answer.status_code == 200
    assert [(webhook.path, webhook.verified, webhook.task_id) for webhook in told] == [
        ("/any/path", True, "")
    ]
