"""Which background tasks are due, and what did the last count of the ledger find?"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis

from relay.store import keys
from relay.store.scripts import Scripts

ALIGN_MS = 60_000


class Maintenance:
    """Due times of background tasks, in Redis' time; one worker takes each."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._scripts = scripts

    async def ensure(self, tasks: Sequence[str]) -> None:
        """Make each task due now that was never due before."""
        await self._redis.zadd(keys.MAINTAIN_DUE, dict.fromkeys(tasks, await self.now_ms()), nx=True)

    async def now_ms(self) -> int:
        """Redis' time."""
        seconds, micros = await self._redis.time()
        return int(seconds * 1000 + micros // 1000)

    async def hurry(self, task: str) -> None:
        """Make a task due now; the scheduler is woken for it."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.zadd(keys.MAINTAIN_DUE, {task: await self.now_ms()})
            pipe.rpush(keys.wake("scheduler"), "1")
            pipe.ltrim(keys.wake("scheduler"), 0, 0)
            pipe.pexpire(keys.wake("scheduler"), 60_000)
            await pipe.execute()

    async def claim(self, *, lease_ms: int) -> tuple[str | None, int, int | None]:
        """Take one task that is due: its name (None without), Redis' time, and when the next is due.

        It is due again after ``lease_ms`` if nobody says otherwise.
        """
        name, now_ms, next_ms = await self._scripts.run("claim_task", [keys.MAINTAIN_DUE], [lease_ms])
        return (name.decode() or None), now_ms, None if next_ms < 0 else next_ms

    async def next_in(self, task: str, wait_ms: int) -> None:
        """A task is done; it is due again after so long.

        Long waits end on whole minutes of Redis' clock, so that all that is idle costs one shift together.
        """
        due_ms = await self.now_ms() + wait_ms
        if wait_ms >= ALIGN_MS:
            due_ms -= due_ms % ALIGN_MS
        await self._redis.zadd(keys.MAINTAIN_DUE, {task: due_ms})

    async def brand_gone(self, brand: str) -> None:
        """Note, before a brand is deleted, that its deliveries are to be discarded and the rest forgotten."""
        await self._redis.zadd(keys.BRANDS_GONE, {brand: await self.now_ms()})

    async def gone_brands(self) -> list[str]:
        """Brands that were deleted and of which something is left."""
        return [name.decode() for name in await self._redis.zrange(keys.BRANDS_GONE, 0, -1)]

    async def brand_forgotten(self, brand: str) -> None:
        """Nothing is left of it."""
        await self._redis.zrem(keys.BRANDS_GONE, brand)

    async def gone_lanes(self) -> list[str]:
        """Subscriptions that were deleted and whose lanes still hold something."""
        return [name.decode() for name in await self._redis.zrange(keys.LANES_GONE, 0, -1)]

    async def forget_lane(self, subscription_id: str) -> bool:
        """Delete what is left of a deleted subscription's lane; False while it still holds deliveries."""
        lane = keys.lane(subscription_id)
        if await self._redis.xlen(lane + ":log"):
            return False
        fields = [
            field
            for field in await self._redis.hkeys(keys.COUNTERS)
            if field.startswith((b"attempts|", b"deliveries|")) and field.split(b"|")[1] == subscription_id.encode()
        ]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(lane, *(lane + part for part in (":ready", ":retry", ":log", ":dlv", ":dead")))
            pipe.zrem(keys.LANES_GONE, subscription_id)
            if fields:
                pipe.hdel(keys.COUNTERS, *fields)
            await pipe.execute()
        return True

    async def note_audit(self, unaccounted: Mapping[str, int], *, at_ms: int) -> None:
        """Keep what a count of the records found."""
        await self._redis.hset(
            keys.LEDGER_AUDIT,
            mapping={"at_ms": at_ms, "unaccounted": sum(unaccounted.values()), "by": orjson.dumps(dict(unaccounted))},
        )

    async def audit(self) -> tuple[int, int] | None:
        """The last count: unaccounted deliveries, and when (epoch ms); None before the first."""
        unaccounted, at_ms = await self._redis.hmget(keys.LEDGER_AUDIT, ["unaccounted", "at_ms"])
        return None if at_ms is None else (int(unaccounted), int(at_ms))

    async def waiting(self, subscription_id: str, queues: Sequence[str]) -> list[list[int]]:
        """What waits in some queues of a lane, in order; nothing in one that its lane does not know of."""
        if not queues:
            return []
        lane = keys.lane(subscription_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zmscore(lane + ":ready", queues)
            pipe.zmscore(lane + ":retry", queues)
            for queue in queues:
                pipe.lrange(f"{lane}:q:{queue}", 0, -1)
            ready, retry, *found = await pipe.execute()
        return [
            _waiting(positions, head=first, listed=first is not None or again is not None)
            for first, again, positions in zip(ready, retry, found, strict=True)
        ]


def _waiting(positions: Sequence[bytes], *, head: float | None, listed: bool) -> list[int]:
    if not positions and head is not None:
        return [abs(int(head))]  # a queue of one that was never tried stands in its score
    return [int(position) for position in positions] if listed else []
