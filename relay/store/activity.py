"""How did attempts go lately, five minutes at a time, and which deliveries were given up last?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from relay.store import keys
from relay.store.lane_states import STAT_SLOT_MS

MANY: Final = 20
KEPT: Final = 8
"""Answers about many subscriptions that are kept, in this process."""

FEW: Final = 5
"""Deliveries of a subscription that are looked at to tell why it fails."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts of one stretch of five minutes."""

    starts_ms: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Dead:
    """A delivery that was given up, and when."""

    subscription_id: str
    position: int
    died_ms: int


class Activity:
    """Reads what settling attempts has left behind."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._past: dict[tuple[str | int, ...], list[tuple[int, int]]] = {}

    async def attempts(self, subscription_ids: Sequence[str], *, now_ms: int, slots: int) -> list[Attempts]:
        """Attempts to some subscriptions together, oldest first; at most two hours are kept.

        Of many subscriptions, stretches that are over are read once: a page that asks every few seconds costs a read of
        the present one.

        Args:
            slots: how many stretches of five minutes, the present one included.
        """
        last = now_ms // STAT_SLOT_MS
        numbers = list(range(last - slots + 1, last + 1))
        asked: tuple[str | int, ...] = (*subscription_ids, slots, last)
        past = self._past.get(asked)
        if past is None:
            past = await self._sums(subscription_ids, numbers[:-1])
            if len(subscription_ids) > MANY:
                self._past = {**dict(list(self._past.items())[1 - KEPT :]), asked: past}
        sums = [*past, *await self._sums(subscription_ids, numbers[-1:])]
        return [
            Attempts(number * STAT_SLOT_MS, succeeded, failed)
            for number, (succeeded, failed) in zip(numbers, sums, strict=True)
        ]

    async def _sums(self, subscription_ids: Sequence[str], numbers: Sequence[int]) -> list[tuple[int, int]]:
        """What succeeded and what failed in each of some stretches."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for number in numbers:
                for subscription_id in subscription_ids:
                    pipe.hmget(f"{keys.lane(subscription_id)}:stat:{number}", ["ok", "failed"])
            replies = await pipe.execute() if subscription_ids and numbers else []
        width = len(subscription_ids)
        parts = [replies[index * width : (index + 1) * width] for index in range(len(numbers))]
        return [(sum(int(ok or 0) for ok, _ in part), sum(int(failed or 0) for _, failed in part)) for part in parts]

    async def retried(self, subscription_ids: Sequence[str]) -> list[tuple[str, int]]:
        """Some deliveries of each subscription that failed and will be tried again: (subscription, position)."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for subscription_id in subscription_ids:
                pipe.zrange(keys.lane(subscription_id) + ":retry", 0, FEW - 1)
            replies = await pipe.execute() if subscription_ids else []
        queues = [
            (subscription_id, queue.decode())
            for subscription_id, found in zip(subscription_ids, replies, strict=True)
            for queue in found
        ]
        async with self._redis.pipeline(transaction=False) as pipe:
            for subscription_id, queue in queues:
                pipe.lindex(f"{keys.lane(subscription_id)}:q:{queue}", 0)
            heads = await pipe.execute() if queues else []
        return [(subscription_id, int(head)) for (subscription_id, _), head in zip(queues, heads, strict=True) if head]

    async def dead(self, subscription_ids: Sequence[str], *, limit: int, skip: int = 0) -> list[Dead]:
        """Deliveries that were given up, the last first.

        Args:
            limit: at most so many.
            skip: not the last so many.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            for subscription_id in subscription_ids:
                pipe.zrange(keys.lane(subscription_id) + ":dead", 0, skip + limit - 1, desc=True, withscores=True)
            replies = await pipe.execute() if subscription_ids else []
        found = [
            Dead(subscription_id, int(position), int(died_ms))
            for subscription_id, entries in zip(subscription_ids, replies, strict=True)
            for position, died_ms in entries
        ]
        return sorted(found, key=lambda each: (-each.died_ms, each.subscription_id, each.position))[skip : skip + limit]
