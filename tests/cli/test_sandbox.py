"""The verbs `sandbox gateway` and `sandbox receiver`, as processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner
from standardwebhooks import Webhook

from worker.cli import main
from worker.cli.sandbox import sandbox
from worker.core.wire import Fetch
from worker.sandbox.hosting import hosted
from worker.settings import load_settings

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
BODY = '{"task_id":"t-1","action":"MUSIC","status":"SUCCESS"}'


class Running:
    """A verb that serves, with the lines that it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read lines up to the first that matches."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if match := re.search(pattern, self.lines[-1]):
                return match
        pytest.fail(f"no line like {pattern!r} in {self.lines}")


@contextmanager
def running(*arguments: str, secret: str = "") -> Iterator[Running]:
    """Run a verb of the sandbox on a free port for the block; it must end by itself at SIGTERM."""
    command = [sys.executable, "-m", "worker", "sandbox", *arguments, "--port", "0"]
    environment = {**os.environ, "WORKER_WEBHOOK_SECRET": secret}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield Running(process)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0


def test_the_gateway_says_how_a_worker_uses_it() -> None:
    """What the verb prints is an environment that a worker accepts, and the gateway answers there."""
    with running("gateway", "--api-key", "sk-1") as gateway:
        url = gateway.read_until(r"^Simulated gateway at (http://\S+);")[1]
        gateway.read_until("^Look")
        exports = [line.partition("export ")[2].split("=", 1) for line in gateway.lines if "export " in line]
        settings = load_settings(dict(exports))
        refused = httpx.post(f"{url}/rixapi/suno/fetch", json={"ids": ["a", "b"], "action": "MUSIC"})
        line = gateway.read_until("POST")

    assert {name: (one.base_url, one.fetch) for name, one in settings.gateways.items()} == {
        "openai_hub": (f"{url}/openai-hub", Fetch.BATCH),
        "rixapi": (f"{url}/rixapi", Fetch.BATCH),
        "nengyongai": (f"{url}/nengyongai", Fetch.SINGLE),
    }
    assert refused.status_code == 401
    assert re.fullmatch(r"\d\d:\d\d:\d\d POST /rixapi/suno/fetch 2 ids MUSIC → 401", line.string)


def test_the_gateway_keeps_the_given_time() -> None:
    """With `--seconds 0` a task is finished as soon as it is submitted; a fault is named in its line."""
    with running("gateway", "--seconds", "0") as gateway:
        url = gateway.read_until(r"^Simulated gateway at (http://\S+);")[1]
        task_id = httpx.post(f"{url}/suno/submit/MUSIC").json()["data"]
        task = httpx.get(f"{url}/suno/fetch/{task_id}").json()["data"]
        httpx.post(f"{url}/sandbox/faults", json={"kind": "drop"})
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{url}/suno/fetch/x%1B")
        line = gateway.read_until(r"\(drop\)$")

    assert task["status"] == "SUCCESS"
    assert line.string.endswith(r" GET /suno/fetch/x\x1b → no answer (drop)")


def test_the_gateway_plays_a_scenario(tmp_path: Path) -> None:
    """The verb prints what will go wrong, and it goes wrong."""
    scenario = tmp_path / "night.toml"
    scenario.write_text(
        'title = "A\\u001b night"\n[[faults]]\nkind = "status"\nstatus_code = 503\nrequests = 1\n'
    )
    with running("gateway", "--scenario", str(scenario)) as gateway:
        url = gateway.read_until(r"^Simulated gateway at (http://\S+);")[1]
        gateway.read_until("^  1. ")
        answers = [httpx.post(f"{url}/suno/fetch", json={"ids": []}).status_code for _ in range(2)]

    assert gateway.lines[-2:] == ["Scenario: A\\x1b night", "  1. status requests=1 status_code=503"]
    assert answers == [503, 200]


def test_a_bad_scenario_starts_nothing(tmp_path: Path) -> None:
    """Every problem has its line, the exit code is that of a wrong usage, and no gateway was started."""
    scenario = tmp_path / "bad\x1b.toml"
    scenario.write_text('[[faults]]\nkind = "storm"\n[[faults]]\nkind = "hang"\nrequest = "\\u001b"\n')
    outcome = CliRunner().invoke(sandbox, ["gateway", "--scenario", str(scenario)])

    assert outcome.exit_code == 2
    *_, head, first, second = outcome.output.splitlines()
    assert head.startswith("Error: Invalid value for --scenario: ")
    assert head.endswith("/bad\\x1b.toml:")
    assert first.startswith("  line 2, fault 1, kind: 'storm' will not do: it must be one of hang,")
    assert second == "  line 5, fault 2, request: there is no such key: did you mean `requests`?"
    assert "Simulated gateway" not in outcome.output


def test_a_scenario_that_is_not_there_starts_nothing(tmp_path: Path) -> None:
    """A missing file and a folder are wrong usage, with the reason of the system."""
    (tmp_path / "folder.toml").mkdir()
    missing, folder = (
        CliRunner().invoke(sandbox, ["gateway", "--scenario", str(tmp_path / name)])
        for name in ("no.toml", "folder.toml")
    )

    assert (missing.exit_code, folder.exit_code) == (2, 2)
    assert missing.output.endswith("/no.toml: No such file or directory\n")
    assert folder.output.endswith("/folder.toml: Is a directory\n")


def test_the_receiver_verifies_and_tells() -> None:
    """A good webhook, its repetition and a forged one have their lines; the given secret is not printed."""
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", now, BODY),
        "webhook-attempt": "1",
    }
    with running("receiver", "--answer", "503", secret=SECRET) as receiver:
        url = receiver.read_until(r"^Receiver at (http://\S+);")[1]
        answers = [
            httpx.post(f"{url}/hook", content=BODY, headers=headers),
            httpx.post(f"{url}/hook", content=BODY, headers=headers),
            httpx.post(f"{url}/hook", content=BODY.replace("t-1", "t-2\x1b[31m"), headers=headers),
        ]
        receiver.read_until("NOT VERIFIED")
        report = httpx.get(f"{url}/received").json()

    assert [answer.status_code for answer in answers] == [503, 200, 401]
    assert [line[9:] for line in receiver.lines[-3:]] == [
        "MUSIC t-1 SUCCESS → /hook, attempt 1, 53 bytes, verified",
        "MUSIC t-1 SUCCESS → /hook, attempt 1, 53 bytes, verified, repeated",
        "   → /hook, attempt 1, 58 bytes, NOT VERIFIED: No matching signature found, repeated",
    ]
    assert (report["unique"], report["unverified"]) == (1, 1)
    assert SECRET not in "\n".join(receiver.lines)


def test_the_receiver_makes_a_secret_when_it_has_none() -> None:
    """Where the environment has none a new one is printed, ready for a worker's environment."""
    with running("receiver") as receiver:
        receiver.read_until("^Use http://127")
    exports = dict(line.partition("export ")[2].split("=", 1) for line in receiver.lines if "export " in line)
    settings = load_settings(exports)

    assert len(settings.webhook_secret) == 1
    assert settings.webhook_allow.permits_address(ip_address("127.0.0.1"))


def test_a_taken_port_is_one_line() -> None:
    """A port that another program has is an error that says what to do."""
    from aiohttp import web  # noqa: PLC0415

    with hosted(web.Application()) as url:
        outcome = CliRunner().invoke(sandbox, ["gateway", "--port", str(urlsplit(url).port)])

    assert outcome.exit_code == 1
    assert outcome.output == (
        f"Error: port {urlsplit(url).port} is in use: choose another with --port, or 0 for a free one\n"
    )


def test_a_broken_secret_is_a_wrong_usage() -> None:
    """A secret that is none is refused with exit code 2, and not repeated."""
    outcome = CliRunner(env={"WORKER_WEBHOOK_SECRET": "whsec_x"}).invoke(sandbox, ["receiver"])

    assert outcome.exit_code == 2
    assert "Error: WORKER_WEBHOOK_SECRET: what follows whsec_ is not base64" in outcome.output
    assert "whsec_x" not in outcome.output


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library that verifies, the receiver names the command that installs it."""
    monkeypatch.setitem(sys.modules, "standardwebhooks.webhooks", None)
    outcome = CliRunner().invoke(sandbox, ["receiver"])

    assert outcome.exit_code == 1
    assert outcome.output.endswith("pip install 'suno-worker[sandbox]'\n")


def test_an_address_of_another_machine_is_one_line() -> None:
    """A host that this machine does not have is an error without a traceback."""
    outcome = CliRunner().invoke(main, ["sandbox", "receiver", "--host", "203.0.113.1"])

    assert outcome.exit_code == 1
    assert "203.0.113.1" in outcome.output
    assert len(outcome.output.splitlines()) == 1
