"""Does the ledger close?  Counted from the records: each delivery has ended, or stands in its queue."""

import asyncio
from typing import Final

from relay import logs
from relay.core.deliveries import State, parse_record
from relay.core.errors import CorruptStateError
from relay.core.events import StoredEvent
from relay.pipeline.commit import queue_of
from relay.pipeline.maintain_context import IDLE_MS, PART, MaintainContext
from relay.pipeline.stop import Stop
from relay.store import keys
from relay.store.connection import ResponseError
from relay.store.positions import from_stream_id, stream_id

LOOKS: Final = 3
"""What seems to stand nowhere may have moved between two questions: it is looked at so often."""

PACE: Final = 20
"""A count takes at most one in so many seconds of a worker's time."""


async def count_ledger(ctx: MaintainContext, stop: Stop) -> int:
    """Count the deliveries that are nowhere, by subscription, and keep that."""
    clock = asyncio.get_running_loop().time
    began_s = clock()
    unaccounted: dict[str, int] = {}
    until = await ctx.log.last()
    for subscription_id in [*(await ctx.subscriptions.all()), *(await ctx.maintenance.gone_lanes())]:
        missing = await _count(ctx, subscription_id, until, stop)
        if missing is None:
            return 0
        unaccounted[subscription_id] = missing
    await ctx.maintenance.note_audit(unaccounted, at_ms=await ctx.maintenance.now_ms())
    found = {name: count for name, count in unaccounted.items() if count}
    if found:
        logs.event("ledger does not close", level="error", unaccounted=sum(found.values()), subscriptions=list(found))
    return max(IDLE_MS, int((clock() - began_s) * 1000 * PACE))


async def _count(ctx: MaintainContext, subscription_id: str, until: int, stop: Stop) -> int | None:
    """Deliveries of one lane, made up to a stamp, that are nowhere; None when stopped."""
    lane = keys.lane(subscription_id)
    try:
        await ctx.redis.hlen(lane)
        first, missing = "-", 0
        while not stop.asked:
            entries = await ctx.redis.xrange(lane + ":log", first, stream_id(until), count=PART)
            if not entries:
                return missing
            first = "(" + entries[-1][0].decode()
            positions = [
                int(fields.get(b"p") or from_stream_id(entry_id)) for entry_id, fields in entries if b"n" not in fields
            ]
            missing += await _nowhere(ctx, subscription_id, positions)
    except ResponseError as error:
        logs.event("lane unreadable", level="error", exc=error, subscription=subscription_id)
        return await _pending(ctx, lane)
    return None


async def _nowhere(ctx: MaintainContext, subscription_id: str, positions: list[int]) -> int:
    for _ in range(LOOKS):
        positions = await _unqueued(ctx, subscription_id, await _waiting(ctx, subscription_id, positions))
        if not positions:
            return 0
    return len(positions)


async def _waiting(ctx: MaintainContext, subscription_id: str, positions: list[int]) -> list[int]:
    if not positions:
        return []
    records = await ctx.redis.hmget(keys.lane(subscription_id) + ":dlv", [str(position) for position in positions])
    return [position for position, text in zip(positions, records, strict=True) if _waits(text)]


def _waits(record: bytes | None) -> bool:
    try:
        return parse_record(record).state is State.PENDING
    except CorruptStateError:
        return True


async def _unqueued(ctx: MaintainContext, subscription_id: str, positions: list[int]) -> list[int]:
    """Those that stand in no queue; an event that retention took away meanwhile is no loss."""
    if not positions:
        return []
    queues = {
        position: queue_of(event.brand, event.venue_id, event.subject)
        for position, event in zip(positions, await ctx.log.at(positions), strict=True)
        if isinstance(event, StoredEvent)
    }
    names = [*dict.fromkeys(queues.values()), *(f"{queue}#{position}" for position, queue in queues.items())]
    waiting = await ctx.maintenance.waiting(subscription_id, names)
    queued = {position for positions in waiting for position in positions}
    return [position for position in queues if position not in queued]


async def _pending(ctx: MaintainContext, lane: str) -> int:
    """What a lane that cannot be read should hold: at least one delivery is not where it should be."""
    try:
        return max(1, int(await ctx.redis.hget(lane, "pending") or 0))
    except (ResponseError, ValueError):
        return 1
