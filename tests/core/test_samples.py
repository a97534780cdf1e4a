"""Every sample of a gateway's answer, read to its exact result; SOURCES.md says where each is from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.core.lifecycle import Absent, Action, Seen, Status, Times, Unreadable
from worker.core.wire import Bad, Fetch, Good, Reply, Trouble, read_batch, read_single

SAMPLES = Path(__file__).parent.parent / "samples"
OPENAI_HUB = "346c5d10-a4a1-4f49-a851-66a7dae6cfaf"
NENGYONGAI = "56ea8da3-8507-4118-9f1e-111111111111"
GOAMZ = "c8e0f2a1-3d45-4b67-9c89-0b1c2d3e4f50"
NEWAPI = "task_Zq3Jp8mYxK2bT7cVn5RwLs9DgHf4AeU1"
LYRICS = "b7d9e1f0-2c34-4a56-8b78-9a0b1c2d3e4f"
SUNO_API = "0f3c2b1a4d5e46f7a8b9c0d1e2f30415"


def at(submit: int, start: int, finish: int) -> Times:
    """Build the times of three unix seconds, 0 for none."""
    submitted_at, started_at, finished_at = (
        datetime.fromtimestamp(second, tz=UTC) if second else None for second in (submit, start, finish)
    )
    return Times(submitted_at=submitted_at, started_at=started_at, finished_at=finished_at)


def read(name: str, *, fetch: Fetch, asked: str, action: Action = Action.MUSIC) -> Reply:
    """Read one sample; its file name says the HTTP status where it is not 200."""
    found = re.search(r"_([45]\d\d)[_.]", name)
    status_code = int(found.group(1)) if found else 200
    content_type = {".html": "text/html", ".txt": ""}.get(Path(name).suffix, "application/json")
    body = (SAMPLES / name).read_bytes()
    if fetch is Fetch.BATCH:
        return read_batch(
            status_code=status_code,
            content_type=content_type,
            retry_after=None,
            body=body,
            asked=[asked],
        )
    return read_single(
        status_code=status_code,
        content_type=content_type,
        retry_after=None,
        body=body,
        asked=asked,
        action=action,
    )


def data_in(name: str, pattern: str) -> str:
    """Cut the text of `data` out of a sample, without any JSON reader."""
    text = (SAMPLES / name).read_text(encoding="utf-8")
    found = re.search(pattern, text, re.DOTALL)
    assert found is not None
    return found.group(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one sample shows of the task it names; `data` is the pattern that cuts its text out."""

    name: str
    task_id: str
    status: Status
    word: str
    progress: int | None = None
    fail_reason: str = ""
    times: Times = field(default_factory=Times)
    data: str | None = None


INNER = r'\n      "data": (\[.*\n      \])\n    \}'
INNER_OBJECT = r'\n      "data": (\{.*\n      \})\n    \}'
INNER_SINGLE = r'\n    "data": (\[.*\n    \])\n  \}'
WHOLE = r'"data": (\{.*\}),\s*"message": "success"'

SIGHTS = [
    Sight(
        name="seed_openai_hub_fetch_batch.json",
        task_id=OPENAI_HUB,
        status=Status.IN_PROGRESS,
        word="IN_PROGRESS",
        progress=0,
        times=at(1716191749, 1716191786, 0),
    ),
    Sight(
        name="seed_rixapi_fetch_batch.json",
        task_id=OPENAI_HUB,
        status=Status.IN_PROGRESS,
        word="IN_PROGRESS",
        progress=0,
        times=at(1716191749, 1716191786, 0),
    ),
    Sight(
        name="seed_nengyongai_fetch_single_goamz.json",
        task_id=NENGYONGAI,
        status=Status.SUCCESS,
        word="completed",
        data=WHOLE,
    ),
    Sight(
        name="goamz_fetch_completed.json",
        task_id=GOAMZ,
        status=Status.SUCCESS,
        word="completed",
        data=WHOLE,
    ),
    Sight(
        name="goamz_fetch_completed_one_clip_error.json",
        task_id=GOAMZ,
        status=Status.SUCCESS,
        word="completed",
        data=WHOLE,
    ),
    Sight(
        name="goamz_fetch_processing.json",
        task_id=GOAMZ,
        status=Status.IN_PROGRESS,
        word="processing",
    ),
    Sight(
        name="goamz_fetch_failed.json",
        task_id=GOAMZ,
        status=Status.FAILURE,
        word="failed",
        fail_reason="moderation failed",
        data=WHOLE,
    ),
    Sight(
        name="newapi_fetch_not_start_null_data.json",
        task_id=NEWAPI,
        status=Status.SUBMITTED,
        word="NOT_START",
        progress=0,
        times=at(1783400001, 0, 0),
    ),
    Sight(
        name="newapi_fetch_submitted.json",
        task_id=NEWAPI,
        status=Status.SUBMITTED,
        word="SUBMITTED",
        progress=0,
        times=at(1783400001, 0, 0),
    ),
    Sight(
        name="newapi_fetch_in_progress.json",
        task_id=NEWAPI,
        status=Status.IN_PROGRESS,
        word="IN_PROGRESS",
        progress=0,
        times=at(1783400001, 1783400012, 0),
    ),
    Sight(
        name="newapi_fetch_success_music.json",
        task_id=NEWAPI,
        status=Status.SUCCESS,
        word="SUCCESS",
        progress=100,
        times=at(1783400001, 1783400012, 1783400097),
        data=INNER,
    ),
    Sight(
        name="newapi_fetch_success_music_legacy.json",
        task_id=SUNO_API,
        status=Status.SUCCESS,
        word="SUCCESS",
        progress=100,
        times=at(1726911801, 1726911812, 1726911897),
        data=INNER,
    ),
    Sight(
        name="newapi_fetch_lyrics_success.json",
        task_id=LYRICS,
        status=Status.SUCCESS,
        word="SUCCESS",
        progress=100,
        times=at(1716192124, 1716192124, 1716192124),
        data=INNER_OBJECT,
    ),
    Sight(
        name="newapi_fetch_single_success.json",
        task_id=NEWAPI,
        status=Status.SUCCESS,
        word="SUCCESS",
        progress=100,
        times=at(1783400001, 1783400012, 1783400097),
        data=INNER_SINGLE,
    ),
    Sight(
        name="newapi_fetch_failure.json",
        task_id=NEWAPI,
        status=Status.FAILURE,
        word="FAILURE",
        progress=100,
        fail_reason="Song Description contained artist name",
        times=at(1783400001, 1783400012, 1783400020),
        data=INNER,
    ),
    Sight(
        name="newapi_fetch_failure_empty_reason.json",
        task_id=NEWAPI,
        status=Status.FAILURE,
        word="FAILURE",
        progress=100,
        times=at(1783400001, 0, 0),
    ),
    Sight(
        name="newapi_fetch_failure_channel_deleted.json",
        task_id=NEWAPI,
        status=Status.FAILURE,
        word="FAILURE",
        progress=100,
        fail_reason=(
            "获取渠道信息失败\N{FULLWIDTH COMMA}请联系管理员\N{FULLWIDTH COMMA}渠道ID\N{FULLWIDTH COLON}3"
        ),
        times=at(1783400001, 1783400012, 0),
        data=INNER,
    ),
    Sight(
        name="sunoapi_fetch_batch_success.json",
        task_id=SUNO_API,
        status=Status.SUCCESS,
        word="SUCCESS",
        times=at(1726911801, 1726911812, 1726911897),
        data=INNER,
    ),
    Sight(
        name="sunoapi_fetch_batch_failure_timeout.json",
        task_id=SUNO_API,
        status=Status.FAILURE,
        word="FAILURE",
        fail_reason="time out",
        times=at(1726911801, 1726911812, 1726912402),
        data=INNER,
    ),
]

REFUSALS = [
    ("empty_429_body.txt", Trouble.RATE_LIMITED, "HTTP 429 (no content type, not JSON): an empty answer"),
    (
        "html_502_bad_gateway_cloudflare.html",
        Trouble.SERVER_ERROR,
        (
            "HTTP 502 (text/html, not JSON): <html> <head><title>502 Bad Gateway</title></head> <body> "
            "<center><h1>502 Bad Gateway</h1></center> <hr><center>cloudflare</center> </body> </html>"
        ),
    ),
    (
        "newapi_error_401_exhausted_token_2025.json",
        Trouble.UNAUTHORIZED,
        (
            "HTTP 401: [sk-…] 该令牌额度已用尽 !token.UnlimitedQuota && token.RemainQuota = 0 "
            "(request id: 20250411101112131415161AbCdEfGh)"
        ),
    ),
    (
        "newapi_error_401_invalid_token.json",
        Trouble.UNAUTHORIZED,
        "HTTP 401: Invalid token (request id: 20260707134006123456789AbCdEfGh)",
    ),
    (
        "newapi_error_403_insufficient_user_quota.json",
        Trouble.UNAUTHORIZED,
        "HTTP 403: insufficient_user_quota: 用户额度不足, 剩余额度: \N{FULLWIDTH DOLLAR SIGN}0.000000",
    ),
    (
        "newapi_error_403_quota_not_enough_2025.json",
        Trouble.UNAUTHORIZED,
        "HTTP 403: quota_not_enough: user quota is not enough",
    ),
    ("newapi_error_404_invalid_url.json", Trouble.NOT_FOUND, "HTTP 404: Invalid URL (POST /v1/suno/fetch)"),
    (
        "newapi_error_429_upstream_saturated.json",
        Trouble.RATE_LIMITED,
        "HTTP 429: fail_to_fetch_task: 当前分组上游负载已饱和\N{FULLWIDTH COMMA}请稍后再试",
    ),
    (
        "newapi_error_500_get_tasks_failed.json",
        Trouble.SERVER_ERROR,
        "HTTP 500: get_tasks_failed: Error 1040: Too many connections",
    ),
    (
        "newapi_error_500_panic.json",
        Trouble.SERVER_ERROR,
        (
            "HTTP 500: Panic detected, error: runtime error: invalid memory address or nil pointer "
            "dereference. Please submit a issue here: https://github.com/Calcium-Ion/new-api"
        ),
    ),
    (
        "newapi_error_503_no_channel.json",
        Trouble.SERVER_ERROR,
        (
            "HTTP 503: No available channel for model suno_music under group default (distributor) "
            "(request id: 20260707134006123456789AbCdEfGh)"
        ),
    ),
    (
        "newapi_error_503_system_overloaded.json",
        Trouble.SERVER_ERROR,
        "HTTP 503: system cpu overloaded (current: 97.1%, threshold: 90%)",
    ),
    (
        "onehub_error_401_short_token.json",
        Trouble.UNAUTHORIZED,
        "HTTP 401: 无效的令牌 (request id: 2026022010111213AbCdEf)",
    ),
    ("sunoapi_error_401.json", Trouble.UNAUTHORIZED, "HTTP 401: invalid_request: unauthorized secret token"),
    (
        "sunoapi_error_suno_status_passthrough_402.json",
        Trouble.UNAUTHORIZED,
        "HTTP 402: invalid_request: 402 Payment Required",
    ),
    ("newapi_submit_success.json", Trouble.ENVELOPE, "HTTP 200: success"),
    ("newapi_submit_success_public_id.json", Trouble.ENVELOPE, "HTTP 200: success"),
]

# Refusals that a batch takes as the gateway's, and a single fetch as a word about the id.
UNKNOWN_IDS = [
    ("newapi_error_400_submit_prompt_empty.json", Trouble.REFUSED, "HTTP 400: invalid_request: prompt_empty"),
    ("newapi_error_400_task_not_exist.json", Trouble.REFUSED, "HTTP 400: task_not_exist: task_not_exist"),
    ("onehub_error_404_task_not_exist.json", Trouble.NOT_FOUND, "HTTP 404: task_not_exist"),
    ("sunoapi_error_400_task_not_exist.json", Trouble.REFUSED, "HTTP 400: invalid_request: task not exist"),
]

NOTHING_FOUND = [
    "newapi_fetch_empty_ids.json",
    "newapi_fetch_unknown_ids_null.json",
    "newapi_fetch_single_empty_body_fallback.json",
    "sunoapi_fetch_batch_unknown_ids.json",
]


@pytest.mark.parametrize("sight", SIGHTS, ids=lambda sight: sight.name)
@pytest.mark.parametrize("fetch", Fetch, ids=str)
def test_a_sample_shows_its_task(sight: Sight, fetch: Fetch) -> None:
    """Each sample is read to its exact status, word, reason, times and data, however it was fetched."""
    reply = read(sight.name, fetch=fetch, asked=sight.task_id)

    assert reply == Good(
        observations={
            sight.task_id: Seen(
                status=sight.status,
                upstream_status=sight.word,
                progress=sight.progress,
                fail_reason=sight.fail_reason,
                times=sight.times,
                data=None if sight.data is None else data_in(sight.name, sight.data),
            ),
        },
    )


@pytest.mark.parametrize("sight", SIGHTS, ids=lambda sight: sight.name)
def test_a_sample_without_the_asked_id_shows_nothing_of_it(sight: Sight) -> None:
    """A stranger's item in a batch leaves the asked id absent, and is told in one line."""
    reply = read(sight.name, fetch=Fetch.BATCH, asked="another")

    assert isinstance(reply, Good)
    assert reply.observations == {"another": Absent()}
    assert len(reply.oddities) == 1
    assert reply.oddities[0].startswith("a row nobody asked for: {")


@pytest.mark.parametrize(("name", "trouble", "message"), REFUSALS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("fetch", Fetch, ids=str)
def test_a_sample_of_trouble(name: str, trouble: Trouble, message: str, fetch: Fetch) -> None:
    """Each refusal is the gateway's trouble and says why in one line."""
    assert read(name, fetch=fetch, asked="x") == Bad(trouble=trouble, message=message)


@pytest.mark.parametrize(("name", "trouble", "message"), UNKNOWN_IDS, ids=lambda value: str(value)[:60])
def test_a_sample_of_an_unknown_id(name: str, trouble: Trouble, message: str) -> None:
    """A JSON 400 or 404 is trouble for a batch, and absence of the one id for a single fetch."""
    assert read(name, fetch=Fetch.BATCH, asked="x") == Bad(trouble=trouble, message=message)
    assert read(name, fetch=Fetch.SINGLE, asked="x") == Good(observations={"x": Absent()})


@pytest.mark.parametrize("name", NOTHING_FOUND)
@pytest.mark.parametrize("fetch", Fetch, ids=str)
def test_a_sample_of_nothing_found(name: str, fetch: Fetch) -> None:
    """`null` and `[]` are good answers: the asked id is absent."""
    assert read(name, fetch=fetch, asked="x") == Good(observations={"x": Absent()})


def test_an_answer_to_a_submit_names_a_task_and_no_status() -> None:
    """GoAmz's answer to a submit is no observation of the task, only one that cannot be read."""
    reply = read("goamz_submit_success.json", fetch=Fetch.SINGLE, asked=GOAMZ)

    excerpt = f'{{ "task_id": "{GOAMZ}" }}'
    assert reply == Good(
        observations={GOAMZ: Unreadable(excerpt=excerpt)},
        oddities=(f"cannot be read: {excerpt}",),
    )


def test_every_sample_is_read() -> None:
    """No file of the folder is left out of the tables above, and each is named in SOURCES.md."""
    read_here = {
        *(sight.name for sight in SIGHTS),
        *(name for name, _, _ in [*REFUSALS, *UNKNOWN_IDS]),
        *NOTHING_FOUND,
        "goamz_submit_success.json",
    }
    sources = (SAMPLES / "SOURCES.md").read_text(encoding="utf-8")

    files = {path.name for path in SAMPLES.iterdir()} - {"SOURCES.md"}

    assert read_here == files
    assert [name for name in sorted(files) if Path(name).stem not in sources] == []
