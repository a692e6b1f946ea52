"""How do a request and its answer pass over one connection? Written in one piece, read by aiohttp, watched meanwhile.

Of aiohttp the relay uses what is hard: the pool of connections, with TLS and several addresses, and the parser. Not its
session, which does nearly twice the work that one plain POST needs (docs/decisions/requests-in-one-piece.md).

aiohttp's parser hands a response out once its headers are complete. But a 2xx status line is a success whatever
follows, also if the headers then trickle in until the deadline, so the connections here read that one line beside it.
They also tell a fresh connection from a reused one, one that failed before any byte came from one that failed after,
and drop a peer that talks unasked. All that the relay knows of aiohttp's inside is in this file.
"""

import asyncio
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Final

from aiohttp import ClientRequest, ClientTimeout, ServerDisconnectedError, StreamReader, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.tracing import Trace
from yarl import URL

from relay.core.addresses import Networks
from relay.core.netpolicy import CheckedUrl
from relay.egress.guard import GuardedResolver, Lookup, check_peer, guarded_socket

MAX_INTERIM: Final = 10
"""So many 1xx responses may come before the final one."""

MAX_HEAD_BYTES: Final = 65_536
"""What 1xx responses and the final status line may take together."""

KEEPALIVE_S: Final = 15.0
"""How long an idle connection is kept."""

_READ_AHEAD_BYTES: Final = 16_384
_NO_TIMEOUT: Final = ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_HEADER_LINES: Final = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")
_STATUS_LINE: Final = re.compile(rb"(?:\r?\n)*HTTP/[0-9]\.[0-9] ([1-9][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_SWITCHING: Final = 101
_FINAL: Final = 200


@dataclass(frozen=True, slots=True)
class Target:
    """A URL made ready to send to, often.

    Attributes:
        request: what the connector keeps connections under; it is never sent itself.
        start: the request line and the headers that are the same for every request.
    """

    request: ClientRequest
    start: str

    @classmethod
    def of(cls, url: CheckedUrl, headers: Mapping[str, str]) -> "Target":
        """Make a checked URL ready, inside the running loop.

        Args:
            url: the URL.
            headers: the same for every request.
        """
        parsed = URL(url.url, encoded=True)
        lines = {"host": parsed.host_port_subcomponent or url.host, **headers}
        return cls(
            request=ClientRequest("POST", parsed, loop=asyncio.get_running_loop()),
            start=f"POST {parsed.raw_path_qs} HTTP/1.1\r\n" + _header_lines(lines),
        )

    def message(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """Write a request.

        Raises:
            ValueError: a header's name or value would break the message.
        """
        head = f"{self.start}{_header_lines(headers)}content-length: {len(body)}\r\n\r\n"
        return head.encode() + body


def _header_lines(headers: Mapping[str, str]) -> str:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    # As many lines as headers, each whole: nothing in a name or value makes a line of its own.
    if ":" in "".join(headers) or lines.count("\n") != len(headers) or _HEADER_LINES.fullmatch(lines) is None:
        raise ValueError("a header's name or value holds a character that cannot be sent")
    return lines


class ObservedProtocol(ResponseHandler):
    """A connection that notes what comes back.

    Attributes:
        exchanges: how many requests it was used for.
        received: whether any byte came back in the present exchange.
        status_code: of the final status line of the present exchange, once it is in.
        overrun: whether the peer was cut off because it sent too much before that.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be made by a connector."""
        super().__init__(loop)
        self.exchanges = 0
        self.received = False
        self.status_code: int | None = None
        self.overrun = False
        self._head = b""
        self._interim = 0
        self._open = False

    async def ask(self, message: bytes) -> tuple[RawResponseMessage, StreamReader]:
        """Send a request and wait for the final answer.

        Returns:
            The answer's head, and its body as it comes in.

        Raises:
            aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError: there is none, or it is not HTTP.
        """
        self.set_response_params(read_until_eof=True, auto_decompress=False, read_bufsize=_READ_AHEAD_BYTES)
        if self.transport is None:
            raise ServerDisconnectedError
        self.transport.write(message)
        while True:
            head, body = await self.read()
            if head.code >= _FINAL or head.code == _SWITCHING:
                return head, body

    @property
    def all_sent(self) -> bool:
        """Whether nothing of the request waits to be sent: an answer may come before that."""
        return self.transport is not None and not self.transport.get_write_buffer_size()

    def set_response_params(self, **params: Any) -> None:
        """Begin an exchange."""
        self.exchanges += 1
        self.received = False
        self.status_code = None
        self._head = b""
        self._interim = 0
        self._open = True
        super().set_response_params(**params)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's signature
        """Go on after a pause; where there was none, spare the parser an empty run for every body."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def finish(self) -> None:
        """End an exchange; what comes from now on was not asked for."""
        self._open = False

    def data_received(self, data: bytes) -> None:
        """Read the status line, then let aiohttp read all."""
        if self._open:
            self.received = True
            if self.status_code is None and not self._observe(data):
                self._head = b""
                self.overrun = True
                self._drop()
                return
        elif self.exchanges:
            self._drop()
            return
        super().data_received(data)

    def _drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _observe(self, data: bytes) -> bool:
        """Look for the final status line; say whether the peer may go on."""
        head = self._head + data if self._head else data
        while (found := _STATUS_LINE.match(head)) is not None:
            code = int(found[1])
            if code >= _FINAL or code == _SWITCHING:
                self.status_code = code
                self._head = b""
                return True
            self._interim += 1
            end = _END_OF_HEAD.search(head, found.end() - 2)
            if self._interim > MAX_INTERIM:
                return False
            if end is None:
                self._interim -= 1  # read again with what comes next
                break
            head = head[end.end() :]
        self._head = head
        return len(head) <= MAX_HEAD_BYTES


class GuardedConnector(TCPConnector):
    """Opens, checks and keeps the connections of one kind: to public hosts, or to listed networks only."""

    def __init__(
        self,
        lookup: Lookup,
        *,
        allow: Networks,
        listed_only: bool,
        limit: int,
        tls: SSLContext | None,
        lookup_timeout_s: float,
    ) -> None:
        """Prepare, inside a running loop.

        Args:
            lookup: resolves names.
            allow: the operator's networks.
            listed_only: whether only those may be reached.
            limit: connections in use at a time.
            tls: the context to trust by; None for the system's.
            lookup_timeout_s: for one name.
        """
        super().__init__(
            resolver=GuardedResolver(lookup, allow=allow, listed_only=listed_only, timeout_s=lookup_timeout_s),
            socket_factory=guarded_socket(allow=allow, listed_only=listed_only),
            use_dns_cache=False,
            limit=limit,
            limit_per_host=0,
            keepalive_timeout=KEEPALIVE_S,
            ssl=True if tls is None else tls,
        )
        self._allow = allow
        self._listed_only = listed_only
        self._factory = functools.partial(  # type: ignore[assignment] # partial is invariant, a subclass will do
            ObservedProtocol, loop=asyncio.get_running_loop()
        )

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:  # noqa: ASYNC109 - aiohttp's signature
        """Give a connection for a request: an idle one, or a new one whose peer is checked.

        Raises:
            BlockedError: the peer is not allowed.
            aiohttp.ClientError: no connection could be made.
        """
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if not isinstance(protocol, ObservedProtocol):
            raise TypeError("aiohttp no longer makes connections through _factory")
        if protocol.exchanges == 0:
            self._check_peer(connection)
        return connection

    async def open(self, target: Target) -> tuple[Connection, ObservedProtocol]:
        """Give a connection to a target; release it, or close it, whatever comes.

        Raises:
            As ``connect``.
        """
        connection = await self.connect(target.request, [], _NO_TIMEOUT)
        protocol = connection.protocol
        assert isinstance(protocol, ObservedProtocol)  # noqa: S101 - for the type checker: connect has looked
        return connection, protocol

    def drop_idle(self, target: Target | None = None) -> None:
        """Close the connections that nobody uses: those to one target, or all."""
        for key in list(self._conns) if target is None else [target.request.connection_key]:
            for protocol, _ in self._conns.pop(key, ()):
                protocol.abort()

    def _check_peer(self, connection: Connection) -> None:
        peer = connection.transport.get_extra_info("peername") if connection.transport is not None else None
        if peer is None:
            return  # gone already; the request will fail
        try:
            check_peer(peer[0], allow=self._allow, listed_only=self._listed_only)
        except OSError:
            connection.close()
            raise
