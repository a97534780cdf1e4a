from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.examples.conftest import EXAMPLES
from tests.programs import Program, running_program
from worker.core import webhook
from worker.core.lifecycle import Action, Status, Times
from worker.core.signature import decode_secret, new_secret
from worker.core.webhook import Result, encode_body

pytestmark = pytest.mark.xdist_group("examples")

TASK_ID = "task-1"
SECRET = new_secret(b"s" * 32)
OTHER_SECRET = new_secret(b"o" * 32)
BODY = encode_body(
    Result(
        task_id=TASK_ID,
        notify_hook="https://example.com/hook",
        action=Action.MUSIC,
        status=Status.SUCCESS,
        fail_reason="",
        times=Times(),
        progress=100,
        data='[{"title": "海 – ça"}]',
    )
)
PATIENCE_S = 60  # the first start of a compiler on a busy machine

# What starts each receiver, and what it says when it listens.
RECEIVERS = {
    "python": ([sys.executable, "receiver.py"], "listening"),
    "node": (["node", "receiver.mjs"], "listening"),
    "java": (["java", "Receiver.java"], "listening"),
    "go": (["go", "run", "receiver.go"], "listening"),
    "php": (["php", "-S", "127.0.0.1:{port}", "receiver.php"], "started"),
}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        assert isinstance(port, int)
        return port


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A running example."""

    url: str
    program: Program

    def post(self, headers: Mapping[str, str], *, body: bytes = BODY) -> int:
        """Send it a message; return its answer."""
        return httpx.post(self.url, content=body, headers=headers, timeout=PATIENCE_S).status_code


@pytest.fixture(
    scope="module", params=[name for name, (words, _) in RECEIVERS.items() if shutil.which(words[0])]
)
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Give each example, in each language that this machine has."""
    words, ready = RECEIVERS[request.param]
    folder = request.getfixturevalue("installed_examples") if request.param == "node" else EXAMPLES
    port = free_port()
    scratch = str(tmp_path_factory.mktemp(request.param))
    settings = {"WORKER_WEBHOOK_SECRET": SECRET, "PORT": str(port), "TMPDIR": scratch, "GOCACHE": scratch}
    started = [word.format(port=port) for word in words]
    with running_program(started, settings=settings, folder=folder / "receivers") as program:
        program.wait_for(ready)
        yield Receiver(url=f"http://127.0.0.1:{port}/hook", program=program)


def signed(
    delivery_id: str, *, at: datetime | None = None, secrets: Sequence[str] = (SECRET,)
) -> dict[str, str]:
    """Return the headers of a genuine message."""
    return webhook.headers(
        delivery_id=delivery_id,
        attempt=1,
        timestamp=int((at or datetime.now(UTC)).timestamp()),
        secrets=[decode_secret(secret) for secret in secrets],
        body=BODY,
        version="1",
    )


def test_a_result_is_taken_once(receiver: Receiver) -> None:
    """A genuine message is taken, also the second time, and acted on only once."""
    before = receiver.program.output.text.count(TASK_ID)
    headers = signed("msg_once")

    assert [receiver.post(headers), receiver.post(headers), receiver.post(signed("msg_next"))] == [
        204,
        204,
        204,
    ]

    text = receiver.program.wait_until(lambda text: text.count(TASK_ID) >= before + 2, what="two results")
    assert text.count(TASK_ID) == before + 2


def test_a_rotation_is_survived(receiver: Receiver) -> None:
    """A message with two signatures, of which the second is ours, is taken."""
    assert receiver.post(signed("msg_rotated", secrets=[OTHER_SECRET, SECRET])) == 204


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"webhook-signature": "nonsense"},
        {"webhook-signature": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-id": "msg_of_another"},
    ],
    ids=["none", "no signature", "empty signature", "no time", "another id"],
)
def test_a_forged_message_is_refused(receiver: Receiver, headers: dict[str, str]) -> None:
    """Headers that are missing, odd or of another message are refused."""
    assert receiver.post({**signed("msg_forged"), **headers} if headers else {}) == 401


def test_another_s_secret_is_refused(receiver: Receiver) -> None:
    """A message that is signed with another secret is refused."""
    assert receiver.post(signed("msg_stranger", secrets=[OTHER_SECRET])) == 401


def test_a_changed_body_is_refused(receiver: Receiver) -> None:
    """One more byte, and the message is refused."""
    assert receiver.post(signed("msg_changed"), body=BODY + b" ") == 401


@pytest.mark.parametrize("minutes", [-6, 6])
def test_an_old_message_is_refused(receiver: Receiver, minutes: int) -> None:
    """A message from more than five minutes ago or ahead is refused: it may be a recording."""
    at = datetime.now(UTC) + timedelta(minutes=minutes)

    assert receiver.post(signed("msg_old", at=at)) == 401
