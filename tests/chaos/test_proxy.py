"""The proxy does what the faults say that it does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.chaos.proxy import Proxy, serve_proxy
from worker.embedded.valkey import HOST

PATIENCE_S = 10.0
SILENCE_S = 0.3


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Give a proxy before a server that says back what it hears."""
    with socket.create_server((HOST, 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        with serve_proxy((HOST, server.getsockname()[1])) as proxy:
            yield proxy


def serve(server: socket.socket) -> None:
    """Echo on each connection."""

    def echo(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while heard := connection.recv(100):
                connection.sendall(heard)

    with suppress(OSError):
        while True:
            threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()


def connect(proxy: Proxy) -> socket.socket:
    """Return a connection that has been answered."""
    connection = socket.create_connection((HOST, proxy.port), timeout=PATIENCE_S)
    assert ask(connection) == b"hello"
    return connection


def ask(connection: socket.socket) -> bytes:
    """Say hello; return what comes back, nothing when the connection was closed."""
    connection.sendall(b"hello")
    return connection.recv(100)


def answers(proxy: Proxy) -> bool:
    """Say whether a new connection is answered."""
    with suppress(ConnectionError), socket.create_connection((HOST, proxy.port), timeout=PATIENCE_S) as new:
        return ask(new) == b"hello"
    return False


def test_a_half_open_connection_is_silent_and_a_new_one_works(proxy: Proxy) -> None:
    """Nothing is said on it and nothing closed."""
    with connect(proxy) as silent:
        assert proxy.half_open() == 1
        silent.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            ask(silent)
        assert answers(proxy)


def test_a_cut_connection_is_closed(proxy: Proxy) -> None:
    """Both sides see the end, also of a connection that was half-open before."""
    with connect(proxy) as first, connect(proxy) as second:
        proxy.half_open()
        assert proxy.cut() == 2
        for connection in (first, second):
            with suppress(ConnectionError):
                assert connection.recv(100) == b""


def test_who_is_refused_gets_no_answer(proxy: Proxy) -> None:
    """New connections end at once, those that were there go on."""
    with connect(proxy) as old:
        proxy.refuses = True
        assert not answers(proxy)
        assert ask(old) == b"hello"


def test_a_proxy_without_its_target_closes(proxy: Proxy) -> None:
    """A server that is away is a closed connection."""
    with socket.create_server((HOST, 0)) as gone:
        port = gone.getsockname()[1]
    proxy.target = (HOST, port)

    assert not answers(proxy)
