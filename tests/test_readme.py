"""README and code say the same."""

from __future__ import annotations

import base64
import json
import re
import shlex
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import redis
import yaml
from sqlalchemy import Engine, select

from tests.factory import add_gateway
from tests.pages import ROOT, Page, check_usage
from worker.celery import QUEUES, ROUTES
from worker.cli import VERBS
from worker.cli.configuration import readable
from worker.core import webhook
from worker.core.lifecycle import Action, Status, Times
from worker.core.origins import (
    COLD_LIMIT,
    FAILURES_TO_OPEN,
    FIRST_LIMIT,
    FIRST_OPENING,
    LONGEST_OPENING,
    WARM_FOR,
)
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE, SUSPECT_SCHEDULE
from worker.core.signature import decode_secret, new_secret
from worker.core.verdicts import Answered, Delivered, Discarded, Retry, Verdict, judge
from worker.core.webhook import Result, encode_body
from worker.db.models import SunoTask
from worker.db.session import make_engine, make_sessions
from worker.dispatcher import RESERVE, SLOTS
from worker.request import ARGUMENTS, parse_request
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import hosted
from worker.settings import Settings
from worker.settings.gateway import LARGEST_BATCH, SINGLE_BATCH, Gateway
from worker.settings.sources import sources
from worker.version import __version__

PAGE = Page.read("README.md")
README = PAGE.text
WEBHOOKS = Page.read("docs/webhooks.md").text
DEPENDENCIES = Page.read("docs/dependencies.md")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXAMPLE_BROKER = "redis://:PASSWORD@localhost:6379/0"
EXAMPLE_DATABASE = "postgresql+psycopg://worker:PASSWORD@localhost/worker"

RESULT = Result(
    task_id="t",
    notify_hook="https://example.com/hook",
    action=Action.MUSIC,
    status=Status.SUCCESS,
    fail_reason="",
    times=Times(),
    progress=100,
    data="[]",
)


SENT = webhook.headers(
    delivery_id="msg_1", attempt=1, timestamp=0, secrets=[b"s" * 24], body=b"", version=__version__
)


def row(variable: str, *, default: str | None, unit: str, meaning: str | None) -> str:
    """Return one line of a table of settings."""
    shown = "" if default is None else f"`{readable(default)}`"
    return f"| `{variable}` | {shown} | {unit} | {meaning} |"


def settings_table() -> str:
    """Return the table of settings as the code has it."""
    defaults = {one.variable: one for one in sources(Settings())}
    rows = [
        row(variable, default=found.value, unit=found.unit, meaning=field.description)
        for name, field in Settings.model_fields.items()
        for variable in [f"WORKER_{name.upper()}"]
        for found in [defaults.get(variable)]
        if found is not None
    ]
    return "\n".join(["| variable | default | unit | what |", "| --- | --- | --- | --- |", *rows])


def gateways_table() -> str:
    """Return the table of a gateway's settings as the code has it."""
    gateway = Gateway(name="x", base_url="https://h", api_key="k")  # type: ignore[arg-type] # read from text
    found = {one.variable: one for one in sources(Settings(gateways={"x": gateway}))}
    rows = []
    for name, field in Gateway.model_fields.items():
        if name == "name":
            continue
        source = found[f"WORKER_GATEWAYS__X__{name.upper()}"]
        default = None if field.is_required() else source.value
        meaning = f"{field.description}{' (required)' if field.is_required() else ''}"
        if name == "batch_size":
            meaning = f"{field.description}; `single` has {SINGLE_BATCH}"
            assert default == str(LARGEST_BATCH)
        variable = f"WORKER_GATEWAYS__<NAME>__{name.upper()}"
        rows.append(row(variable, default=default, unit=source.unit, meaning=meaning))
    return "\n".join(["| variable | default | unit | what |", "| --- | --- | --- | --- |", *rows])


def test_settings() -> None:
    """README's tables of settings are those of the code: names, defaults, units, meanings."""
    assert settings_table() in README
    assert gateways_table() in README


def test_variables() -> None:
    """README names no variable that does not exist."""
    known = {f"WORKER_{name.upper()}" for name in Settings.model_fields} - {"WORKER_GATEWAYS"}
    known |= {
        f"WORKER_GATEWAYS__{name}__{key.upper()}"
        for name in ("<NAME>", "MYGATEWAY", "RIXAPI")
        for key in Gateway.model_fields
    }

    assert set(re.findall(r"WORKER_[A-Z_<>]+", README)) <= known


@pytest.mark.parametrize("words", PAGE.commands("suno-worker"), ids=shlex.join)
def test_commands(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `suno-worker …` of README is a command with such options."""
    check_usage(words, folder=tmp_path, monkeypatch=monkeypatch)


@pytest.mark.parametrize("words", PAGE.commands("celery"), ids=shlex.join)
def test_celery_commands(words: list[str]) -> None:
    """Every `celery …` of README runs this app, and names queues that exist."""
    assert words[1:3] == ["-A", "worker"]
    assert words[3:4] in ([], ["worker"], ["beat"], ["flower"])
    if "-Q" in words:
        assert words[words.index("-Q") + 1] in QUEUES


def test_compose_commands() -> None:
    """What README copies and scales is in the repository and in the compose file."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    scaled = [words[-1] for words in PAGE.commands("docker") if "--scale" in words]

    assert [one.partition("=")[0] in services for one in scaled] == [True]
    assert all((ROOT / words[-2]).is_file() for words in PAGE.commands("cp"))


def test_verbs() -> None:
    """README's table of commands is the list of `suno-worker --help`."""
    shown = {cells[0].strip("`"): cells[1] for cells in PAGE.table(first="command")}

    assert shown == {verb: line for verb, (_, line) in VERBS.items()}


def test_celery_tasks() -> None:
    """README's table of Celery tasks has every task with its queue."""
    shown = {name.strip("`"): queue.strip("`") for name, queue, *_ in PAGE.table(first="Celery task")}

    assert shown == ROUTES


def test_arguments() -> None:
    """README's table of arguments has every one that an enqueue takes."""
    assert tuple(cells[0].strip("`") for cells in PAGE.table(first="argument")) == ARGUMENTS


def test_callback() -> None:
    """README's example of a webhook has the headers and the fields that are sent, in their order."""
    head, _, body = PAGE.block("http", holding="notify_hook").partition("\n\n")
    request, *lines = head.splitlines()
    shown = dict(line.split(": ") for line in lines)

    assert list(json.loads(body)) == list(json.loads(encode_body(RESULT)))
    assert list(shown) == list(SENT)
    assert {name: shown[name] for name in ("content-type", "user-agent")} == {
        "content-type": SENT["content-type"],
        "user-agent": f"suno-worker/{__version__}",
    }
    assert int(shown["webhook-timestamp"]) > json.loads(body)["finish_time"]
    assert json.loads(body)["notify_hook"].endswith(request.split()[1])


def test_headers() -> None:
    """README lists the headers that are sent."""
    assert [cells[0].strip("`") for cells in PAGE.table(first="header")] == list(SENT)


def run(code: str) -> dict[str, object]:
    """Run an example as its reader would; return its names."""
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102 - our own README
    return names


def test_answers() -> None:
    """The table of answers says what follows from each of them, with the waits that the schedules have."""
    rows = dict(re.findall(r"^\| (2xx|410|408, 425.*?|3xx.*?) \| .*? \| (.*?) \|$", README, re.MULTILINE))
    assert len(rows) == 4
    spoken = {
        "2xx": [200, 204, 299],
        "410": [410],
        "408": [408, 425, 429, 500, 503, 599],
        "3xx": [301, 400, 404, 499],
    }
    for words, promise in rows.items():
        for code in spoken[words[:3]]:
            lasting = [judged(code, attempt_count=count) for count in range(1, 13)]
            attempts = next((n for n, one in enumerate(lasting, start=1) if not isinstance(one, Retry)), None)
            match words[:3]:
                case "2xx":
                    assert (promise, lasting[0]) == ("done", Delivered())
                case "410":
                    assert (promise, attempts) == ("discarded at once", 1)
                    assert isinstance(lasting[0], Discarded)
                case "408":
                    assert promise.endswith(f"then discarded: {attempts} attempts in 47 h")
                    assert waits(promise) == list(DEFAULT_RETRY_SCHEDULE)
                case _:
                    assert waits(promise) == list(SUSPECT_SCHEDULE)
                    assert attempts == len(SUSPECT_SCHEDULE) + 1


def test_limits_of_an_origin() -> None:
    """The numbers of the limit and the breaker are the code's."""
    text = " ".join(WEBHOOKS.split())
    assert f"first gets at most {FIRST_LIMIT} requests at once" in text
    assert f"After {FAILURES_TO_OPEN} times in a row" in text
    assert (
        f"left alone for {FIRST_OPENING.seconds} s, doubling to {LONGEST_OPENING.seconds // 60} min" in text
    )
    assert f"within the last {WARM_FOR.seconds} s begins with at most {COLD_LIMIT} requests" in text
    assert RESERVE * 4 == SLOTS
    assert f"a quarter of each worker's {SLOTS:,} slots" in text


def judged(code: int, *, attempt_count: int) -> Verdict:
    """Return what follows from the n-th answer of this status, without jitter."""
    outcome = Answered(status_code=code, retry_after=None, excerpt="")
    now = datetime(2026, 11, 21, tzinfo=UTC)
    schedule = DEFAULT_RETRY_SCHEDULE
    return judge(outcome, attempt_count=attempt_count, retry_schedule=schedule, now=now, jitter=0.0)


def waits(promise: str) -> list[timedelta]:
    """Return the waits that a row names: "5 s, 30 s, 2 min, … 1, 3 and 24 h"."""
    units = {"s": "seconds", "min": "minutes", "h": "hours"}
    found: list[timedelta] = []
    for numbers, unit in re.findall(
        r"((?:\d+(?:, | and ))*\d+) (s|min|h)\b", promise.split(", then", maxsplit=1)[0]
    ):
        found += [timedelta(**{units[unit]: int(number)}) for number in re.findall(r"\d+", numbers)]
    return found


def test_verification(capsys: pytest.CaptureFixture[str]) -> None:
    """README's receiver takes our webhook once, and refuses it when a byte differs or the headers are odd."""
    whsec = new_secret(b"s" * 32)
    receive = run(PAGE.block("python", holding="standardwebhooks").replace("whsec_…", whsec))["receive"]
    assert callable(receive)
    body = encode_body(RESULT)
    headers = webhook.headers(
        delivery_id="msg_1",
        attempt=1,
        timestamp=int(datetime.now(UTC).timestamp()),
        secrets=[decode_secret(whsec)],
        body=body,
        version="1",
    )

    assert [receive(body, headers), receive(body, headers)] == [204, 204]
    assert receive(body + b" ", headers) == 401
    assert receive(body, headers | {"webhook-signature": "nonsense"}) == 401
    assert capsys.readouterr().out == "t SUCCESS\n"


def test_send_task(broker_url: str) -> None:
    """README's sender puts one message into the list `enqueue`, with arguments that are taken."""
    run(PAGE.block("python", holding="send_task").replace(EXAMPLE_BROKER, broker_url))

    with redis.Redis.from_url(broker_url) as client:
        (message,) = client.lrange("enqueue", 0, -1)
    task = json.loads(message)
    assert task["headers"]["task"] == "suno.enqueue"
    _, arguments, _ = json.loads(base64.b64decode(task["body"]))
    assert parse_request(arguments).notify_hook == "https://example.com/hook"


def test_own_transaction(postgresql_url: str) -> None:
    """README's transaction puts the task under watch."""
    engine = make_engine(postgresql_url)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        add_gateway(session, name="mygateway")

    names = run(PAGE.block("python", holding="create_engine").replace(EXAMPLE_DATABASE, postgresql_url))

    with sessions() as session:
        assert session.scalars(select(SunoTask.gateway)).all() == ["mygateway"]
    engine.dispose()
    theirs = names["engine"]
    assert isinstance(theirs, Engine)
    theirs.dispose()


def test_flower_request() -> None:
    """README's request to Flower sends arguments that are taken."""
    (words,) = [one for one in PAGE.commands("curl") if "-u" in one]

    assert words[3].endswith("/api/task/send-task/suno.enqueue")
    assert parse_request(json.loads(words[5])["kwargs"]).task_id == "TASK_ID"


def test_submit() -> None:
    """README's submit begins a song at a gateway with the preset's variables; it answers as shown."""
    (words,) = [one for one in PAGE.commands("curl") if "-u" not in one]
    url = words[1].removeprefix("$WORKER_GATEWAYS__RIXAPI__BASE_URL")
    headers = dict(words[at + 1].split(": ") for at, word in enumerate(words) if word == "-H")
    key = headers.pop("Authorization").replace("$WORKER_GATEWAYS__RIXAPI__API_KEY", "sk-1")
    gateway = SandboxGateway(clock=lambda: datetime.now(UTC), api_key="sk-1")

    with hosted(gateway.app()) as address:
        answer = httpx.post(
            f"{address}/rixapi{url}",
            headers=headers | {"Authorization": key},
            content=words[words.index("-d") + 1],
        )

    (shown,) = re.findall(r'^\{"code".*$', README, re.MULTILINE)
    assert answer.status_code == 200
    assert answer.json() | {"data": ""} == json.loads(shown) | {"data": ""}


def test_dependencies() -> None:
    """Every dependency is explained, and none that is gone."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    needed = {name_of(one) for one in project["dependencies"]} | {
        f"{name_of(one)} (extra `{extra}`)"
        for extra, ones in extras.items()
        if extra != "dev"
        for one in ones
    }
    (development,) = re.findall(r"^For development: (.*?)\Z", DEPENDENCIES.text, re.DOTALL | re.MULTILINE)

    assert {cells[0] for cells in DEPENDENCIES.table(first="package")} == needed
    for one in extras["dev"][1:]:
        name = name_of(one)
        assert name.removeprefix("pytest-") in development, name


def name_of(requirement: str) -> str:
    """Return the name of a requirement, extras included."""
    return re.split(r"[<>=]", requirement)[0]


def test_links() -> None:
    """README's links into the repository lead to files."""
    for target in PAGE.links():
        assert (ROOT / target).exists(), target
