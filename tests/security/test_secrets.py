"""No secret of the settings is in anything that somebody else can read, whatever goes wrong.

Each setting that can hold a secret holds a recognisable one, and real programs meet every kind of trouble.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
from celery import Celery
from pytest_httpserver import HTTPServer
from sqlalchemy import make_url
from werkzeug import Request, Response

from tests.processes import command_line, processes
from tests.programs import Program, running
from tests.servers import PostgresServer, serve_postgres
from worker.db.migrate import upgrade
from worker.db.session import make_engine
from worker.embedded.valkey import free_port, launch_valkey
from worker.settings import load_settings

# They share one installation, so they run in one process of the test run.
pytestmark = pytest.mark.xdist_group("secrets")

API_KEY = "leak-of-the-api-key-which-has-no-prefix"
DATABASE = "leak-of-the-database"
FLOWER = "leak-of-flower"
WEBHOOK = "leakOfTheWebhookSecretleakOfTheWebhookSecret"
WRONG = "leak-of-a-wrong-password"
LEAK = "leak"  # in every one of them, and in nothing else, in any case

VERBS = (["status"], ["check"], ["show", "song"], ["settings", "--json"])
REFUSED = (["check"], ["migrate"], ["enqueue", "song", "--action", "MUSIC"])
MISTAKES = (
    {
        "WORKER_DATABASE_URL": f"postgresql+psycopg://worker:{WRONG}@host:port/database",
        "WORKER_BROKER_URL": f"redis://:{WRONG}@host:port/0",
        "WORKER_RESULT_BACKEND": f"redis://:{WRONG}@host:port/0",
        "WORKER_GATEWAYS__MAIN__BASE_URL": f"https://user:{WRONG}@gateway.example",
        "WORKER_GATEWAYS__MAIN__API_KEY": f"{WRONG} with a space",
        "WORKER_GATEWAYS__MAIN__WEBHOOK_SECRET": WRONG,
        "WORKER_WEBHOOK_SECRET": f"whsec_{WRONG}",
    },
    {
        "WORKER_DATABASE_URL": f"mysql://worker:{WRONG}@host/database",
        "WORKER_BROKER_URL": f"amqp://:{WRONG}@host/0",
    },
)
PAGES = (
    "/",
    "/broker",
    "/tasks",
    "/metrics",
    "/api/workers?refresh=1",
    "/api/tasks",
    "/api/task/types",
    "/api/queues/length",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A worker, a Beat and a Flower with secrets everywhere, between a gateway that refuses its key.

    `secrets` are all that the settings hold, the broker's password included, which is drawn at random.
    """

    worker: Program
    beat: Program
    flower: Program
    flower_url: str
    settings: dict[str, str]
    secrets: tuple[str, ...]
    server: PostgresServer
    folder: Path

    def assert_kept(self, text: str, *, where: str) -> None:
        """Fail when `text` holds a secret."""
        assert text.strip(), f"{where} said nothing"
        found = [secret for secret in self.secrets if secret.casefold() in text.casefold()]
        assert found == [], f"{where} told {found}:\n{text}"


@pytest.fixture(scope="module")
def locked_server() -> Iterator[PostgresServer]:
    """Give a PostgreSQL that asks the role `worker` for its password."""
    with serve_postgres() as server:
        with psycopg.connect(host=str(server.folder), user="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE ROLE worker LOGIN SUPERUSER PASSWORD '{DATABASE}'")
            hba = server.folder / "data" / "pg_hba.conf"
            hba.write_text("local all worker scram-sha-256\n" + hba.read_text())
            connection.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture(scope="module")
def gateway_url(httpserver_module: HTTPServer) -> str:
    """Give a gateway that refuses the key, and says it back."""

    def refuse(request: Request) -> Response:
        return Response(f'{{"error": "bad key {request.headers["authorization"]}"}}', status=401)

    httpserver_module.expect_request("/suno/fetch").respond_with_handler(refuse)
    return httpserver_module.url_for("").rstrip("/")


@pytest.fixture(scope="module")
def httpserver_module() -> Iterator[HTTPServer]:
    """Give an HTTP server to the module."""
    with HTTPServer(host="127.0.0.1") as server:
        yield server


@pytest.fixture(scope="module")
def scene(
    locked_server: PostgresServer, gateway_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Give an installation that watches a task, and whose gateway has refused its key."""
    folder = tmp_path_factory.mktemp("secrets")
    database_url = f"postgresql+psycopg://worker:{DATABASE}@/postgres?host={locked_server.folder}"
    engine = make_engine(database_url)
    upgrade(engine)
    engine.dispose()
    port = free_port()
    with ExitStack() as stack:
        broker = launch_valkey(folder=folder / "valkey")
        stack.callback(broker.stop)
        settings = {
            "WORKER_DATABASE_URL": database_url,
            "WORKER_BROKER_URL": broker.url,
            "WORKER_RESULT_BACKEND": broker.url.removesuffix("/0") + "/1",
            "WORKER_GATEWAYS__MAIN__BASE_URL": gateway_url,
            "WORKER_GATEWAYS__MAIN__API_KEY": API_KEY,
            "WORKER_GATEWAYS__MAIN__AUTH_PREFIX": "",
            "WORKER_WEBHOOK_SECRET": f"whsec_{WEBHOOK}",
            "WORKER_FIRST_POLL_DELAY": "0",
            "WORKER_LOG_LEVEL": "DEBUG",
            "FLOWER_BASIC_AUTH": f"me:{FLOWER}",
        }
        programs = [
            stack.enter_context(running(*words, settings=settings, folder=folder))
            for words in (["worker"], ["beat"], ["flower", "--address=127.0.0.1", f"--port={port}"])
        ]
        programs[0].wait_for(" ready.")
        with closing(Celery(broker=broker.url)) as sender:
            sender.send_task("suno.enqueue", kwargs={"task_id": "song", "action": "MUSIC"}, queue="enqueue")
        programs[0].wait_for("trouble=unauthorized")
        yield Scene(
            worker=programs[0],
            beat=programs[1],
            flower=programs[2],
            flower_url=f"http://127.0.0.1:{port}",
            settings=settings,
            secrets=(LEAK, broker.password),
            server=locked_server,
            folder=folder,
        )


def call(*words: str, settings: Mapping[str, str], folder: Path) -> str:
    """Run a program of ours to its end; return all that it wrote."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_verb_tells_a_secret(scene: Scene, verb: list[str]) -> None:
    """What a verb prints of a running installation, whose gateway has said our key back, holds no secret."""
    scene.assert_kept(call("worker", *verb, settings=scene.settings, folder=scene.folder), where=verb[0])


@pytest.mark.parametrize("verb", REFUSED, ids=" ".join)
def test_no_verb_tells_a_refused_password(scene: Scene, verb: list[str]) -> None:
    """What a verb prints while database and broker refuse our passwords holds none of them."""
    wrong = {
        "WORKER_DATABASE_URL": scene.settings["WORKER_DATABASE_URL"].replace(DATABASE, WRONG),
        "WORKER_BROKER_URL": with_password(scene.settings["WORKER_BROKER_URL"], WRONG),
    }
    scene.assert_kept(
        call("worker", *verb, settings=scene.settings | wrong, folder=scene.folder), where=verb[0]
    )


@pytest.mark.parametrize("mistakes", MISTAKES, ids=["unreadable", "of another kind"])
@pytest.mark.parametrize("words", [["worker", "check"], ["celery", "-A", "worker", "worker"]], ids=" ".join)
def test_no_mistake_in_a_setting_tells_it(scene: Scene, words: list[str], mistakes: dict[str, str]) -> None:
    """Settings that cannot be used are named and not quoted."""
    said = call(*words, settings=scene.settings | mistakes, folder=scene.folder)

    assert [name for name in mistakes if name not in said] == []
    scene.assert_kept(said, where=" ".join(words))


def test_celery_reports_no_secret(scene: Scene) -> None:
    """What Celery tells of its own configuration, here and over the broker, holds no secret."""
    for words in (["report"], ["inspect", "conf"]):
        said = call("celery", "-A", "worker", *words, settings=scene.settings, folder=scene.folder)
        scene.assert_kept(said, where=" ".join(words))


def test_flower_shows_no_secret(scene: Scene) -> None:
    """No page and no answer of Flower's API holds a secret, also for who has its password."""
    with httpx.Client(
        base_url=scene.flower_url, auth=("me", FLOWER), trust_env=False, timeout=30, follow_redirects=True
    ) as http:
        wait_until_answering(scene.flower, http)
        answers = (http.get("/api/workers?refresh=1").json() for _ in range(10))  # each waits 1 s for it
        (name,) = next(filter(None, answers), {})
        for path in (*PAGES, f"/worker/{name}"):
            answer = http.get(path)
            assert answer.status_code == 200, path
            scene.assert_kept(answer.text, where=path)


def test_flower_tells_a_stranger_nothing(scene: Scene) -> None:
    """Without its password no page and no answer of the API is given, /metrics excepted."""
    with httpx.Client(base_url=scene.flower_url, trust_env=False, timeout=30) as http:
        wait_until_answering(scene.flower, http)
        answers = {path: http.get(path).status_code for path in PAGES}
    assert {path: code for path, code in answers.items() if code != 401} == {"/metrics": 200}


def test_the_process_list_holds_no_secret(scene: Scene) -> None:
    """No command line of this machine holds one of ours, the broker's and Celery's included."""
    lines = [command_line(pid) for pid in processes()]

    assert [line for line in lines if "valkey-server" in line] != []
    assert [line for line in lines if any(secret in line for secret in scene.secrets)] == []


def test_no_log_line_tells_a_secret(scene: Scene) -> None:
    """At DEBUG, through a refused key, a broker and a database that refuse us, and a traceback."""
    database = psycopg.connect(
        host=str(scene.server.folder), user="worker", password=DATABASE, dbname="postgres", autocommit=True
    )
    sender = Celery(broker=scene.settings["WORKER_BROKER_URL"])
    with database, closing(sender), redis.Redis.from_url(scene.settings["WORKER_BROKER_URL"]) as broker:
        database.execute("ALTER TABLE poll_batches RENAME TO gone")
        scene.worker.wait_for("Traceback")
        database.execute("ALTER TABLE gone RENAME TO poll_batches")
        database.execute(f"ALTER ROLE worker PASSWORD '{WRONG}'")
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'suno-worker'"
        database.execute(cut)
        scene.worker.wait_for("password authentication failed")
        database.execute(f"ALTER ROLE worker PASSWORD '{DATABASE}'")
        broker.config_set("requirepass", WRONG)
        broker.client_kill_filter(_type="normal", skipme=True)
        broker.client_kill_filter(_type="pubsub", skipme=True)
        scene.worker.wait_for("invalid username-password pair")
        broker.config_set("requirepass", scene.secrets[1])

    for name in ("worker", "beat", "flower"):
        program: Program = getattr(scene, name)
        scene.assert_kept(program.output.text + "\n.", where=name)


def test_no_repr_tells_a_secret(scene: Scene) -> None:
    """What a debugger or a careless line of log would print of the settings holds no secret."""
    settings = load_settings(scene.settings)

    for value in (settings, settings.gateways, settings.webhook_secret, settings.broker_url):
        scene.assert_kept(f"{value!r} {value}", where="repr")


def with_password(url: str, password: str) -> str:
    """Return the broker's URL with another password."""
    return make_url(url).set(password=password).render_as_string(hide_password=False)


def wait_until_answering(program: Program, http: httpx.Client) -> None:
    """Return when Flower serves; fail when it ends first."""
    while True:
        try:
            http.get("/healthcheck")
        except httpx.TransportError:
            with pytest.raises(subprocess.TimeoutExpired):
                program.child.wait(timeout=0.05)
        else:
            return
