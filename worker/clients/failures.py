"""What an exception of the network means, in a closed list of words and in sentences that are safe to show.

Exceptions of ssl and the system quote addresses and ports. None of their text goes on, except OpenSSL's own
reason: it is the one that a receiver's owner needs, and speaks only of the certificate and of the host name
that the owner gave.
"""

from __future__ import annotations

import errno
import ssl
from typing import Final

from worker.clients.address_guard import ForbiddenAddress
from worker.clients.line import NoConnection, Silence
from worker.clients.lookup import LookupFailed
from worker.clients.response import NotHttp, TooMuch
from worker.core.verdicts import Failed, PostError

# By number first: not every number has a class of its own.
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
    (Silence, PostError.READ_TIMEOUT, "no answer came in time"),
    (NoConnection, PostError.CONNECT_TIMEOUT, "no connection within the time for connecting"),
    (TooMuch, PostError.PROTOCOL, "more came back than an answer may have"),
    (NotHttp, PostError.PROTOCOL, "what came back is not HTTP/1.1"),
    (TimeoutError, PostError.DEADLINE, "not done within the time for the whole request"),
    (ConnectionError, PostError.RESET, "the connection was closed before an answer came"),
)


def explain(error: Exception) -> Failed:
    """Return what `error` means. The total deadline is the caller's: a bare TimeoutError is taken for it."""
    word, detail = _explain(error)
    return Failed(error=word, detail=detail)


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
