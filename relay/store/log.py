"""What happened, in the order it was committed: how is the log read?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from relay import logs
from relay.core.errors import CorruptStateError
from relay.core.events import Draft, StoredEvent, committed, pack_static, unpack_static
from relay.store import keys
from relay.store.positions import LARGEST, from_stream_id, stream_id, time_ms
from relay.store.scripts import Argument, Scripts


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
    """Reads events, and appends those that are for one subscription alone."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._scripts = scripts

    async def last(self) -> int:
        """The last stamp that was given out; 0 in an empty Redis."""
        return int(await self._redis.get(keys.CLOCK) or 0)

    async def position_of(self, event_id: str) -> int | None:
        """Where an event stands, None when it is not retained."""
        found = await self._redis.hget(keys.LOG_IDS, event_id)
        return None if found is None else int(found)

    async def positions_of(self, event_ids: Sequence[str]) -> list[int | None]:
        """Where events stand, None for each that is not retained."""
        if not event_ids:
            return []
        found = await self._redis.hmget(keys.LOG_IDS, list(event_ids))
        return [None if position is None else int(position) for position in found]

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

    async def forward(self, within: Range, *, limit: int) -> "Stretch":
        """The oldest events of a stretch, oldest first; ``limit`` is how many entries are looked at."""
        entries = await self._redis.xrange(keys.LOG, stream_id(within.first), stream_id(within.last), count=limit)
        following = from_stream_id(entries[-1][0]) + 1 if len(entries) == limit else None
        return Stretch(_everybodys(entries), following)

    async def backward(self, within: Range, *, limit: int) -> "Stretch":
        """The newest events of a stretch, newest first; ``limit`` is how many entries are looked at."""
        entries = await self._redis.xrevrange(keys.LOG, stream_id(within.last), stream_id(within.first), count=limit)
        following = from_stream_id(entries[-1][0]) - 1 if len(entries) == limit else None
        return Stretch(_everybodys(entries), following)

    async def count(self) -> int:
        """How many events are retained."""
        return int(await self._redis.xlen(keys.LOG))

    async def append_for(self, subscription_id: str, events: Sequence[tuple[Draft, int, int | None]]) -> list[int]:
        """Put events into the log that are for one subscription alone: (event, sequence, sequence before).

        Returns:
            Their positions; of one that the log has already, where it stands.
        """
        args: list[Argument] = [subscription_id]
        for event, sequence, previous in events:
            args += [event.id, pack_static(event), sequence, "" if previous is None else previous]
        positions: list[int] = await self._scripts.run("append_log", [keys.CLOCK, keys.LOG, keys.LOG_IDS], args)
        return positions

    async def trim(self, before: int, *, limit: int) -> int:
        """Forget the oldest events, all before a position; how many. Deliveries of them must have been retired."""
        entries = await self._redis.xrange(keys.LOG, "-", f"({stream_id(before)}", count=limit)
        if not entries:
            return 0
        ids = []
        for _, fields in entries:
            try:
                ids.append(unpack_static(fields[b"s"]).id)
            except (CorruptStateError, KeyError) as error:
                logs.event("event unreadable", level="error", exc=error)
        async with self._redis.pipeline(transaction=True) as pipe:
            if ids:
                pipe.hdel(keys.LOG_IDS, *ids)
            pipe.xtrim(keys.LOG, minid=stream_id(from_stream_id(entries[-1][0]) + 1), approximate=False)
            await pipe.execute()
        return len(entries)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some events in a row; ``next`` is the position to go on from, None at the end."""

    events: tuple[StoredEvent, ...]
    next: int | None


def _everybodys(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> tuple[StoredEvent, ...]:
    """Leave out those for one subscription alone."""
    return tuple(_event(entry_id, fields) for entry_id, fields in entries if b"t" not in fields)


def _event(entry_id: bytes, fields: dict[bytes, bytes]) -> StoredEvent:
    return stored_event(from_stream_id(entry_id), fields[b"s"], fields[b"q"], fields[b"p"])
