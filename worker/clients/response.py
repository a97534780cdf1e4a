"""One answer as it comes in: parsed piece by piece, and never more of it than an answer may have.

The parser is llhttp, which aiohttp and Node.js use too; httptools hands its findings over as they are made.
So a status line that has come is known whatever follows it, even in the same packet: broken chunks, a reset,
a flood. Nothing is unpacked.
"""

from __future__ import annotations

from typing import Final

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

# Bytes in a row that are no body: a head, the trailers, the extensions of a chunk. The parser puts a header
# together anew with each piece of it, which for one of 62 MiB took 4 s of the event loop.
HEAD_LIMIT: Final = 32 * 1024

# Servers send one or two (100 Continue, 103 Early Hints); some would send them for ever.
MOST_INTERIM: Final = 16
MOST_HEADERS: Final = 128  # 32 KiB of the shortest ones would take 0.7 MB
_FIRST_INTERIM: Final = 100
_FIRST_FINAL: Final = 200


class TooMuch(Exception):
    """More came back than an answer may have."""


class NotHttp(Exception):
    """What came back is not HTTP/1.1, or breaks off."""


class Response:
    """Filled in as it comes; `status_code` is 0 until a final status line and its headers are there.

    At most `body_limit` bytes of the body are waited for: with more than that the answer has `ended`. No more
    than `most_bytes` are parsed in all: head, body, framing of chunks, trailers.
    """

    __slots__ = (
        "_heard",
        "_heard_beside",
        "_interim",
        "_keep_alive",
        "_more",
        "_parser",
        "body",
        "body_limit",
        "complete",
        "headers",
        "most_bytes",
        "status_code",
    )

    def __init__(self, *, body_limit: int, most_bytes: int) -> None:
        """Begin with nothing."""
        self.body_limit = body_limit
        self.most_bytes = most_bytes
        self.status_code = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.complete = False  # to its very end
        self._more = False  # something came behind its end
        self._keep_alive = False
        self._heard = 0
        self._heard_beside = 0  # since the body last grew
        self._interim = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more is wanted."""
        return self.complete or len(self.body) > self.body_limit

    @property
    def leaves_connection_usable(self) -> bool:
        """Whether the next request may go over the same connection."""
        return self.complete and self._keep_alive and not self._more

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the connection is the end of the body, because nothing else could be."""
        framing = (b"content-length", b"transfer-encoding")
        return self.status_code > 0 and not any(name.lower() in framing for name, _ in self.headers)

    def header(self, name: str) -> str | None:
        """Return the header's value, several of one name joined by commas, or None."""
        wanted = name.encode()
        values = [value for one, value in self.headers if one.lower() == wanted]
        return b", ".join(values).decode("latin-1") if values else None

    def hear(self, data: bytes) -> None:
        """Parse what has come; TooMuch or NotHttp when that cannot be an answer."""
        if not self._heard:  # a parser takes as much memory as all the rest, and many wait for their answer
            self._parser = _parser(self)
        self._heard += len(data)
        excess = self._heard - self.most_bytes
        size = len(self.body)
        try:
            self._parser.feed_data(data[: max(0, len(data) - excess)] if excess > 0 else data)
        except HttpParserCallbackError as error:
            raise NotHttp if isinstance(error.__context__, NotHttp) else TooMuch from error
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.complete:  # it has all come, what follows is nobody's
                self._more = True
                return
            raise NotHttp from error
        self._heard_beside = self._heard_beside + len(data) if len(self.body) == size else 0
        if not self.ended and (excess > 0 or self._heard_beside > HEAD_LIMIT):
            raise TooMuch

    def close(self) -> None:
        """Let go of the parser once no more is heard: it holds this as this holds it.

        Only Python's garbage collector would find them, and a long answer waits for it.
        """
        if self._heard:
            del self._parser

    def on_message_begin(self) -> None:
        """Note what the parser found: an answer, interim or final, or one more than was asked for."""
        self._more = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes behind the head is a trailer, which nobody asks for."""
        if self.status_code:
            return
        if len(self.headers) == MOST_HEADERS:
            raise TooMuch
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Keep the status of a final answer; count the others, and forget their headers."""
        status_code = self._parser.get_status_code()
        if self.complete:
            return
        if status_code >= _FIRST_FINAL:
            self.status_code = status_code
            return
        if status_code < _FIRST_INTERIM:
            raise NotHttp  # the parser takes a body for it, as for any answer but 1xx
        self.headers.clear()
        self._interim += 1
        if self._interim > MOST_INTERIM:
            raise TooMuch

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if not self.complete:
            self.body += data

    def on_message_complete(self) -> None:
        """Note the end of a final answer."""
        if self.status_code and not self.complete:
            self.complete = True
            self._keep_alive = self._parser.should_keep_alive()


def _parser(response: Response) -> HttpResponseParser:
    parser = HttpResponseParser(response)
    # What browsers put up with, as aiohttp does: bare line feeds, odd letters in a header, and the like.
    parser.set_dangerous_leniencies(
        lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
    )
    return parser
