"""Which deliveries are there, how do they stand, and does the ledger close?"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis

from relay.core.deliveries import State, parse_record
from relay.store import keys
from relay.store.lane_states import COUNTED, Counts, LaneState, read_counts, read_lane_states
from relay.store.lane_walk import CHUNK, Cursor, Delivery, Page, brand_in, position_in, read_newest
from relay.store.positions import from_stream_id, stream_id
from relay.store.scripts import Argument, Scripts

MOST_DRAINED: Final = 1000
BLANKING_TRIES: Final = 5


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
            deliveries.append(Delivery(subscription_id, position, made, brand_in(fields), record))
        if made_elsewhere:
            async with self._redis.pipeline(transaction=False) as pipe:
                for index, entry_id in made_elsewhere:
                    pipe.xrange(keys.lane(wanted[index][0]) + ":log", entry_id, entry_id)
                for (index, _), entries in zip(made_elsewhere, await pipe.execute(), strict=True):
                    known = deliveries[index]
                    if known is not None and entries:
                        deliveries[index] = Delivery(
                            known.subscription_id, known.position, known.made, brand_in(entries[0][1]), known.record
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
        return await read_newest(self._redis, subscription_ids, limit=limit, after=after, status=status, since=since)

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
        return await read_counts(self._redis, subscription_ids)

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
                position_in(entry_id, fields)
                for entry_id, fields in entries
                if b"n" not in fields and (brand is None or brand_in(fields) == brand)
            ]
            if positions:
                for text in await self._redis.hmget(lane + ":dlv", [str(p) for p in positions]):
                    totals["matched"] += 1
                    totals[parse_record(text).state.value] += 1
        return Counts(**totals)

    async def lane_states(self, subscription_ids: Sequence[str], *, now_ms: int) -> dict[str, LaneState]:
        """How lanes are doing, in two round trips."""
        return await read_lane_states(self._redis, self._scripts, subscription_ids, now_ms=now_ms)

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
