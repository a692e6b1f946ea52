"""What has come back on a connection so far? Each connection notes the status line as soon as it is in.

aiohttp hands a response out once its headers are complete. But a 2xx status line is a success whatever follows, also if
the headers then trickle in until the deadline, so the connections here read that one line beside aiohttp's parser. They
also tell a fresh connection from a reused one, one that failed before any byte came from one that failed after, and
drop a peer that talks unasked. All that the relay needs to know of aiohttp's inside is in this file.
"""

import asyncio
import functools
import re
from ssl import SSLContext
from typing import Any, Final

from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from relay.core.addresses import Networks
from relay.egress.guard import GuardedResolver, Lookup, check_peer, guarded_socket
from relay.egress.progress import PROGRESS, Stage

MAX_INTERIM: Final = 10
"""So many 1xx responses may come before the final one."""

MAX_HEAD_BYTES: Final = 65_536
"""What 1xx responses and the final status line may take together."""

KEEPALIVE_S: Final = 15.0
"""How long an idle connection is kept."""

_STATUS_LINE: Final = re.compile(rb"(?:\r?\n)*HTTP/[0-9]\.[0-9] ([1-9][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_SWITCHING: Final = 101
_FINAL: Final = 200


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

    def set_response_params(self, **params: Any) -> None:
        """Begin an exchange; aiohttp calls this once for each."""
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

    def finish(self, number: int) -> None:
        """End an exchange; what comes from now on was not asked for.

        Args:
            number: of the exchange; where the connection is already in use again, nothing happens.
        """
        if number == self.exchanges:
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
        """Give a connection for a request: an idle one that has nothing left over, else a new one, its peer checked.

        Raises:
            BlockedError: the peer is not allowed.
            aiohttp.ClientError: no connection could be made.
        """
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if not isinstance(protocol, ObservedProtocol):
                raise TypeError("aiohttp no longer makes connections through _factory")
            if protocol.exchanges == 0:
                self._check_peer(connection)
            elif protocol.should_close:
                connection.close()
                continue
            progress = PROGRESS.get(None)
            if progress is not None:
                progress.stage = Stage.ANSWERING
                progress.protocol = protocol
                progress.key = req.connection_key
                progress.number = protocol.exchanges + 1
            return connection

    def drop_idle(self, key: ConnectionKey | None = None) -> None:
        """Close the connections that nobody uses: those of one endpoint, or all."""
        for one in [key] if key is not None else list(self._conns):
            for protocol, _ in self._conns.pop(one, ()):
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
