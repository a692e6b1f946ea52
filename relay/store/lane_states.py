"""How are lanes doing: what is counted of each, since when something waits, how did attempts go in the last hour?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from relay.core.buckets import LATENCY_MS, quantile_ms
from relay.store import keys
from relay.store.numbers import number
from relay.store.scripts import Scripts

STAT_SLOT_MS: Final = 300_000
COUNTED: Final = ("matched", "delivered", "pending", "dead", "expired", "discarded")


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


async def read_counts(redis: Any, subscription_ids: Sequence[str]) -> dict[str, Counts]:
    """Read rows of the ledger, all as of one moment; see ``DeliveryStore.counts``."""
    if not subscription_ids:
        return {}
    async with redis.pipeline(transaction=True) as pipe:
        for subscription_id in subscription_ids:
            pipe.hmget(keys.lane(subscription_id), COUNTED)
        replies = await pipe.execute(raise_on_error=False)
    return {subscription_id: _counts(values) for subscription_id, values in zip(subscription_ids, replies, strict=True)}


async def read_lane_states(
    redis: Any, scripts: Scripts, subscription_ids: Sequence[str], *, now_ms: int
) -> dict[str, LaneState]:
    """Read how lanes are doing; see ``DeliveryStore.lane_states``."""
    if not subscription_ids:
        return {}
    slot = now_ms // STAT_SLOT_MS
    slots = range(slot - 11, slot + 1)
    async with redis.pipeline(transaction=False) as pipe:
        for subscription_id in subscription_ids:
            lane = keys.lane(subscription_id)
            pipe.hmget(lane, [*COUNTED, "failing", "hold"])
            for each in slots:
                pipe.hgetall(f"{lane}:stat:{each}")
        replies = await pipe.execute(raise_on_error=False)
    waiting = await scripts.run("figures", [], [keys.lane(""), *subscription_ids])
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
            number(values[-2]) or None,
            hold_ms if (hold_ms := number(values[-1])) > now_ms else None,
        )
    return states


def _counts(found: Any) -> Counts:
    return Counts() if isinstance(found, Exception) else Counts(*(number(value) for value in found))


def _rates(stats: Sequence[Mapping[bytes, bytes]]) -> tuple[float | None, float | None]:
    """Success rate and 95th percentile of latency over some slots."""
    succeeded = sum(number(slot.get(b"ok")) for slot in stats)
    failed = sum(number(slot.get(b"failed")) for slot in stats)
    latencies: dict[int, int] = {}
    for slot in stats:
        for name, count in slot.items():
            if name[:1] == b"l":
                latencies[int(name[1:])] = latencies.get(int(name[1:]), 0) + int(count)
    rate = succeeded / (succeeded + failed) if succeeded + failed else None
    return rate, quantile_ms(latencies, LATENCY_MS, 0.95)
