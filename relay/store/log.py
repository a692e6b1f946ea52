"""What happened, in the order it was committed: how is the log read?"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from relay import logs
from relay.core.errors import CorruptStateError
from relay.core.events import Draft, StoredEvent, committed, pack_static, unpack_static
from relay.core.packing import unpack_names
from relay.store import keys
from relay.store.numbers import number
from relay.store.positions import LARGEST, from_stream_id, stream_id, time_ms
from relay.store.scripts import Argument, Scripts

LOOK_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of the log, both ends included."""

    first: int = 0
    last: int = LARGEST


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some events in a row; ``next`` is the position to go on from, None at the end."""

    events: tuple[StoredEvent, ...]
    next: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, packed; ``alone`` where it is for one subscription alone."""

    position: int
    static: bytes
    sequence: bytes
    previous: bytes
    alone: bool


def stored_event(position: int, static: bytes, sequence: bytes, previous: bytes) -> StoredEvent:
    """Put together what the commit was given and what it made itself.

    Raises:
        CorruptStateError: the static part cannot be read.
        ValueError: a sequence is no number.
    """
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
        return number(await self._redis.get(keys.CLOCK))

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
        """Events at those positions; None where there is none any more, or it cannot be read."""
        if not positions:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for position in positions:
                entry_id = stream_id(position)
                pipe.xrange(keys.LOG, entry_id, entry_id)
            found = await pipe.execute()
        return [_event(_entry(*rows[0])) if rows else None for rows in found]

    async def forward(self, within: Range, *, limit: int) -> Stretch:
        """The oldest events of a stretch, oldest first; ``limit`` is how many entries are looked at."""
        entries = await self._entries(within, limit=limit)
        following = entries[-1].position + 1 if len(entries) == limit else None
        return Stretch(_everybodys(entries), following)

    async def backward(self, within: Range, *, limit: int) -> Stretch:
        """The newest events of a stretch, newest first; ``limit`` is how many entries are looked at."""
        entries = await self._entries(within, limit=limit, newest=True)
        following = entries[-1].position - 1 if len(entries) == limit else None
        return Stretch(_everybodys(entries), following)

    async def count(self) -> int:
        """How many events are retained, also those for one subscription alone."""
        return int(await self._redis.xlen(keys.LOG))

    async def count_of(self, brand: str | None, *, since: int) -> int:
        """How many of them are a brand's (None: anybody's), from a position on: the log is looked through."""
        count = 0
        within: Range | None = Range(since)
        while within is not None:
            entries = await self._entries(within, limit=LOOK_AT_ONCE)
            within = Range(entries[-1].position + 1) if len(entries) == LOOK_AT_ONCE else None
            count += sum(1 for entry in entries if brand is None or _names(entry)[1] == brand)
        return count

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

    async def of_subject(self, brand: str | None, venue_id: int | None, subject: str) -> AsyncIterator[list[Entry]]:
        """Every entry of one subject, also those for one subscription alone: the whole log is looked through."""
        within: Range | None = Range()
        while within is not None:
            entries = await self._entries(within, limit=LOOK_AT_ONCE)
            within = Range(entries[-1].position + 1) if len(entries) == LOOK_AT_ONCE else None
            found = [entry for entry in entries if _names(entry)[1:] == (brand, venue_id, subject)]
            if found:
                yield found

    async def trim(self, before: int, *, limit: int) -> int:
        """Forget the oldest events, all before a position; how many. Deliveries of them must have been retired."""
        entries = await self._entries(Range(0, before - 1), limit=limit)
        if not entries:
            return 0
        ids = [event_id for entry in entries if (event_id := _names(entry)[0]) is not None]
        last = entries[-1].position
        async with self._redis.pipeline(transaction=True) as pipe:
            if ids:
                pipe.hdel(keys.LOG_IDS, *ids)
            pipe.xtrim(keys.LOG, minid=stream_id(last + 1), approximate=False)
            await pipe.execute()
        return len(entries)

    async def _entries(self, within: Range, *, limit: int, newest: bool = False) -> list[Entry]:
        first, last = stream_id(within.first), stream_id(within.last)
        if newest:
            rows = await self._redis.xrevrange(keys.LOG, last, first, count=limit)
        else:
            rows = await self._redis.xrange(keys.LOG, first, last, count=limit)
        return [_entry(*row) for row in rows]


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    static, sequence, previous = (fields.get(name, b"") for name in (b"s", b"q", b"p"))
    return Entry(from_stream_id(entry_id), static, sequence, previous, b"t" in fields)


def _names(entry: Entry) -> tuple[str | None, str | None, int | None, str]:
    try:
        return unpack_names(entry.static)
    except CorruptStateError as error:
        logs.event("event unreadable", level="error", exc=error, position=entry.position)
        return None, None, None, ""


def _everybodys(entries: Sequence[Entry]) -> tuple[StoredEvent, ...]:
    """Leave out those for one subscription alone."""
    events = (_event(entry) for entry in entries if not entry.alone)
    return tuple(event for event in events if event is not None)


def _event(entry: Entry) -> StoredEvent | None:
    try:
        return stored_event(entry.position, entry.static, entry.sequence, entry.previous)
    except (CorruptStateError, ValueError) as error:
        logs.event("event unreadable", level="error", exc=error, position=entry.position)
        return None
