"""What may one client cost?  Deadlines for heads, bodies and answers, and a cap of connections; uvicorn has none.

A connection that has sent half a request for too long is ended; so is one that does not read its answer. Where there
are too many, the one that has been idle, or half-way through a request, for longest makes room.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from relay.api.problem_types import TYPES
from relay.api.problems import ProblemError

MAX_CONNECTIONS: Final = 1000
MAX_HEAD_BYTES: Final = 65_536
"""What is kept of a head that is not complete yet."""

MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 32_768
REQUEST_DEADLINE_S: Final = 15.0
"""From the first byte of a request to the last of its body; ``bodies`` answers 408 a little earlier."""

WRITE_DEADLINE_S: Final = 30.0
"""How long a client may leave an answer unread."""

_PHRASES: Final = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}
_FOLD: Final = re.compile(rb"\n[ \t]")


class BoundedProtocol(H11Protocol):
    """One connection, with deadlines."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._quiet_since_s = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Take a connection; where there are too many, end another one first, or this."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            idle = [each for each in self.connections if isinstance(each, BoundedProtocol) and not each.is_answering]
            (min(idle, key=lambda each: each._quiet_since_s) if idle else self).abort()  # noqa: SLF001  (of its own class)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget its deadlines."""
        for timer in (self._arriving, self._unread):
            if timer is not None:
                timer.cancel()
        self._arriving = self._unread = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the deadline runs from the first byte of a request, whatever trickles in after it."""
        if self.conn.their_state is h11.IDLE and _is_folded(self.conn.trailing_data[0] + data):
            self.send_400_response("A header goes on in the next line, which servers read differently.")
            return
        super().data_received(data)
        self._arm()

    def on_response_complete(self) -> None:
        """Note when it became idle."""
        self._quiet_since_s = self.loop.time()
        super().on_response_complete()
        self._arm()

    def pause_writing(self) -> None:
        """The client does not read: not for long."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(WRITE_DEADLINE_S, self.abort)

    def resume_writing(self) -> None:
        """The client reads."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or has too large a head, as a problem."""
        is_large = len(self.conn.trailing_data[0]) >= MAX_HEAD_BYTES
        kind = TYPES["head_too_large" if is_large else "malformed"]
        detail = f"It has more than {MAX_HEAD_BYTES} bytes." if is_large else msg
        content = {"type": kind.uri, "title": kind.title, "status": kind.status, "detail": detail, "code": kind.code}
        body = orjson.dumps(content)
        headers = [
            ("content-type", "application/problem+json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(
                self.conn.send(h11.Response(status_code=kind.status, headers=headers, reason=_PHRASES[kind.status]))
                + (self.conn.send(h11.Data(data=body)) or b"")
                + (self.conn.send(h11.EndOfMessage()) or b"")
            )
        self.transport.close()

    @property
    def is_answering(self) -> bool:
        """Whether a request of it is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def _arm(self) -> None:
        """Start the deadline where part of a request is there, end it where none or all is."""
        partial = self.conn.their_state is h11.SEND_BODY or (
            self.conn.their_state is h11.IDLE and (bool(self.conn.trailing_data[0]) or self.cycle is None)
        )
        if not partial:
            if self._arriving is not None:
                self._arriving.cancel()
                self._arriving = None
        elif self._arriving is None:
            self._arriving = self.loop.call_later(REQUEST_DEADLINE_S, self.abort)


def _is_folded(received: bytes) -> bool:
    """Whether the head of a request has an obsolete line folding (RFC 9112, section 5.2)."""
    return _FOLD.search(received, 0, received.find(b"\r\n\r\n") % (len(received) + 1)) is not None


def check_head(headers: Sequence[tuple[bytes, bytes]]) -> ProblemError | None:
    """Refuse a head that is too large, or that says in two ways how long its body is.

    Source:
        RFC 9112, section 6.1: a request with both may be an attempt at request smuggling.
    """
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        detail = f"At most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes in all."
        return ProblemError("head_too_large", detail, headers={"connection": "close"})
    names = {name for name, _ in headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        detail = "It has both Content-Length and Transfer-Encoding."
        return ProblemError("malformed", detail, headers={"connection": "close"})
    return None
