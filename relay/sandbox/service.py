"""One running stand-in: the world, and what the HTTP side of it remembers."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from relay.sandbox.limits import Limits
from relay.sandbox.switches import Switches
from relay.sandbox.tokens import Signer
from relay.sandbox.world import World

_REMEMBERED_REQUESTS = 20_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that came in, without its secrets.

    Attributes:
        number: from 1, in order of arrival.
        at_s: when it arrived (Unix seconds of the service's clock).
        path: below the API's root (``/orders/1``).
        query: the query string as sent.
        venue: the ``x-venue`` header.
        brand: the brand of the token, unchecked.
        address: the caller's.
        status: what was answered; 0 where nothing was.
        fault: the kind of fault that struck, None for an honest answer.
    """

    number: int
    at_s: float
    method: str
    path: str
    query: str
    venue: str | None
    brand: str | None
    address: str
    status: int
    fault: str | None = None


@dataclass(slots=True)
class Journal:
    """The requests seen (the last 20 000), and counts of all of them by method, path (ids as ``*``) and status."""

    entries: deque[Seen] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_REQUESTS))
    counts: Counter[str] = field(default_factory=Counter)
    total: int = 0

    def add(self, seen: Seen) -> None:
        """Remember one."""
        self.entries.append(seen)
        general = "/".join("*" if part.isdigit() else part for part in seen.path.split("/"))
        self.counts[f"{seen.method} {general} {seen.status}"] += 1

    def next_number(self) -> int:
        """Number a request as it arrives."""
        self.total += 1
        return self.total

    def clear(self) -> None:
        """Forget them; numbering goes on."""
        self.entries.clear()
        self.counts.clear()

    def as_json(self, *, limit: int = 1000) -> dict[str, Any]:
        """The newest ``limit`` entries, oldest first, with all counts."""
        newest = list(self.entries)[-limit:] if limit else []
        return {"total": self.total, "counts": dict(self.counts), "requests": [asdict(seen) for seen in newest]}


@dataclass(slots=True)
class Service:
    """What the routes share.

    Attributes:
        world: what exists.
        clock: Unix seconds, for tokens and windows; the world's unless another was given.
        sleep: how to wait, in seconds; a bench in virtual time gives its own.
        draw: chance, for faults that strike now and then.
        closing: set when the server goes down, so that hanging answers end.
    """

    world: World
    clock: Callable[[], float]
    limits: Limits
    draw: Random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    signer: Signer = field(default_factory=Signer)
    journal: Journal = field(default_factory=Journal)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def switches(self) -> Switches:
        """How it misbehaves."""
        return self.world.switches
