"""Which address does a connection go to? To one that was resolved and checked for this very connection, or to none.

The guard stands at both doors. ``GuardedResolver`` looks a name up, checks every answer and refuses the name for one
bad answer; there is no cache and no second look-up, so nothing can change between check and connect. ``guarded_socket``
checks once more, at the moment a socket is made for an address: literal addresses, which never meet a resolver, and
whatever a client might come up with by itself. Nothing connects but through it.

Looking up names blocks (``getaddrinfo`` knows no deadline), so ``SystemLookup`` does it in threads of its own: a name
server that hangs costs its own names a thread each, and the callers a deadline.
"""

import asyncio
import errno
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from relay.core.addresses import UNLISTED, Address, Networks, Refused, check_address, check_answers
from relay.egress.progress import Stage, note

LOOKUP_TIMEOUT_S: Final = 5.0
"""How long one name may take to resolve; the attempt's own deadline may be shorter."""

MAX_LOOKUP_THREADS: Final = 64
MAX_ANSWERS_TRIED: Final = 8
"""So many answers are connected to, one after the other; all are checked."""

Lookup: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""Resolves a host name to every address it has. Raises ``OSError`` (mostly ``socket.gaierror``) where it has none."""

AddrInfo: TypeAlias = tuple[
    int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]
]
"""As ``socket.getaddrinfo`` gives it: family, type, protocol, canonical name, socket address."""


class BlockedError(OSError):
    """The guard refused an address; nothing was sent to it."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(errno.EACCES, refusal.reason)
        self.refusal = refusal


class LookupTimeoutError(OSError):
    """The name server did not answer in time."""


class GuardedResolver(AbstractResolver):
    """A resolver for aiohttp that answers with allowed addresses only."""

    def __init__(
        self, lookup: Lookup, *, allow: Networks, listed_only: bool, timeout_s: float = LOOKUP_TIMEOUT_S
    ) -> None:
        """Guard a lookup.

        Args:
            lookup: resolves names.
            allow: the operator's networks.
            listed_only: whether only those may be reached.
            timeout_s: for one name.
        """
        self._lookup = lookup
        self._allow = allow
        self._listed_only = listed_only
        self._timeout_s = timeout_s

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve a name for one connection.

        Raises:
            BlockedError: one of its addresses is not allowed.
            LookupTimeoutError: no answer in time.
            OSError: it does not resolve.
        """
        note(Stage.RESOLVING)
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._lookup(host)
        except TimeoutError:
            raise LookupTimeoutError(errno.ETIMEDOUT, "the name server did not answer in time") from None
        note(Stage.CONNECTING)
        if not addresses:
            raise socket.gaierror(socket.EAI_NODATA, "the name has no address")
        refusal = check_answers(addresses, allow=self._allow, listed_only=self._listed_only)
        if refusal is not None:
            raise BlockedError(refusal)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,  # noqa: PLR2004 - IPv4
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
            if family in {socket.AF_UNSPEC, socket.AF_INET if address.version == 4 else socket.AF_INET6}  # noqa: PLR2004 - IPv4
        ][:MAX_ANSWERS_TRIED]

    async def close(self) -> None:
        """Nothing to close: look-ups under way end by themselves."""


def check_peer(host: str, *, allow: Networks, listed_only: bool) -> None:
    """Check the address of a socket, about to connect or connected.

    Args:
        host: the address as text.
        allow: the operator's networks.
        listed_only: whether it must be one of those.

    Raises:
        BlockedError: the address is not allowed.
    """
    verdict = check_address(ip_address(host), allow=allow)
    if isinstance(verdict, Refused):
        raise BlockedError(verdict)
    if listed_only and not verdict.listed:
        raise BlockedError(UNLISTED)


def guarded_socket(*, allow: Networks, listed_only: bool) -> Callable[[AddrInfo], socket.socket]:
    """Make a socket factory for aiohttp that refuses addresses that are not allowed.

    Args:
        allow: the operator's networks.
        listed_only: whether only those may be reached.

    Returns:
        A function from an address to a fresh socket for it. It raises ``BlockedError`` instead.
    """

    def make(info: AddrInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        check_peer(address[0], allow=allow, listed_only=listed_only)
        note(Stage.CONNECTING)
        return socket.socket(family, kind, protocol)

    return make


@dataclass(slots=True)
class _Flight:
    """One look-up under way, for all who wait for the name."""

    host: str
    answer: asyncio.Future[tuple[Address, ...]]
    waiting: int = field(default=0)


class SystemLookup:
    """Looks names up as the system does (hosts file, name servers, search list), in threads.

    Those who ask for a name that is being looked up share the answer; nothing is kept once it is there. The threads are
    daemons: one that hangs does not keep the process from ending. One event loop uses one of these.
    """

    def __init__(
        self,
        getaddrinfo: Callable[[str], Sequence[str]] | None = None,
        *,
        max_threads: int = MAX_LOOKUP_THREADS,
    ) -> None:
        """Prepare to look names up.

        Args:
            getaddrinfo: resolves a host to addresses as text, blocking; the system's by default.
            max_threads: look-ups at a time; further ones wait their turn, and their callers' deadline.
        """
        self._getaddrinfo = getaddrinfo or _system_addresses
        self._max_threads = max_threads
        self._running = 0
        self._queued: deque[_Flight] = deque()
        self._flights: dict[str, _Flight] = {}

    async def __call__(self, host: str) -> tuple[Address, ...]:
        """Resolve a name.

        Raises:
            OSError: it does not resolve (``socket.gaierror``), or the system is short of threads or descriptors.
        """
        flight = self._flights.get(host)
        if flight is None:
            flight = _Flight(host, asyncio.get_running_loop().create_future())
            self._flights[host] = flight
            self._queued.append(flight)
        flight.waiting += 1
        try:
            self._start_queued()
            return await asyncio.shield(flight.answer)
        finally:
            flight.waiting -= 1

    def _start_queued(self) -> None:
        while self._queued and self._running < self._max_threads:
            flight = self._queued.popleft()
            if flight.waiting:
                self._start(flight)
            else:
                self._land(flight, LookupTimeoutError(errno.ETIMEDOUT, "nobody waits any more"))

    def _start(self, flight: _Flight) -> None:
        thread = threading.Thread(
            target=self._work, args=(asyncio.get_running_loop(), flight), name=f"lookup {flight.host}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._land(flight, OSError(errno.EAGAIN, "no thread can be started"))
        else:
            self._running += 1

    def _work(self, loop: asyncio.AbstractEventLoop, flight: _Flight) -> None:
        """Look up, in a thread."""
        answer: tuple[Address, ...] | OSError = OSError(errno.EIO, "the look-up failed")
        try:
            answer = tuple(dict.fromkeys(ip_address(text) for text in self._getaddrinfo(flight.host)))
        except OSError as failure:
            answer = failure
        except ValueError:  # the name cannot be encoded, or an answer is no address
            answer = socket.gaierror(socket.EAI_NONAME, "the name cannot be looked up")
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._landed, flight, answer)

    def _landed(self, flight: _Flight, answer: tuple[Address, ...] | OSError) -> None:
        self._running -= 1
        self._land(flight, answer)
        self._start_queued()

    def _land(self, flight: _Flight, answer: tuple[Address, ...] | OSError) -> None:
        del self._flights[flight.host]
        if isinstance(answer, OSError):
            flight.answer.set_exception(answer)
            flight.answer.exception()  # seen, even if all who asked have given up
        else:
            flight.answer.set_result(answer)


def _system_addresses(host: str) -> Sequence[str]:
    return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
