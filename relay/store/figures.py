"""What stands in Redis at this moment, for the metrics?  A few round trips, however many subscriptions there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from relay.store import keys
from relay.store.brands import Brand, BrandStore
from relay.store.counters import parse_counters
from relay.store.documents import Stored
from relay.store.scripts import Scripts
from relay.store.slots import DUE, KINDS
from relay.store.subscriptions import Subscription, SubscriptionStore

LANES_A_CALL: Final = 200
"""So that no call of the script holds Redis up."""


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """One subscription's backlog; ``oldest_ms`` is since when that waits which has waited longest, None for none."""

    pending: int
    dead: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """One kind of shift.

    Attributes:
        queued: jobs in RQ that nobody has begun.
        started: shifts that run.
        overdue_ms: how long the first thing that nobody looks after has been due.
    """

    queued: int
    started: int
    overdue_ms: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it; times are epoch ms of Redis' clock.

    Attributes:
        lanes: by subscription.
        audit: unaccounted deliveries, and when they were counted; None before the first count.
    """

    now_ms: int
    counters: Mapping[tuple[str, ...], int]
    subscriptions: Mapping[str, Subscription]
    brands: Mapping[str, Stored[Brand]]
    lanes: Mapping[str, LaneFigures]
    queues: Mapping[str, QueueFigures]
    schedulers: int
    memory_bytes: int
    memory_limit_bytes: int
    audit: tuple[int, int] | None


class FigureStore:
    """Reads them; documents are read again only when one has changed."""

    def __init__(self, redis: Redis, scripts: Scripts, *, subscriptions: SubscriptionStore, brands: BrandStore) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._scripts = scripts
        self._subscription_store = subscriptions
        self._brand_store = brands
        self._epochs: tuple[int, int] = (-1, -1)
        self._subscriptions: dict[str, Subscription] = {}
        self._brands: dict[str, Stored[Brand]] = {}

    async def read(self, *, queue_keys: Mapping[str, str]) -> Figures:
        """Read everything.

        Args:
            queue_keys: of each kind of shift, the list of RQ's that holds its jobs.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.get(self._subscription_store.epoch_key)
            pipe.get(self._brand_store.epoch_key)
            pipe.hgetall(keys.COUNTERS)
            pipe.info("memory")
            pipe.exists(keys.SCHEDULER_LEASE)
            pipe.hmget(keys.LEDGER_AUDIT, ["unaccounted", "at_ms"])
            for kind in KINDS:
                pipe.llen(queue_keys[kind])
                pipe.zrange(f"{keys.slots(kind)}:running", 0, -1, withscores=True)
                pipe.zrange(DUE[kind], 0, 0, withscores=True)
            (seconds, micros), sub_epoch, brand_epoch, counters, memory, schedulers, audit, *rest = await pipe.execute()
        now_ms = seconds * 1000 + micros // 1000
        await self._refresh((int(sub_epoch or 0), int(brand_epoch or 0)))
        return Figures(
            now_ms=now_ms,
            counters=parse_counters(counters),
            subscriptions=self._subscriptions,
            brands=self._brands,
            lanes=await self._lanes(list(self._subscriptions)),
            queues={kind: _queue(rest[3 * at : 3 * at + 3], now_ms) for at, kind in enumerate(KINDS)},
            schedulers=int(schedulers),
            memory_bytes=int(memory["used_memory"]),
            memory_limit_bytes=int(memory["maxmemory"]),
            audit=None if audit[1] is None else (int(audit[0] or 0), int(audit[1])),
        )

    async def _refresh(self, epochs: tuple[int, int]) -> None:
        if epochs == self._epochs:
            return
        sub_epoch, subscriptions = await self._subscription_store.snapshot()
        brand_epoch, brands = await self._brand_store.snapshot()
        self._subscriptions = {key: stored.value for key, stored in subscriptions.items()}
        self._brands = brands
        self._epochs = (sub_epoch, brand_epoch)

    async def _lanes(self, names: Sequence[str]) -> dict[str, LaneFigures]:
        parts = [names[start : start + LANES_A_CALL] for start in range(0, len(names), LANES_A_CALL)]
        replies = (
            await self._scripts.run_all([("figures", [], [keys.lane(""), *part]) for part in parts]) if parts else []
        )
        found: dict[str, LaneFigures] = {}
        for part, reply in zip(parts, replies, strict=True):
            for name, (pending, dead, oldest) in zip(part, reply, strict=True):
                found[name] = LaneFigures(pending, dead, int(oldest) or None)
        return found


def _queue(replies: Sequence[Any], now_ms: int) -> QueueFigures:
    queued, running, first = replies
    due_ms = first[0][1] if first else now_ms
    started = sum(1 for _, lapses_ms in running if lapses_ms > now_ms)
    return QueueFigures(queued, started, max(0, int(now_ms - due_ms)))
