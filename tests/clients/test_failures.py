from __future__ import annotations

import errno
import ssl

import aiohttp
import httpx
import pytest

from worker.clients.address_guard import ForbiddenAddress
from worker.clients.failures import explain
from worker.clients.lookup import LookupFailed
from worker.core.webhook import PostError

# What real servers provoke is in test_endpoint.py; here is what only a sick machine or network would.


def wrapped(error: Exception) -> Exception:
    """Put `error` where httpx-aiohttp leaves it: behind its own class, as the cause."""
    outer = httpx.ConnectTimeout("to 10.0.0.5:80")
    outer.__cause__ = error
    return outer


def os_error(number: int) -> OSError:
    """Make a system error that quotes an address."""
    return OSError(number, "Connect call failed ('10.0.0.5', 80)")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (ForbiddenAddress(), PostError.BLOCKED_ADDRESS),
        (LookupFailed("the host name has no address"), PostError.DNS),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] 10.0.0.5"), PostError.TLS),
        (os_error(errno.ECONNREFUSED), PostError.REFUSED),
        (os_error(errno.EHOSTUNREACH), PostError.REFUSED),
        (os_error(errno.ENETUNREACH), PostError.REFUSED),
        (os_error(errno.EADDRNOTAVAIL), PostError.REFUSED),
        (os_error(errno.ETIMEDOUT), PostError.CONNECT_TIMEOUT),
        (os_error(errno.ECONNRESET), PostError.RESET),
        (os_error(errno.EPIPE), PostError.RESET),
        (aiohttp.ClientOSError(errno.ECONNRESET, "10.0.0.5"), PostError.RESET),
        (aiohttp.ClientConnectionResetError("10.0.0.5"), PostError.RESET),
        (aiohttp.ServerDisconnectedError("10.0.0.5"), PostError.RESET),
        (aiohttp.ConnectionTimeoutError("10.0.0.5"), PostError.CONNECT_TIMEOUT),
        (aiohttp.SocketTimeoutError("10.0.0.5"), PostError.READ_TIMEOUT),
        (TimeoutError(), PostError.DEADLINE),
        (aiohttp.ClientPayloadError("10.0.0.5"), PostError.PROTOCOL),
        (aiohttp.InvalidUrlClientError("http://10.0.0.5"), PostError.INVALID_URL),
        (aiohttp.NonHttpUrlClientError("ftp://10.0.0.5"), PostError.INVALID_URL),
        (os_error(errno.EMFILE), PostError.INTERNAL),
        (OSError("Multiple exceptions: 10.0.0.5"), PostError.INTERNAL),
        (RuntimeError("10.0.0.5"), PostError.INTERNAL),
    ],
    ids=lambda value: None if isinstance(value, PostError) else repr(value),
)
def test_every_error_has_a_word_and_a_safe_sentence(error: Exception, word: PostError) -> None:
    """Bare or wrapped, an exception gets its word, and nothing of its own text is repeated."""
    for given in (error, wrapped(error)):
        failed = explain(given)
        assert failed.error is word
        assert "10.0.0.5" not in failed.detail
        assert failed.detail


def test_our_own_shortage_is_named() -> None:
    """An operator can tell from the attempt log that the process ran out of file descriptors."""
    assert explain(os_error(errno.EMFILE)).detail == "unexpected OSError (EMFILE)"
