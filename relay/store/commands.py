"""Which orders is a command running for, and for which was one made lately?"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from redis.asyncio import Redis

from relay.store import keys
from relay.store.scripts import Scripts

MAY_TAKE_MS: Final = 40_000
"""Longer than the deadlines of a command's requests together."""

MARK_MS: Final = 86_400_000


class Begun(Enum):
    """How a command begins."""

    FIRST = "first"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Busy:
    """Another command runs for the order, at most that much longer."""

    wait_ms: int


class CommandStore:
    """Marks and locks of commands, an order each."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._scripts = scripts

    async def begin(self, brand: str, venue_id: int, order_id: int, *, caller: str) -> Begun | Busy:
        """Begin a command; ``AGAIN`` when one was begun in the last day."""
        reply = await self._scripts.run(
            "command_begin", _keys(brand, venue_id, order_id), [caller, MAY_TAKE_MS, MARK_MS]
        )
        return Busy(reply[1]) if reply[0] == b"busy" else Begun(reply[0].decode())

    async def end(self, brand: str, venue_id: int, order_id: int, *, caller: str, nothing_sent: bool) -> None:
        """End a command; with nothing sent, no mark stays."""
        await self._scripts.run("command_end", _keys(brand, venue_id, order_id), [caller, "1" if nothing_sent else "0"])

    async def marked(self, brand: str, venue_id: int, order_ids: Sequence[int]) -> set[int]:
        """Those orders for which a command was made in the last day."""
        if not order_ids:
            return set()
        found = await self._redis.mget([keys.command(brand, venue_id, order_id) for order_id in order_ids])
        return {order_id for order_id, mark in zip(order_ids, found, strict=True) if mark is not None}


def _keys(brand: str, venue_id: int, order_id: int) -> list[str]:
    mark = keys.command(brand, venue_id, order_id)
    return [mark, mark + ":busy"]
