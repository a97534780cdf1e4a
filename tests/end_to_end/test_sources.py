"""The main job, once for each document that we start from: a task id goes in, a signed webhook comes out."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.end_to_end.conftest import API_KEY, Installation, clock
from worker.sandbox.songs import SimulatedTask

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
    task = SimulatedTask(
        task_id=task_id, action="MUSIC", submitted_at=clock(), lasts=timedelta(seconds=2), data=data
    )
    installation.gateway.register(task)
    installation.enqueue(task_id=task_id, action="MUSIC", notify_hook=installation.hook, gateway=gateway)
    webhook = installation.webhook_of(task_id)
    body = msgspec.json.decode(webhook.body, type=dict[str, msgspec.Raw])
    history = installation.history_of(task_id, gateway=gateway)

    assert webhook.problem is None
    assert bytes(body.pop("data")).decode() == data
    assert {name: msgspec.json.decode(text) for name, text in body.items()} == expected(
        task, installation=installation, gateway=gateway
    )
    assert [change.to_status for change in history.transitions] == ["SUBMITTED", "IN_PROGRESS", "SUCCESS"]
    assert history.data == data


def expected(task: SimulatedTask, *, installation: Installation, gateway: str) -> dict[str, Any]:
    """Return the webhook's fields besides `data`; GoAmz tells no times."""
    standing = task.at(clock())
    assert standing.started_at is not None
    assert standing.finished_at is not None
    told = gateway != "nengyongai"
    return {
        "task_id": task.task_id,
        "notify_hook": installation.hook,
        "action": "MUSIC",
        "status": "SUCCESS",
        "fail_reason": "",
        "submit_time": int(task.submitted_at.timestamp()) if told else 0,
        "start_time": int(standing.started_at.timestamp()) if told else 0,
        "finish_time": int(standing.finished_at.timestamp()) if told else 0,
        "progress": "100%",
    }


@pytest.mark.parametrize("gateway", ["openai_hub", "rixapi"])
def test_data_is_passed_on_byte_for_byte(installation: Installation, gateway: str) -> None:
    """Text that a JSON library would tidy up arrives as the gateway wrote it."""
    task_id = f"odd-{gateway}"
    installation.gateway.register(
        SimulatedTask(
            task_id=task_id, action="MUSIC", submitted_at=clock(), lasts=timedelta(0), data=ODD_DATA
        )
    )
    installation.enqueue(task_id=task_id, action="MUSIC", notify_hook=installation.hook, gateway=gateway)

    assert b'"data":' + ODD_DATA.encode() in installation.webhook_of(task_id).body


@pytest.mark.parametrize("gateway", ["openai_hub", "rixapi", "nengyongai"])
@pytest.mark.parametrize(
    ("action", "outcome", "fail_reason"),
    [("LYRICS", "SUCCESS", ""), ("MUSIC", "FAILURE", "moderation failed")],
)
def test_what_was_submitted_comes_back(
    installation: Installation, gateway: str, action: str, outcome: str, fail_reason: str
) -> None:
    """Lyrics and failures take the same way, from a submit at the gateway to the webhook."""
    task_id = f"{gateway}-{action}-{outcome}"
    wish = {"task_id": task_id, "outcome": outcome, "fail_reason": fail_reason}
    httpx.post(
        f"{installation.gateway_url}/{gateway.replace('_', '-')}/suno/submit/{action}",
        json={"prompt": "rain", "notify_hook": installation.hook, "sandbox": wish},
        headers={"Authorization": f"Bearer {API_KEY}"},
    ).raise_for_status()
    installation.enqueue(task_id=task_id, action=action, notify_hook=installation.hook, gateway=gateway)
    webhook = installation.webhook_of(task_id)
    body = msgspec.json.decode(webhook.body)

    assert webhook.verified
    assert (body["action"], body["status"], body["fail_reason"]) == (action, outcome, fail_reason)


def test_a_receiver_that_fails_at_first_gets_it_again(installation: Installation) -> None:
    """Two answers of 503 are two attempts; the third is delivered, under the same webhook-id."""
    installation.receiver.answer_with(503, times=2)
    task = SimulatedTask(task_id="again", action="MUSIC", submitted_at=clock(), lasts=timedelta(0))
    installation.gateway.register(task)
    installation.enqueue(task_id="again", action="MUSIC", notify_hook=installation.hook, gateway="openai_hub")
    assert installation.receiver.wait_for(
        lambda webhooks: sum(webhook.task_id == "again" for webhook in webhooks) == 3, seconds=60
    )
    webhooks = [webhook for webhook in installation.receiver.webhooks if webhook.task_id == "again"]

    assert len({webhook.webhook_id for webhook in webhooks}) == 1
    assert [webhook.headers["webhook-attempt"] for webhook in webhooks] == ["1", "2", "3"]
    assert [webhook.verified for webhook in webhooks] == [True, True, True]
