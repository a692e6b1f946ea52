"""What happened, in the order it was committed: how is the log read?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from relay.core.events import StoredEvent, committed, unpack_static
from relay.store import keys
from relay.store.positions import LARGEST, from_stream_id, stream_id, time_ms


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of the log, both ends included."""

    first: int = 0
    last: int = LARGEST


def stored_event(position: int, static: bytes, sequence: bytes, previous: bytes) -> StoredEvent:
    """Put together what the commit was given and what it made itself."""
    return committed(
        unpack_static(static),
        position=position,
        sequence=int(sequence),
        previous_sequence=int(previous) if previous else None,
        timestamp_ms=time_ms(position),
    )


class Log:
    """Reads events."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes

    async def last(self) -> int:
        """The last stamp that was given out; 0 in an empty Redis."""
        return int(await self._redis.get(keys.CLOCK) or 0)

    async def position_of(self, event_id: str) -> int | None:
        """Where an event stands, None when it is not retained."""
        found = await self._redis.hget(keys.LOG_IDS, event_id)
        return None if found is None else int(found)

    async def at(self, positions: Sequence[int]) -> list[StoredEvent | None]:
        """Events at those positions; None where there is none any more."""
        if not positions:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for position in positions:
                entry_id = stream_id(position)
                pipe.xrange(keys.LOG, entry_id, entry_id)
            found = await pipe.execute()
        return [_event(*entries[0]) if entries else None for entries in found]

    async def forward(self, within: Range, *, limit: int) -> list[StoredEvent]:
        """The oldest events of a stretch, oldest first."""
        entries = await self._redis.xrange(keys.LOG, stream_id(within.first), stream_id(within.last), count=limit)
        return [_event(*entry) for entry in entries]

    async def backward(self, within: Range, *, limit: int) -> list[StoredEvent]:
        """The newest events of a stretch, newest first."""
        entries = await self._redis.xrevrange(keys.LOG, stream_id(within.last), stream_id(within.first), count=limit)
        return [_event(*entry) for entry in entries]


def _event(entry_id: bytes, fields: dict[Any, Any]) -> StoredEvent:
    return stored_event(from_stream_id(entry_id), fields[b"s"], fields[b"q"], fields[b"p"])
