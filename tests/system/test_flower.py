"""Flower as a person sees it: a real browser on a real installation with worker, Beat, Valkey and database.

With SCREENSHOTS=docs/images in the environment it also keeps the pictures that README shows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.system.debian import program
from tests.system.waiting import PATIENCE_S, wait_until
from tests.test_monitoring import ROOT
from worker.embedded.children import spawn
from worker.embedded.valkey import free_port
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import LOOPBACK, hosted
from worker.sandbox.receiver import SandboxReceiver
from worker.sandbox.sources import variables
from worker.sandbox.verification import make_verifier

# A busy machine takes its time: the first test starts an installation and a browser, and waits for a webhook.
pytestmark = pytest.mark.timeout(600)

API_KEY = "sk-of-the-gateway"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
LOGIN = ("me", "of-flower")
NAMES = ("suno.enqueue", "suno.poll", "suno.deliver", "suno.prune")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What a test sees of `suno-worker up --flower` between a simulated gateway and a receiver."""

    flower: str
    gateway_url: str
    receiver: SandboxReceiver
    hook: str

    def call(self, method: str, path: str, **arguments: object) -> dict[str, dict[str, object]]:
        """Ask Flower's API, as a service with the password does; return the JSON."""
        answer = httpx.request(
            method, f"{self.flower}{path}", auth=LOGIN, json=arguments or None, timeout=PATIENCE_S
        )
        answer.raise_for_status()
        found: dict[str, dict[str, object]] = answer.json()
        return found

    def enqueue(self) -> tuple[str, str]:
        """Submit a song, enqueue it over REST; return the ids of the Suno task and of the Celery task."""
        song = httpx.post(
            f"{self.gateway_url}/rixapi/suno/submit/MUSIC",
            json={"prompt": "rain"},
            headers={"Authorization": f"Bearer {API_KEY}"},
            timeout=PATIENCE_S,
        ).json()["data"]
        sent = self.call(
            "POST",
            "/api/task/send-task/suno.enqueue",
            kwargs={"task_id": song, "action": "MUSIC", "notify_hook": self.hook, "gateway": "rixapi"},
        )
        return song, str(sent["task-id"])

    def succeeded(self, name: str) -> Mapping[str, dict[str, object]]:
        """Return the Celery tasks of a name that Flower has seen succeed."""
        return self.call("GET", f"/api/tasks?taskname={name}&state=SUCCESS&limit=1000")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Give an installation that has seen each of the four Celery tasks."""

    def clock() -> datetime:
        return datetime.now(UTC)

    gateway = SandboxGateway(clock=clock, api_key=API_KEY, lasts=timedelta(0))
    receiver = SandboxReceiver(clock=clock, verify=make_verifier([SECRET]))
    flower = f"http://{LOOPBACK}:{free_port()}"
    with ExitStack() as stack:
        gateway_url = stack.enter_context(hosted(gateway.app()))
        receiver_url = stack.enter_context(hosted(receiver.app()))
        child = spawn(
            [sys.executable, "-m", "worker", "up", "--flower", f"--flower-port={flower.rpartition(':')[2]}"],
            environment=os.environ | environment(gateway_url),
            folder=tmp_path_factory.mktemp("up"),
        )
        stack.callback(child.stop, grace=30)
        found = Installation(
            flower=flower,
            gateway_url=gateway_url,
            receiver=receiver,
            hook=f"{receiver_url}/hook?token=of-the-receiver",
        )
        wait_until(lambda: httpx.get(f"{flower}/healthcheck").is_success, what="Flower answers")
        wait_until(lambda: found.call("GET", "/api/workers?refresh=1"), what="Flower sees the worker")
        yield found


def environment(gateway_url: str) -> Mapping[str, str]:
    """Return the settings of the installation."""
    return {
        **variables(url=gateway_url, api_key=API_KEY),
        "PYTHONPATH": str(ROOT),
        "WORKER_WEBHOOK_SECRET": SECRET,
        "WORKER_WEBHOOK_ALLOW": LOOPBACK,
        "WORKER_FIRST_POLL_DELAY": "0.3",
        "FLOWER_BASIC_AUTH": ":".join(LOGIN),
    }


@pytest.fixture(scope="module")
def delivered(installation: Installation) -> tuple[str, str]:
    """Give the ids of a song whose webhook has come, and of the Celery task that enqueued it."""
    song, celery_id = installation.enqueue()
    installation.call("POST", "/api/task/send-task/suno.prune", kwargs={})
    came = installation.receiver.wait_for(
        lambda webhooks: any(one.task_id == song and one.verified for one in webhooks), seconds=PATIENCE_S
    )
    assert came, "no webhook came"
    # Its list of tasks is drawn once: what Flower has not heard of by then would never be on the page.
    for name in NAMES:
        wait_until(lambda name=name: installation.succeeded(name), what=f"Flower sees {name} succeed")  # type: ignore[misc]
    wait_until(lambda: celery_id in installation.succeeded("suno.enqueue"), what="Flower sees the enqueue")
    return song, celery_id


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Give a headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for option in (*OPTIONS, "--window-size=1120,700"):
        options.add_argument(option)
    chromium = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    yield chromium
    chromium.quit()


def page(browser: webdriver.Chrome, installation: Installation, path: str, *, until: str) -> str:
    """Open a page as somebody who knows the password; return its text as soon as `until` is on it."""
    browser.get(installation.flower.replace("//", f"//{':'.join(LOGIN)}@") + path)

    def shown(_: object) -> bool:
        return until in browser.find_element(By.TAG_NAME, "body").text

    WebDriverWait(browser, PATIENCE_S).until(shown, f"{until!r} is not on {path}")
    return browser.find_element(By.TAG_NAME, "body").text


def keep(browser: webdriver.Chrome, name: str) -> None:
    """Keep a picture for README, if somebody asked for it."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        assert browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_nobody_enters_without_the_password(installation: Installation) -> None:
    """The pages and the API answer 401, to another password too."""
    paths = ("/workers", "/tasks", "/api/workers", "/api/tasks")

    with httpx.Client(base_url=installation.flower, timeout=PATIENCE_S) as stranger:
        assert {stranger.get(path).status_code for path in paths} == {401}
        assert stranger.get("/tasks", auth=("me", "wrong")).status_code == 401


@pytest.mark.usefixtures("delivered")
def test_the_worker_is_seen(installation: Installation, browser: webdriver.Chrome) -> None:
    """The page of workers shows ours, online."""
    (name,) = installation.call("GET", "/api/workers")

    text = page(browser, installation, "/workers", until=f"\n{name}\nOnline ")
    assert name in text


@pytest.mark.usefixtures("delivered")
def test_the_four_tasks_are_seen(installation: Installation, browser: webdriver.Chrome) -> None:
    """Each is listed by its name, with success."""
    for name in NAMES:
        text = page(browser, installation, f"/tasks?name={name}&state=SUCCESS", until=name)
        assert "SUCCESS" in text


def test_an_enqueue_is_found_by_its_task_id(
    installation: Installation, browser: webdriver.Chrome, delivered: tuple[str, str]
) -> None:
    """README's search leads to the one Celery task, whose page shows arguments and result for reading."""
    song, celery_id = delivered
    page(browser, installation, "/tasks", until="Showing ")
    search = browser.find_element(By.CSS_SELECTOR, "input[type=search]")
    search.clear()  # Flower remembers what was last looked for
    search.send_keys(f"kwargs:task_id={song}")

    def only_ours(_: object) -> bool:
        rows = browser.find_elements(By.CSS_SELECTOR, "#tasks-table tbody tr")
        return [celery_id in row.text and "suno.enqueue" in row.text for row in rows] == [True]

    WebDriverWait(browser, PATIENCE_S, ignored_exceptions=[StaleElementReferenceException]).until(
        only_ours, "not found alone"
    )
    keep(browser, "flower-tasks")
    text = page(browser, installation, f"/task/{celery_id}", until="Result")
    keep(browser, "flower-task")

    assert f"'task_id': '{song}', 'action': 'MUSIC'" in text
    assert "/hook?***" in text
    assert "of-the-receiver" not in text
    assert f"{{'task_id': '{song}', 'gateway': 'rixapi', 'created': True, 'status': 'SUBMITTED'}}" in text


@pytest.mark.usefixtures("delivered")
def test_what_the_runs_did_can_be_read(installation: Installation) -> None:
    """The run that polled the song and the one that delivered it say so in their results."""

    def results(name: str) -> list[object]:
        return [task["result"] for task in installation.succeeded(name).values()]

    wait_until(
        lambda: any("'finished': 1, 'troubles': 0" in str(one) for one in results("suno.poll")),
        what="a run of suno.poll says what it finished",
    )
    wait_until(
        lambda: any("'attempts': 1, 'delivered': 1" in str(one) for one in results("suno.deliver")),
        what="a run of suno.deliver says what it delivered",
    )
    assert "{'suno_tasks': 0, 'rejections': 0, 'origins': 0}" in results("suno.prune")
