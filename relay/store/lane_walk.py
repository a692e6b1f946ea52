"""How are deliveries listed, newest first, out of the logs of several lanes at once?"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from relay.core.deliveries import Record, State, parse_record
from relay.store import keys
from relay.store.positions import LARGEST, delivery_id, from_stream_id, stream_id

CHUNK: Final = 200
MOST_SCANNED: Final = 20_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of an event to a subscription.

    Attributes:
        position: of its event in the log.
        made: stamp at which it was made.
    """

    subscription_id: str
    position: int
    made: int
    brand: str | None
    record: Record

    @property
    def id(self) -> str:
        """As the API shows it."""
        return delivery_id(self.subscription_id, self.position)

    @property
    def facts(self) -> dict[str, Any]:
        """What is kept of an event that the log no longer has."""
        return orjson.loads(self.record.facts) if self.record.facts else {}


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a list goes on: after that delivery."""

    made: int
    subscription_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """Deliveries, newest first; ``next`` is None at the end."""

    deliveries: tuple[Delivery, ...]
    next: Cursor | None


async def read_newest(
    redis: Any,
    subscription_ids: Sequence[str],
    *,
    limit: int,
    after: Cursor | None,
    status: State | None,
    since: int,
) -> Page:
    """Read deliveries of some subscriptions, newest first; see ``DeliveryStore.newest``."""
    walks = [_Walk(name, since=since, after=after) for name in sorted(subscription_ids)]
    await _fill(redis, walks, min(limit, CHUNK))
    heap: list[tuple[int, str, int]] = []
    for index, walk in enumerate(walks):
        if walk.buffer:
            heapq.heappush(heap, (-walk.buffer[-1].made, walk.subscription_id, index))
    found: list[Delivery] = []
    scanned = 0
    last: Cursor | None = None
    while heap and len(found) < limit and scanned < MOST_SCANNED:
        _, _, index = heapq.heappop(heap)
        walk = walks[index]
        delivery = walk.buffer.pop()
        scanned += 1
        last = Cursor(delivery.made, delivery.subscription_id)
        if status is None or delivery.record.state is status:
            found.append(delivery)
        if not walk.buffer:
            await _fill(redis, [walk], CHUNK)
        if walk.buffer:
            heapq.heappush(heap, (-walk.buffer[-1].made, walk.subscription_id, index))
    return Page(tuple(found), last if heap else None)


class _Walk:
    """Reads one lane's log backwards, a chunk at a time; ``buffer`` holds the next at its end."""

    def __init__(self, subscription_id: str, *, since: int, after: Cursor | None) -> None:
        self.subscription_id = subscription_id
        self.buffer: list[Delivery] = []
        self.since = since
        self.done = False
        if after is None:
            self.last = LARGEST
        else:
            # Several subscriptions share the stamp of one event: those that sort after the cursor's come first.
            self.last = after.made if subscription_id > after.subscription_id else after.made - 1


async def _fill(redis: Any, walks: Sequence[_Walk], count: int) -> None:
    """Read the next chunk of every walk that has used up its own."""
    open_walks = [walk for walk in walks if not walk.done and not walk.buffer]
    while open_walks:
        async with redis.pipeline(transaction=False) as pipe:
            for walk in open_walks:
                pipe.xrevrange(
                    keys.lane(walk.subscription_id) + ":log", stream_id(walk.last), stream_id(walk.since), count=count
                )
            chunks = await pipe.execute()
        records_of: list[tuple[_Walk, list[tuple[int, int, str | None]]]] = []
        async with redis.pipeline(transaction=False) as pipe:
            for walk, entries in zip(open_walks, chunks, strict=True):
                walk.done = len(entries) < count
                if entries:
                    walk.last = from_stream_id(entries[-1][0]) - 1
                    walk.done = walk.done or walk.last < walk.since
                rows = [
                    (position_in(entry_id, fields), from_stream_id(entry_id), brand_in(fields))
                    for entry_id, fields in entries
                    if b"n" not in fields
                ]
                if rows:
                    records_of.append((walk, rows))
                    pipe.hmget(keys.lane(walk.subscription_id) + ":dlv", [str(position) for position, _, _ in rows])
            texts = await pipe.execute() if records_of else []
        for (walk, rows), found in zip(records_of, texts, strict=True):
            walk.buffer = [
                Delivery(walk.subscription_id, position, made, brand, parse_record(text))
                for (position, made, brand), text in zip(rows, found, strict=True)
            ][::-1]
        open_walks = [walk for walk in open_walks if not walk.done and not walk.buffer]


def position_in(entry_id: bytes, fields: Mapping[bytes, bytes]) -> int:
    """Of the event that an entry of a lane's log is of."""
    elsewhere = fields.get(b"p")
    return from_stream_id(entry_id) if elsewhere is None else int(elsewhere)


def brand_in(fields: Mapping[bytes, bytes]) -> str | None:
    """Whose event an entry of a lane's log is of."""
    brand = fields.get(b"b", b"").decode()
    return brand or None
