from __future__ import annotations

import errno
import ssl

import pytest

from worker.clients.address_guard import ForbiddenAddress
from worker.clients.failures import explain
from worker.clients.line import Closed, NoConnection, Silence
from worker.clients.lookup import LookupFailed
from worker.clients.response import NotHttp, TooMuch
from worker.core.verdicts import PostError

# What real servers provoke is in test_endpoint.py; here is what only a sick machine or network would.


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
        (ConnectionResetError("10.0.0.5"), PostError.RESET),
        (ConnectionAbortedError("SSL handshake with 10.0.0.5"), PostError.RESET),
        (Closed(), PostError.RESET),
        (NoConnection(), PostError.CONNECT_TIMEOUT),
        (Silence(), PostError.READ_TIMEOUT),
        (TimeoutError(), PostError.DEADLINE),
        (NotHttp("10.0.0.5"), PostError.PROTOCOL),
        (TooMuch("10.0.0.5"), PostError.PROTOCOL),
        (os_error(errno.EMFILE), PostError.INTERNAL),
        (OSError("Multiple exceptions: 10.0.0.5"), PostError.INTERNAL),
        (RuntimeError("10.0.0.5"), PostError.INTERNAL),
    ],
    ids=lambda value: None if isinstance(value, PostError) else repr(value),
)
def test_every_error_has_a_word_and_a_safe_sentence(error: Exception, word: PostError) -> None:
    """An exception gets its word, and nothing of its own text is repeated."""
    failed = explain(error)
    assert failed.error is word
    assert "10.0.0.5" not in failed.detail
    assert failed.detail


def test_our_own_shortage_is_named() -> None:
    """An operator can tell from the attempt log that the process ran out of file descriptors."""
    assert explain(os_error(errno.EMFILE)).detail == "unexpected OSError (EMFILE)"
