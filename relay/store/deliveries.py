"""Which deliveries are there, how do they stand, and does the ledger close?"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis

from relay.core.buckets import LATENCY_MS, quantile_ms
from relay.core.deliveries import Record, State, parse_record
from relay.store import keys
from relay.store.positions import LARGEST, delivery_id, from_stream_id, stream_id
from relay.store.scripts import Argument, Scripts

CHUNK: Final = 200
MOST_SCANNED: Final = 20_000
MOST_DRAINED: Final = 1000
BLANKING_TRIES: Final = 5
STAT_SLOT_MS: Final = 300_000
COUNTED: Final = ("matched", "delivered", "pending", "dead", "expired", "discarded")


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


@dataclass(frozen=True, slots=True)
class Counts:
    """One row of the ledger."""

    matched: int = 0
    delivered: int = 0
    pending: int = 0
    dead: int = 0
    expired: int = 0
    discarded: int = 0

    @property
    def unaccounted(self) -> int:
        """What was matched and is nowhere; 0 unless the relay is wrong."""
        return self.matched - self.delivered - self.pending - self.dead - self.expired - self.discarded

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, name) + getattr(other, name) for name in COUNTED))


@dataclass(frozen=True, slots=True)
class LaneState:
    """How a lane is doing.

    Attributes:
        oldest_pending_ms: since when the delivery waits that has waited longest, None when nothing is pending.
        success_rate_1h: of attempts in the last hour, 0 to 1; None without any.
        latency_p95_ms_1h: seen to 2xx, None without any.
        failing_since_ms: first failure since the last success.
        hold_until_ms: nothing is sent before, None for no such time.
    """

    counts: Counts
    oldest_pending_ms: int | None
    success_rate_1h: float | None
    latency_p95_ms_1h: float | None
    failing_since_ms: int | None
    hold_until_ms: int | None


UNREADABLE: Final = LaneState(Counts(), None, None, None, None, None)
"""How a lane is shown whose keys hold something else; the count of the ledger tells of it."""


class Retired(NamedTuple):
    """One delivery to be taken out of its lane, as retire.lua takes it.

    Attributes:
        made: stamp at which it was made.
        facts: what is kept of its event, JSON; b"" for nothing.
        what: ``drop`` or ``stop:`` and a replay's id.
    """

    position: int
    made: int
    queue: str
    brand: str
    facts: bytes
    what: str


class DeliveryStore:
    """Reads deliveries, and makes them pending again."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._scripts = scripts

    async def get(self, subscription_id: str, position: int) -> Delivery | None:
        """One delivery, None where there is none (any more)."""
        (found,) = await self.many([(subscription_id, position)])
        return found

    async def many(self, wanted: Sequence[tuple[str, int]]) -> list[Delivery | None]:
        """Deliveries by (subscription, position), None for each that does not exist."""
        if not wanted:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for subscription_id, position in wanted:
                lane = keys.lane(subscription_id)
                pipe.hget(lane + ":dlv", str(position))
                pipe.xrange(lane + ":log", stream_id(position), stream_id(position))
            replies = await pipe.execute()
        deliveries: list[Delivery | None] = []
        made_elsewhere: list[tuple[int, str]] = []
        for index, (subscription_id, position) in enumerate(wanted):
            text, entries = replies[2 * index], replies[2 * index + 1]
            fields = entries[0][1] if entries else {}
            if text is None and (not entries or b"n" in fields):
                deliveries.append(None)
                continue
            record = parse_record(text)
            made = record.made or position
            if record.made:
                made_elsewhere.append((index, stream_id(record.made)))
            deliveries.append(Delivery(subscription_id, position, made, _brand(fields), record))
        if made_elsewhere:
            async with self._redis.pipeline(transaction=False) as pipe:
                for index, entry_id in made_elsewhere:
                    pipe.xrange(keys.lane(wanted[index][0]) + ":log", entry_id, entry_id)
                for (index, _), entries in zip(made_elsewhere, await pipe.execute(), strict=True):
                    known = deliveries[index]
                    if known is not None and entries:
                        deliveries[index] = Delivery(
                            known.subscription_id, known.position, known.made, _brand(entries[0][1]), known.record
                        )
        return deliveries

    async def of_event(self, position: int, subscription_ids: Iterable[str]) -> list[Delivery]:
        """The deliveries of one event, in the order of subscriptions."""
        found = await self.many([(subscription_id, position) for subscription_id in subscription_ids])
        return [delivery for delivery in found if delivery is not None]

    async def newest(
        self,
        subscription_ids: Sequence[str],
        *,
        limit: int,
        after: Cursor | None = None,
        status: State | None = None,
        since: int = 0,
    ) -> Page:
        """Deliveries of some subscriptions, newest first.

        Args:
            after: where the page before ended.
            since: only those made at or after this position.

        Returns:
            At most ``limit``. Where few of many match a status, a page may be short and still have a next.
        """
        walks = [_Walk(name, since=since, after=after) for name in sorted(subscription_ids)]
        await _fill(self._redis, walks, min(limit, CHUNK))
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
                await _fill(self._redis, [walk], CHUNK)
            if walk.buffer:
                heapq.heappush(heap, (-walk.buffer[-1].made, walk.subscription_id, index))
        return Page(tuple(found), last if heap else None)

    async def not_due(self, subscription_ids: Sequence[str]) -> list[str]:
        """Those whose lanes are not on the list of what is due, now or later."""
        if not subscription_ids:
            return []
        due_ms = await self._redis.zmscore(keys.LANES_DUE, subscription_ids)
        return [name for name, at_ms in zip(subscription_ids, due_ms, strict=True) if at_ms is None]

    async def ensure_due(self, subscription_ids: Sequence[str]) -> None:
        """Put lanes on the list that are not on it, due now."""
        if subscription_ids:
            await self._redis.zadd(keys.LANES_DUE, dict.fromkeys(subscription_ids, 0), nx=True)

    async def counts(self, subscription_ids: Sequence[str]) -> dict[str, Counts]:
        """Rows of the ledger, all as of one moment, from the counters that settle, commit and sweep keep."""
        if not subscription_ids:
            return {}
        async with self._redis.pipeline(transaction=True) as pipe:
            for subscription_id in subscription_ids:
                pipe.hmget(keys.lane(subscription_id), COUNTED)
            replies = await pipe.execute(raise_on_error=False)
        return {
            subscription_id: _counts(values) for subscription_id, values in zip(subscription_ids, replies, strict=True)
        }

    async def count_records(self, subscription_id: str, *, since: int, brand: str | None) -> Counts:
        """A row of the ledger counted from the records themselves: for a part of the log."""
        totals = dict.fromkeys(COUNTED, 0)
        first = stream_id(since)
        lane = keys.lane(subscription_id)
        while True:
            entries = await self._redis.xrange(lane + ":log", first, "+", count=CHUNK * 5)
            if not entries:
                break
            first = "(" + entries[-1][0].decode()
            positions = [
                _position(entry_id, fields)
                for entry_id, fields in entries
                if b"n" not in fields and (brand is None or _brand(fields) == brand)
            ]
            if positions:
                for text in await self._redis.hmget(lane + ":dlv", [str(p) for p in positions]):
                    totals["matched"] += 1
                    totals[parse_record(text).state.value] += 1
        return Counts(**totals)

    async def lane_states(self, subscription_ids: Sequence[str], *, now_ms: int) -> dict[str, LaneState]:
        """How lanes are doing, in two round trips."""
        if not subscription_ids:
            return {}
        slot = now_ms // STAT_SLOT_MS
        slots = range(slot - 11, slot + 1)
        async with self._redis.pipeline(transaction=False) as pipe:
            for subscription_id in subscription_ids:
                lane = keys.lane(subscription_id)
                pipe.hmget(lane, [*COUNTED, "failing", "hold"])
                for each in slots:
                    pipe.hgetall(f"{lane}:stat:{each}")
            replies = await pipe.execute(raise_on_error=False)
        waiting = await self._scripts.run("figures", [], [keys.lane(""), *subscription_ids])
        width = 1 + len(slots)
        states: dict[str, LaneState] = {}
        for index, subscription_id in enumerate(subscription_ids):
            found = replies[index * width : (index + 1) * width]
            if any(isinstance(reply, Exception) for reply in found):
                states[subscription_id] = UNREADABLE
                continue
            values, *stats = found
            states[subscription_id] = LaneState(
                _counts(values[: len(COUNTED)]),
                int(waiting[index][2]) or None,
                *_rates(stats),
                _number(values[-2]) or None,
                hold_ms if (hold_ms := _number(values[-1])) > now_ms else None,
            )
        return states

    async def reopen(
        self,
        subscription_id: str,
        deliveries: Sequence[tuple[int, str, str]],
        *,
        replay_id: str = "",
        pull_only: bool = False,
        make: bool = False,
        front: bool = False,
        lists: tuple[str, str] = ("", ""),
    ) -> list[str]:
        """Make deliveries pending again, at the tail of their queues.

        Args:
            deliveries: (position, queue, brand) each; in the order in which they are to be queued.
            replay_id: which replay does it.
            pull_only: the subscription has no url.
            make: also make those that do not exist.
            front: queue them before what was committed since, for a lane that is not open yet.
            lists: keys of a replay's positions: those yet to queue, those queued.

        Returns:
            One word each: ``pending`` (it was already; its next attempt is due now), ``reopened``, ``made``, ``gone``.
        """
        if not deliveries:
            return []
        args: list[Argument] = [
            keys.lane(""),
            subscription_id,
            replay_id,
            "1" if pull_only else "0",
            keys.wake("deliver", ""),
            keys.wake("deliver"),
            "1" if make else "0",
            "1" if front else "0",
        ]
        for position, queue, brand in deliveries:
            args += [position, queue, brand]
        _, results = await self._scripts.run("reopen", [keys.LOG, keys.CLOCK, keys.LANES_DUE, *lists], args)
        return [result.decode() for result in results]

    async def retire(self, subscription_id: str, deliveries: Sequence[Retired]) -> tuple[int, int, int]:
        """Drop, expire or discard deliveries; how many of each."""
        if not deliveries:
            return (0, 0, 0)
        args: list[Argument] = [keys.lane(""), subscription_id]
        for fields in deliveries:
            args += fields
        dropped, expired, discarded = await self._scripts.run("retire", [keys.CLOCK, keys.COUNTERS], args)
        return dropped, expired, discarded

    async def drain(
        self, subscription_id: str, *, verdict: str, below: int | None = None, prefix: str = "", queues: int = CHUNK
    ) -> int:
        """End what waits in a lane without sending it, a bounded number of queues a call; how many deliveries.

        Args:
            verdict: ``e`` expired, ``c`` discarded.
            below: only events before that position, and none that was opened again.
            prefix: only queues that begin so: a brand and a slash.
        """
        ended = 0
        for name in ("ready", "retry"):
            passed, more = 0, True
            while more:
                left, done, more = await self._scripts.run(
                    "drain_lane",
                    [keys.COUNTERS],
                    [
                        keys.lane(""),
                        subscription_id,
                        verdict,
                        "" if below is None else below,
                        prefix,
                        queues,
                        passed,
                        name,
                        MOST_DRAINED,
                    ],
                )
                ended += done
                passed += left
        return ended

    async def dead(self, subscription_id: str) -> list[int]:
        """Positions of all that died, as they died."""
        return [int(position) for position in await self._redis.zrange(keys.lane(subscription_id) + ":dead", 0, -1)]

    async def listed(self, subscription_id: str, since: int, *, limit: int) -> list[int]:
        """Positions of events listed for a subscription that is pulled from, as they were committed since a stamp."""
        entries = await self._redis.xrange(keys.lane(subscription_id) + ":log", stream_id(since), "+", count=limit)
        return [from_stream_id(entry_id) for entry_id, fields in entries if b"n" in fields and b"p" not in fields]

    async def blank_excerpts(self, position: int, subscription_ids: Iterable[str]) -> int:
        """Drop what partners answered to one event, which may quote it; how many records were written anew."""
        written = 0
        for subscription_id in subscription_ids:
            records = keys.lane(subscription_id) + ":dlv"
            for _ in range(BLANKING_TRIES):
                present = await self._redis.hget(records, str(position))
                blanked = _without_excerpts(present)
                if present is None or blanked == present:
                    break
                (done,) = await self._scripts.run("replace_record", [records], [position, present, blanked])
                written += done
                if done:
                    break
        return written


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
                    (_position(entry_id, fields), from_stream_id(entry_id), _brand(fields))
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


def _position(entry_id: bytes, fields: Mapping[bytes, bytes]) -> int:
    elsewhere = fields.get(b"p")
    return from_stream_id(entry_id) if elsewhere is None else int(elsewhere)


def _brand(fields: Mapping[bytes, bytes]) -> str | None:
    brand = fields.get(b"b", b"").decode()
    return brand or None


def _number(found: bytes | None) -> int:
    try:
        return int(found or 0)
    except ValueError:
        return 0


def _counts(found: Any) -> Counts:
    return Counts() if isinstance(found, Exception) else Counts(*(_number(value) for value in found))


def _without_excerpts(record: bytes | None) -> bytes:
    head, *lines = (record or b"").split(b"\n")
    blanked = [head]
    for line in lines:
        try:
            attempt = orjson.loads(line)
            blanked.append(orjson.dumps({**attempt, "response_excerpt": None}))
        except (ValueError, TypeError):
            continue  # what cannot be read may hold anything
    return b"\n".join(blanked)


def _rates(stats: Sequence[Mapping[bytes, bytes]]) -> tuple[float | None, float | None]:
    """Success rate and 95th percentile of latency over some slots."""
    succeeded = sum(int(slot.get(b"ok", 0)) for slot in stats)
    failed = sum(int(slot.get(b"failed", 0)) for slot in stats)
    latencies: dict[int, int] = {}
    for slot in stats:
        for name, count in slot.items():
            if name[:1] == b"l":
                latencies[int(name[1:])] = latencies.get(int(name[1:]), 0) + int(count)
    rate = succeeded / (succeeded + failed) if succeeded + failed else None
    return rate, quantile_ms(latencies, LATENCY_MS, 0.95)
