"""What goes on in the background?  Retention, expiry, discarding, replays, the count of the ledger, announcements."""

import asyncio
from typing import Final

from relay import logs
from relay.core import breaker
from relay.core.changes import Feed
from relay.core.errors import RelayError
from relay.pipeline.ledger import count_ledger
from relay.pipeline.maintain_context import BUSY_MS, IDLE_MS, PART, ROUNDS, MaintainContext, Task
from relay.pipeline.retention import retain
from relay.pipeline.stop import ShiftReport, Stop
from relay.store.connection import RedisError, ResponseError
from relay.store.positions import first_at
from relay.store.snapshots import Scope

__all__ = ["TASKS", "MaintainContext", "Task", "maintain_shift"]

LEASE_MS: Final = 120_000
REPLAY_MS: Final = 1_000


async def maintain_shift(ctx: MaintainContext, *, owner: str, stop: Stop) -> ShiftReport:
    """Run every background task that is due.

    Args:
        owner: name of this worker.
    """
    tasks = {**TASKS, **ctx.more_tasks}
    clock = asyncio.get_running_loop().time
    await ctx.maintenance.ensure(list(tasks))
    done = 0
    while not stop.asked:
        name, _, next_ms = await ctx.maintenance.claim(lease_ms=LEASE_MS)
        if name is None:
            return ShiftReport(done, next_ms)
        if name not in tasks:
            # Of another version of the relay: not ours to do, nor to throw away.
            continue
        began_s = clock()
        try:
            wait_ms = await tasks[name](ctx, stop)
        except (RedisError, RelayError) as error:
            logs.event("task failed", level="warning", exc=error, task=name, owner=owner)
            wait_ms = BUSY_MS
        await ctx.maintenance.next_in(name, wait_ms)
        logs.event("task", level="debug", task=name, duration_ms=int((clock() - began_s) * 1000))
        done += 1
    return ShiftReport(done)


async def expire(ctx: MaintainContext, stop: Stop) -> int:
    """End deliveries that are older than their subscription's max_age, also while nothing is sent."""
    wait_ms = IDLE_MS
    for stored in (await ctx.subscriptions.all()).values():
        subscription = stored.value
        if subscription.max_age_s is None or stop.asked:
            continue
        max_age_ms = int(subscription.max_age_s * 1000)
        now_ms = await ctx.maintenance.now_ms()
        ended = await _drain(ctx, subscription.id, verdict="e", below=first_at(now_ms - max_age_ms))
        if ended:
            logs.event("deliveries expired", subscription=subscription.id, count=ended)
        lane = (await ctx.deliveries.lane_states([subscription.id], now_ms=now_ms))[subscription.id]
        oldest_ms = lane.oldest_pending_ms or now_ms
        wait_ms = min(wait_ms, max(BUSY_MS, oldest_ms + max_age_ms - now_ms))
    return wait_ms


async def _drain(
    ctx: MaintainContext, subscription_id: str, *, verdict: str, below: int | None = None, prefix: str = ""
) -> int:
    """End what waits in a lane; one that cannot be read is passed over."""
    try:
        return await ctx.deliveries.drain(subscription_id, verdict=verdict, below=below, prefix=prefix)
    except ResponseError as error:
        logs.event("lane unreadable", level="error", exc=error, subscription=subscription_id)
        return 0


async def give_up(ctx: MaintainContext, stop: Stop) -> int:
    """Disable subscriptions for which something waits and whose partner has not answered well for five days."""
    active = [key for key, stored in (await ctx.subscriptions.all()).items() if stored.value.status == "active"]
    if stop.asked or not active:
        return IDLE_MS
    now_ms = await ctx.maintenance.now_ms()
    for name, lane in (await ctx.deliveries.lane_states(active, now_ms=now_ms)).items():
        if lane.counts.pending and breaker.disable_due(lane.failing_since_ms, now_ms):
            await ctx.disable(name, "no success for five days")
    return IDLE_MS


async def discard(ctx: MaintainContext, stop: Stop) -> int:
    """End deliveries whose subscription or brand is gone, and forget what is left of the brand."""
    for brand in await ctx.maintenance.gone_brands():
        if stop.asked:
            return 0
        if await ctx.brands.get(brand) is None:
            ended = await _discard_brand(ctx, brand)
            await ctx.forget_brand(brand)
            logs.event("brand forgotten", brand=brand, discarded=ended)
        await ctx.maintenance.brand_forgotten(brand)
    for subscription_id in await ctx.maintenance.gone_lanes():
        if stop.asked:
            return 0
        ended = await _drain(ctx, subscription_id, verdict="c")
        if ended:
            logs.event("deliveries discarded", subscription=subscription_id, count=ended)
    return IDLE_MS


async def _discard_brand(ctx: MaintainContext, brand: str) -> int:
    """End deliveries of a brand that is gone; how many."""
    ended = 0
    for subscription_id in await ctx.subscriptions.all():
        ended += await _drain(ctx, subscription_id, verdict="c", prefix=f"{brand}/")
    return ended


async def replay(ctx: MaintainContext, stop: Stop) -> int:
    """Queue the next parts of replays; finish opening lanes that a killed process left shut."""
    await ctx.past.open_all()
    for _ in range(ROUNDS):
        if stop.asked or not await ctx.replays.step_all():
            break
    return REPLAY_MS if await ctx.replays.running() else IDLE_MS


async def announce(ctx: MaintainContext, stop: Stop) -> int:
    """Commit operational events that whoever caused them did not live to commit."""
    if not stop.asked:
        await ctx.committer.drain_announcements()
    return IDLE_MS


async def trim_snapshots(ctx: MaintainContext, stop: Stop) -> int:
    """Forget things that were settled longer ago than twice the retention; their ids stay known as old."""
    before = first_at(await ctx.maintenance.now_ms() - 2 * ctx.retention_ms)
    for brand in await ctx.brands.all():
        scopes = [Scope(brand, None, Feed.VENUES.value)]
        for venue_id in await ctx.venues_of(brand):
            scopes += [Scope(brand, venue_id, feed.value) for feed in (Feed.ORDERS, Feed.STATIONS)]
        for scope in scopes:
            while not stop.asked and await ctx.snapshots.trim(scope, before=before, limit=PART) == PART:
                pass
    return max(min(ctx.retention_ms, 12 * IDLE_MS), IDLE_MS)


TASKS: "Final[dict[str, Task]]" = {
    "announce": announce,
    "count ledger": count_ledger,
    "discard": discard,
    "expire": expire,
    "give up": give_up,
    "replay": replay,
    "retain": retain,
    "trim snapshots": trim_snapshots,
}
"""What there is to do; whoever makes one of them urgent hurries it."""
