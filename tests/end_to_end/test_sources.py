"""The main job, once for each document that we start from: a task id goes in, a signed webhook comes out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.end_to_end.conftest import API_KEY, Installation, clock
from worker.sandbox.songs import SimulatedTask

# They share one installation, so they run in one process of the test run.
pytestmark = pytest.mark.xdist_group("sources")

SAMPLES = Path(__file__).parents[1] / "samples"

# What a JSON library would tidy up: spaces, escaped and raw letters, doubled names, numbers no float holds.
ODD_DATA = '[ {"a" : 1.10, "b":"\\u00e9é\\/",\n "a":12345678901234567890.123456789, "c":1e400} ]'


class Item(msgspec.Struct):
    """A task object; `data` is its JSON text."""

    task_id: str
    data: msgspec.Raw


class Batch(msgspec.Struct):
    """An answer of `POST /suno/fetch`."""

    data: list[Item]


class Single(msgspec.Struct):
    """An answer of `GET /suno/fetch/{task_id}`: `data` is the whole object."""

    data: msgspec.Raw


class Told(msgspec.Struct):
    """A webhook's body."""

    action: str
    status: str
    fail_reason: str
    data: msgspec.Raw


def seed_of(name: str) -> tuple[str, str]:
    """Return the task id and the exact `data` text of a document's example."""
    body = (SAMPLES / name).read_bytes()
    if "batch" in name:
        (item,) = msgspec.json.decode(body, type=Batch).data
        return item.task_id, bytes(item.data).decode()
    data = msgspec.json.decode(body, type=Single).data
    return msgspec.json.decode(data)["task_id"], bytes(data).decode()


@pytest.mark.parametrize(
    ("gateway", "sample"),
    [
        ("openai_hub", "seed_openai_hub_fetch_batch.json"),
        ("rixapi", "seed_rixapi_fetch_batch.json"),
        ("nengyongai", "seed_nengyongai_fetch_single_goamz.json"),
    ],
)
def test_the_result_of_each_source_is_delivered(
    installation: Installation, gateway: str, sample: str
) -> None:
    """The document's example reaches the receiver signed, once, with `data` as the gateway wrote it."""
    seed_id, data = seed_of(sample)
    # Two of the documents share an id, and one receiver hears of both.
    task_id = f"{gateway}-{seed_id}"
    data = data.replace(seed_id, task_id) if gateway == "nengyongai" else data
    half_done = SimulatedTask(
        task_id=task_id,
        action="MUSIC",
        submitted_at=clock() - timedelta(hours=1),
        lasts=timedelta(hours=2),
        data=data,
    )
    done = replace(half_done, lasts=timedelta(minutes=5))

    installation.gateway.register(half_done)
    installation.enqueue(task_id=task_id, action="MUSIC", notify_hook=installation.hook, gateway=gateway)
    installation.wait_until_asked(task_id)
    installation.gateway.register(done)
    webhook = installation.webhook_of(task_id)
    body = msgspec.json.decode(webhook.body, type=dict[str, msgspec.Raw])
    history = installation.settled(task_id, gateway=gateway)

    assert webhook.problem is None
    assert bytes(body.pop("data")).decode() == data
    assert {name: msgspec.json.decode(text) for name, text in body.items()} == expected(
        done, hook=installation.hook, told_times=gateway != "nengyongai"
    )
    assert [change.to_status for change in history.transitions] == ["SUBMITTED", "IN_PROGRESS", "SUCCESS"]
    assert history.data == data
    assert [(one.id, one.state) for one in history.deliveries] == [(webhook.webhook_id, "DELIVERED")]
    assert [one.status_code for one in history.deliveries[0].attempts] == [200]


def expected(task: SimulatedTask, *, hook: str, told_times: bool) -> dict[str, Any]:
    """Return the webhook's fields besides `data`; GoAmz tells no times."""
    standing = task.at(clock())
    times = {
        "submit_time": task.submitted_at,
        "start_time": standing.started_at,
        "finish_time": standing.finished_at,
    }
    return {
        "task_id": task.task_id,
        "notify_hook": hook,
        "action": "MUSIC",
        "status": "SUCCESS",
        "fail_reason": "",
        "progress": "100%",
    } | {name: int(moment.timestamp()) if moment and told_times else 0 for name, moment in times.items()}


def test_every_other_kind_of_result_is_delivered(installation: Installation) -> None:
    """Lyrics, failures and text that a JSON library would tidy up take the same way to their webhook."""
    wishes = [
        ("LYRICS", {}),
        ("MUSIC", {"outcome": "FAILURE", "fail_reason": "moderation failed"}),
        ("MUSIC", {"data": ODD_DATA}),
    ]
    submitted: dict[str, tuple[str, dict[str, str]]] = {}
    for gateway in ("openai_hub", "rixapi", "nengyongai"):
        for number, (action, wish) in enumerate(wishes[: 2 if gateway == "nengyongai" else 3]):
            task_id = f"{gateway}-{number}"
            submitted[task_id] = (action, wish)
            httpx.post(
                f"{installation.gateway_url}/{gateway.replace('_', '-')}/suno/submit/{action}",
                json={"prompt": "rain", "sandbox": {"task_id": task_id, **wish}},
                headers={"Authorization": f"Bearer {API_KEY}"},
            ).raise_for_status()
            installation.enqueue(
                task_id=task_id, action=action, notify_hook=installation.hook, gateway=gateway
            )

    for task_id, (action, wish) in submitted.items():
        webhook = installation.webhook_of(task_id)
        body = msgspec.json.decode(webhook.body, type=Told)
        assert webhook.verified
        assert (body.action, body.status) == (action, wish.get("outcome", "SUCCESS"))
        assert body.fail_reason == wish.get("fail_reason", "")
        assert bytes(body.data).decode() == wish.get("data", bytes(body.data).decode())
        assert bytes(body.data) != b"null"


def test_a_receiver_that_fails_at_first_gets_it_again(installation: Installation) -> None:
    """Two answers of 503 are two attempts; the third is delivered, under the same webhook-id."""
    installation.receiver.answer_with(503, times=2)
    task = SimulatedTask(task_id="again", action="MUSIC", submitted_at=clock(), lasts=timedelta(0))
    installation.gateway.register(task)
    installation.enqueue(task_id="again", action="MUSIC", notify_hook=installation.hook, gateway="openai_hub")
    assert installation.receiver.wait_for(
        lambda webhooks: sum(webhook.task_id == "again" for webhook in webhooks) >= 3, seconds=60
    )
    (delivery,) = installation.settled("again", gateway="openai_hub").deliveries
    webhooks = [webhook for webhook in installation.receiver.webhooks if webhook.task_id == "again"]

    assert len({webhook.webhook_id for webhook in webhooks}) == 1
    assert [webhook.headers["webhook-attempt"] for webhook in webhooks] == ["1", "2", "3"]
    assert [webhook.verified for webhook in webhooks] == [True, True, True]
    assert delivery.state == "DELIVERED"
    assert [one.status_code for one in delivery.attempts] == [503, 503, 200]
