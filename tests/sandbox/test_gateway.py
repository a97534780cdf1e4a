from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.sandbox.moment import MORNING, Clock
from worker.sandbox.faults import Fault, FaultKind
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import hosted
from worker.sandbox.songs import SimulatedTask, Stage

# Spaces, an escaped and a raw non-ASCII letter, a doubled name and a number that no float holds: what a JSON
# library would tidy up.
ODD_DATA = '[ {"a" : 1.10, "b":"\\u00e9é",\n "a":12345678901234567890.123456789, "c":1e400} ]'

NEW_API_FIELDS = [
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


@pytest.fixture
def clock() -> Clock:
    """Give the gateway's clock."""
    return Clock()


@pytest.fixture
def gateway(clock: Clock) -> SandboxGateway:
    """Give a gateway whose music takes 8 s."""
    return SandboxGateway(clock=clock, lasts=timedelta(seconds=8))


@pytest.fixture
def http(gateway: SandboxGateway) -> Iterator[httpx.Client]:
    """Give a client that speaks with the served gateway."""
    with hosted(gateway.app()) as url, httpx.Client(base_url=url, timeout=5, trust_env=False) as client:
        yield client


def submit(http: httpx.Client, *, prefix: str = "", action: str = "MUSIC", **wish: object) -> str:
    """Submit a task and return its id."""
    answer = http.post(f"{prefix}/suno/submit/{action}", json={"prompt": "rain", "sandbox": wish})
    data = answer.json()["data"]
    return str(data["task_id"] if isinstance(data, dict) else data)


@pytest.mark.parametrize("prefix", ["", "/openai-hub", "/rixapi", "/suno-api"])
def test_the_family_answers_a_submit_with_the_id(http: httpx.Client, prefix: str) -> None:
    """New-API and its origin put the id itself into `data`."""
    answer = http.post(f"{prefix}/suno/submit/music", json={"prompt": "rain", "sandbox": {"task_id": "t-1"}})

    assert answer.json() == {"code": "success", "message": "", "data": "t-1"}


def test_goamz_wraps_the_id(http: httpx.Client) -> None:
    """GoAmz answers a submit with an object and the number 200."""
    answer = http.post("/nengyongai/suno/submit/MUSIC", json={"sandbox": {"task_id": "t-1"}})

    assert answer.json() == {"code": 200, "data": {"task_id": "t-1"}, "message": "success"}


def test_a_task_walks_to_its_end(http: httpx.Client, clock: Clock) -> None:
    """Polling shows SUBMITTED, IN_PROGRESS with rising progress, and SUCCESS."""
    task_id = submit(http)
    seen = []
    for _ in range(5):
        (item,) = http.post("/suno/fetch", json={"ids": [task_id], "action": "MUSIC"}).json()["data"]
        seen.append((item["status"], item["progress"]))
        clock.pass_(2)

    assert seen == [
        ("SUBMITTED", "0%"),
        ("IN_PROGRESS", "25%"),
        ("IN_PROGRESS", "50%"),
        ("IN_PROGRESS", "75%"),
        ("SUCCESS", "100%"),
    ]


@pytest.mark.parametrize("name", ["seed_openai_hub_fetch_batch.json", "seed_rixapi_fetch_batch.json"])
def test_new_api_items_have_the_fields_of_the_documents(
    http: httpx.Client, clock: Clock, samples: Path, name: str
) -> None:
    """An item and its clips name the same fields, in the same order, as the documents' examples."""
    (example,) = json.loads((samples / name).read_text())["data"]
    task_id = submit(http, prefix="/openai-hub")
    clock.pass_(3)

    (item,) = http.post("/openai-hub/suno/fetch", json={"ids": [task_id]}).json()["data"]

    assert list(item) == list(example) == NEW_API_FIELDS
    assert list(item["data"][0]) == list(example["data"][0])


def test_goamz_has_the_shape_of_its_document(http: httpx.Client, clock: Clock, samples: Path) -> None:
    """The envelope and the task name the same fields as the document's example; clips are a map by id."""
    example = json.loads((samples / "seed_nengyongai_fetch_single_goamz.json").read_text())
    task_id = submit(http, prefix="/nengyongai")
    clock.pass_(9)

    answer = http.get(f"/nengyongai/suno/fetch/{task_id}").json()

    assert (list(answer), answer["code"], answer["message"]) == (list(example), 200, "success")
    assert list(answer["data"]) == list(example["data"])
    assert answer["data"]["status"] == "completed"
    assert list(answer["data"]["clips"]) == [f"{task_id}-1", f"{task_id}-2"]


def test_goamz_speaks_of_failure_in_its_own_words(http: httpx.Client, clock: Clock) -> None:
    """A failed task is `failed` and says why in `error`; before that `pending` and `processing`."""
    task_id = submit(http, prefix="/nengyongai", outcome="FAILURE", fail_reason="moderation failed")
    said = []
    for _ in range(3):
        said.append(http.get(f"/nengyongai/suno/fetch/{task_id}").json()["data"])
        clock.pass_(4)

    assert [data["status"] for data in said] == ["pending", "processing", "failed"]
    assert [data.get("error") for data in said] == [None, None, "moderation failed"]


def test_suno_api_gives_bare_clips(http: httpx.Client, clock: Clock) -> None:
    """A single fetch at the origin answers with clips alone, a batch item has no progress."""
    task_id = submit(http, prefix="/suno-api")
    clock.pass_(9)

    bare = http.get(f"/suno-api/suno/fetch/{task_id}").json()["data"]
    (item,) = http.post("/suno-api/suno/fetch", json={"ids": [task_id]}).json()["data"]

    assert [clip["status"] for clip in bare] == ["complete", "complete"]
    assert list(item) == [field for field in NEW_API_FIELDS if field not in {"notify_hook", "progress"}]


def test_lyrics_are_an_object_and_take_a_third(http: httpx.Client, clock: Clock) -> None:
    """A LYRICS task ends after a third of the time, with a text."""
    new_api, goamz = (submit(http, prefix=prefix, action="LYRICS") for prefix in ("", "/nengyongai"))
    clock.pass_(2.7)

    item = http.get(f"/suno/fetch/{new_api}").json()["data"]
    data = http.get(f"/nengyongai/suno/fetch/{goamz}").json()["data"]

    assert (item["action"], item["status"], item["data"]["status"]) == ("LYRICS", "SUCCESS", "complete")
    assert item["data"]["text"] == data["text"] == "[Verse]\nThe sandbox sings of\nrain"


def test_exact_data_leaves_byte_for_byte(http: httpx.Client, gateway: SandboxGateway) -> None:
    """The registered JSON text is in the answer as it is, in every form."""
    task = SimulatedTask(task_id="t", action="MUSIC", submitted_at=MORNING, lasts=timedelta(0), data=ODD_DATA)
    gateway.register(task)
    answers = [
        http.post("/suno/fetch", json={"ids": ["t"]}),
        http.get("/suno/fetch/t"),
        http.get("/nengyongai/suno/fetch/t"),
        http.get("/suno-api/suno/fetch/t"),
    ]

    assert [answer.content.count(b'"data":' + ODD_DATA.encode()) for answer in answers] == [1, 1, 1, 1]


def test_exact_data_waits_for_the_end(http: httpx.Client, clock: Clock) -> None:
    """Before the end the gateway shows nothing of the registered text."""
    task_id = submit(http, data=ODD_DATA)

    assert http.get(f"/suno/fetch/{task_id}").json()["data"]["data"] is None
    clock.pass_(8)
    assert ODD_DATA.encode() in http.get(f"/suno/fetch/{task_id}").content


def test_unknown_ids_are_answered_as_the_family_does(http: httpx.Client) -> None:
    """In a batch they are missing, with null for an empty list; a single fetch is a JSON 400."""
    task_id = submit(http)
    known = http.post("/suno/fetch", json={"ids": ["nobody", task_id, task_id]}).json()["data"]
    nothing = http.post("/suno/fetch", json={"ids": ["nobody"]})
    origin = http.post("/suno-api/suno/fetch", json={"ids": ["nobody"]})
    single = http.get("/suno/fetch/nobody")

    assert [item["task_id"] for item in known] == [task_id]
    assert nothing.json() == {"code": "success", "message": "", "data": None}
    assert origin.json()["data"] == []
    assert (single.status_code, single.json()["code"]) == (400, "task_not_exist")
    goamz = http.get("/nengyongai/suno/fetch/nobody")
    assert (goamz.status_code, goamz.json()) == (
        400,
        {"code": 400, "message": "task not exist", "data": None},
    )


def test_goamz_has_no_batch(http: httpx.Client) -> None:
    """A batch at GoAmz is a JSON 404."""
    answer = http.post("/nengyongai/suno/fetch", json={"ids": []})

    assert (answer.status_code, answer.json()["code"]) == (404, 404)


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("/suno/submit/VIDEO", "{}", "invalid_action"),
        ("/suno/submit/LYRICS", "{}", "prompt_empty"),
        ("/suno/submit/MUSIC", "{", "invalid_request: Input data was truncated"),
        (
            "/suno/submit/MUSIC",
            '{"sandbox": {"colour": 1}}',
            "invalid_request: Object contains unknown field",
        ),
        ("/suno/submit/MUSIC", '{"sandbox": {"data": "{"}}', "invalid_request: Input data was truncated"),
        ("/suno/fetch", '{"ids": [1]}', "invalid_request: Expected `str`, got `int`"),
    ],
)
def test_nonsense_is_refused(
    http: httpx.Client, gateway: SandboxGateway, path: str, body: str, problem: str
) -> None:
    """A request that cannot be understood is a JSON 400 that says why, and begins no task."""
    answer = http.post(path, content=body)

    assert answer.status_code == 400
    assert answer.json()["message"].startswith(problem)
    assert gateway.tasks == {}


@pytest.mark.parametrize(
    ("headers", "status_code"),
    [
        ({"Authorization": "Bearer key"}, 200),
        ({"Authorization": "key"}, 200),
        ({"X-API-Key": "key"}, 200),
        ({"Authorization": "Bearer other"}, 401),
        ({}, 401),
    ],
)
def test_a_key_is_asked_for(clock: Clock, headers: dict[str, str], status_code: int) -> None:
    """With an API key the gateway admits only those who carry it, in the usual headers."""
    gateway = SandboxGateway(clock=clock, api_key="key")
    with hosted(gateway.app()) as url:
        new_api = httpx.post(f"{url}/suno/fetch", json={"ids": []}, headers=headers)
        goamz = httpx.post(f"{url}/nengyongai/suno/submit/MUSIC", headers=headers)

    assert (new_api.status_code, goamz.status_code) == (status_code, status_code)


def test_the_log_tells_requests_without_their_keys(clock: Clock) -> None:
    """Each request is in the log with what it asked for; its key is nowhere."""
    gateway = SandboxGateway(clock=clock, api_key="the-key")
    with hosted(gateway.app()) as url:
        httpx.post(
            f"{url}/rixapi/suno/fetch",
            json={"ids": ["a"], "action": "MUSIC"},
            headers={"X-API-Key": "the-key"},
        )
        httpx.get(f"{url}/suno/fetch/b", headers={"Authorization": "the-key-mistyped"})
        answer = httpx.get(f"{url}/sandbox/requests")

    assert answer.json()["requests"] == [
        {
            "at": "2026-11-21T09:00:00Z",
            "method": "POST",
            "path": "/rixapi/suno/fetch",
            "task_ids": ["a"],
            "action": "MUSIC",
            "fault": None,
            "status_code": 200,
        },
        {
            "at": "2026-11-21T09:00:00Z",
            "method": "GET",
            "path": "/suno/fetch/b",
            "task_ids": ["b"],
            "action": "",
            "fault": None,
            "status_code": 401,
        },
    ]
    assert "the-key" not in answer.text


def test_tasks_can_be_listed(http: httpx.Client, clock: Clock) -> None:
    """The list says where each task stands now."""
    submit(http, task_id="t")
    clock.pass_(4)

    assert http.get("/sandbox/tasks").json()["tasks"] == [
        {
            "task_id": "t",
            "action": "MUSIC",
            "status": "IN_PROGRESS",
            "progress": 50,
            "submitted_at": "2026-11-21T09:00:00Z",
            "finished_at": None,
        }
    ]


def test_a_status_fault_is_used_up(http: httpx.Client, gateway: SandboxGateway) -> None:
    """A fault for two requests strikes two, and the third gets the right answer."""
    task_id = submit(http)
    http.post(
        "/sandbox/faults", json={"kind": "status", "status_code": 429, "requests": 2, "retry_after": "7"}
    )
    answers = [http.get(f"/suno/fetch/{task_id}") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert [answer.headers.get("retry-after") for answer in answers] == ["7", "7", None]
    assert answers[0].json()["error"]["type"] == "new_api_error"
    assert [seen.fault for seen in gateway.requests] == [None, "status", "status", None]


def test_a_fault_is_on_until_it_is_cleared(http: httpx.Client) -> None:
    """A fault without a number strikes its path alone, as often as one asks, until it is cleared."""
    task_id = submit(http)
    http.post("/sandbox/faults", json={"kind": "html", "path": "/rixapi/"})
    struck = [http.get(f"/rixapi/suno/fetch/{task_id}") for _ in range(3)]
    spared = http.get(f"/openai-hub/suno/fetch/{task_id}")
    listed = http.get("/sandbox/faults").json()["faults"]
    cleared = http.delete("/sandbox/faults").json()
    healed = http.get(f"/rixapi/suno/fetch/{task_id}")

    assert [(answer.status_code, answer.headers["content-type"]) for answer in struck] == [
        (200, "text/html; charset=utf-8")
    ] * 3
    assert (spared.json()["code"], healed.json()["code"]) == ("success", "success")
    assert [fault["kind"] for fault in listed] == ["html"]
    assert cleared == {"cleared": 1}


def test_a_fault_may_bring_its_own_body(http: httpx.Client, gateway: SandboxGateway) -> None:
    """The body and the content type of a status fault are the caller's to choose."""
    gateway.faults.switch_on(
        Fault(kind=FaultKind.STATUS, status_code=520, body="<h1>Unknown</h1>", content_type="text/html")
    )
    answer = http.get("/suno/fetch/t")

    assert (answer.status_code, answer.text) == (520, "<h1>Unknown</h1>")
    assert answer.headers["content-type"].startswith("text/html")


def test_an_empty_body_is_a_200_with_nothing(http: httpx.Client, gateway: SandboxGateway) -> None:
    """The fault `empty` answers 200 and not a single byte."""
    gateway.faults.switch_on(Fault(kind=FaultKind.EMPTY))
    answer = http.get("/suno/fetch/t")

    assert (answer.status_code, answer.content) == (200, b"")


def test_a_dropped_connection_has_no_status_line(http: httpx.Client, gateway: SandboxGateway) -> None:
    """The fault `drop` breaks the connection; the log knows the request and no status."""
    gateway.faults.switch_on(Fault(kind=FaultKind.DROP, requests=1))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        http.get("/suno/fetch/t")

    assert [(seen.fault, seen.status_code) for seen in gateway.requests] == [("drop", None)]
    assert http.get("/suno/fetch/t").status_code == 400


def test_a_hanging_request_ends_with_its_client(http: httpx.Client, gateway: SandboxGateway) -> None:
    """The fault `hang` never answers; the request is in the log, and the gateway still stops at once."""
    gateway.faults.switch_on(Fault(kind=FaultKind.HANG))
    with pytest.raises(httpx.ReadTimeout):
        http.get("/suno/fetch/t", timeout=0.2)

    assert [(seen.fault, seen.status_code) for seen in gateway.requests] == [("hang", None)]


def test_a_slow_answer_is_the_right_one(http: httpx.Client, gateway: SandboxGateway) -> None:
    """The fault `slow` only delays."""
    task_id = submit(http)
    gateway.faults.switch_on(Fault(kind=FaultKind.SLOW, seconds=0.2))
    answer = http.get(f"/suno/fetch/{task_id}")

    assert answer.json()["data"]["task_id"] == task_id
    assert answer.elapsed >= timedelta(seconds=0.2)


def test_missing_tasks_are_not_named(http: httpx.Client, gateway: SandboxGateway) -> None:
    """The fault `missing` leaves the chosen tasks out of a good answer."""
    first, second = submit(http), submit(http)
    gateway.faults.switch_on(Fault(kind=FaultKind.MISSING, task_ids=(first,)))
    batch = http.post("/suno/fetch", json={"ids": [first, second]}).json()["data"]

    assert [item["task_id"] for item in batch] == [second]
    assert http.get(f"/suno/fetch/{first}").status_code == 400
    assert http.get(f"/suno/fetch/{second}").status_code == 200


@pytest.mark.parametrize("prefix", ["", "/nengyongai", "/suno-api"])
def test_a_malformed_item_names_its_task(http: httpx.Client, gateway: SandboxGateway, prefix: str) -> None:
    """The fault `malformed` keeps the id and spoils the rest, and spares the other items."""
    first, second = submit(http), submit(http)
    gateway.faults.switch_on(Fault(kind=FaultKind.MALFORMED, task_ids=(first,)))
    spoiled = {"task_id": first, "status": [42], "progress": [], "fail_reason": {"?": None}}

    assert http.get(f"{prefix}/suno/fetch/{first}").json()["data"] == spoiled
    batch = http.post("/suno/fetch", json={"ids": [first, second]}).json()["data"]
    assert [item["status"] for item in batch] == [[42], "SUBMITTED"]


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"kind": "storm"}', '{"kind": "status", "requests": "two"}']
)
def test_a_fault_that_is_none_is_refused(http: httpx.Client, gateway: SandboxGateway, body: str) -> None:
    """What is not a fault is answered with 400 and a reason, and none is switched on."""
    answer = http.post("/sandbox/faults", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("not a fault: ")
    assert gateway.faults.on == []


def test_two_gateways_may_run_beside_each_other(clock: Clock) -> None:
    """Each served gateway has its own port and its own tasks."""
    one, other = SandboxGateway(clock=clock), SandboxGateway(clock=clock)
    with hosted(one.app()) as one_url, hosted(other.app()) as other_url:
        httpx.post(f"{one_url}/suno/submit/MUSIC")

    assert one_url != other_url
    assert (len(one.tasks), len(other.tasks)) == (1, 0)


def test_a_registered_task_replaces_an_older_one(gateway: SandboxGateway, http: httpx.Client) -> None:
    """Registering an id again changes what the gateway says of it."""
    task = SimulatedTask(task_id="t", action="MUSIC", submitted_at=MORNING, lasts=timedelta(0))
    gateway.register(task)
    gateway.register(replace(task, outcome=Stage.FAILURE, fail_reason="moderated"))
    item = msgspec.json.decode(http.get("/suno/fetch/t").content)["data"]

    assert (item["status"], item["fail_reason"], item["progress"]) == ("FAILURE", "moderated", "100%")
