"""What an exception of the network means, in a closed list of words and in sentences that are safe to show.

Exceptions of aiohttp, ssl and the system quote addresses, ports and whole URLs. None of their text goes on,
except OpenSSL's own reason: it is the one that a receiver's owner needs, and speaks only of the certificate
and of the host name that the owner gave.
"""

from __future__ import annotations

import errno
import ssl
from typing import Final

import aiohttp
import httpx

from worker.clients.address_guard import ForbiddenAddress
from worker.clients.lookup import LookupFailed
from worker.clients.passage import TooMuch
from worker.core.webhook import Failed, PostError

# By number, not by class: aiohttp wraps system errors in its own classes and keeps the number.
_BY_ERRNO: Final = {
    errno.ECONNREFUSED: (PostError.REFUSED, "the connection was refused"),
    errno.EHOSTUNREACH: (PostError.REFUSED, "the host cannot be reached"),
    errno.ENETUNREACH: (PostError.REFUSED, "the network cannot be reached"),
    errno.EADDRNOTAVAIL: (PostError.REFUSED, "the address cannot be reached"),
    errno.ETIMEDOUT: (PostError.CONNECT_TIMEOUT, "the host did not answer in time"),
    errno.ECONNRESET: (PostError.RESET, "the connection was reset before an answer came"),
    errno.ECONNABORTED: (PostError.RESET, "the connection was reset before an answer came"),
    errno.EPIPE: (PostError.RESET, "the connection was closed before an answer came"),
    errno.ESHUTDOWN: (PostError.RESET, "the connection was closed before an answer came"),
}

# The first row that fits counts.
_BY_CLASS: Final[tuple[tuple[type[Exception], PostError, str], ...]] = (
    (aiohttp.SocketTimeoutError, PostError.READ_TIMEOUT, "no answer came in time"),
    (aiohttp.ServerTimeoutError, PostError.CONNECT_TIMEOUT, "no connection within the time for connecting"),
    (TooMuch, PostError.PROTOCOL, "more came back than an answer may have"),
    (TimeoutError, PostError.DEADLINE, "not done within the time for the whole request"),
    (aiohttp.InvalidURL, PostError.INVALID_URL, "the URL cannot be used"),
    (aiohttp.NonHttpUrlClientError, PostError.INVALID_URL, "the URL is neither http nor https"),
    (aiohttp.ClientConnectionError, PostError.RESET, "the connection was closed before an answer came"),
    (aiohttp.ClientError, PostError.PROTOCOL, "what came back is not HTTP/1.1"),
)


def explain(error: Exception) -> Failed:
    """Return what `error` means. The total deadline is the caller's: a bare TimeoutError is taken for it."""
    word, detail = _explain(_innermost(error))
    return Failed(error=word, detail=detail)


def _innermost(error: BaseException) -> BaseException:
    """Unwrap what httpx-aiohttp and aiohttp put around the error that happened."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    if isinstance(error, aiohttp.ClientConnectorError):
        return _innermost(error.os_error)
    if isinstance(error, httpx.TransportError) and error.__cause__ is not None:
        return _innermost(error.__cause__)
    return error


def _explain(error: BaseException) -> tuple[PostError, str]:
    match error:
        case ForbiddenAddress():
            return PostError.BLOCKED_ADDRESS, str(error)
        case LookupFailed():
            return PostError.DNS, str(error)
        case ssl.SSLCertVerificationError():
            return PostError.TLS, f"the certificate is not accepted: {_printable(error.verify_message)}"
        case ssl.SSLError():
            reason = getattr(error, "reason", None) or "unknown reason"  # only OpenSSL's own errors have one
            return PostError.TLS, f"no TLS connection: {_printable(reason)}"
        case OSError() if error.errno in _BY_ERRNO:
            return _BY_ERRNO[error.errno]
    for kind, word, detail in _BY_CLASS:
        if isinstance(error, kind):
            return word, detail
    number = (
        f" ({errno.errorcode.get(error.errno, error.errno)})"
        if isinstance(error, OSError) and error.errno
        else ""
    )
    return PostError.INTERNAL, f"unexpected {type(error).__name__}{number}"


def _printable(text: str) -> str:
    """Return one short line of printable text."""
    return "".join(letter for letter in text if letter.isprintable())[:200]
