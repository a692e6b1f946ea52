"""What goes on in the background?  Retention, expiry, discarding, replays, the count of the ledger, announcements."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

import orjson

from relay import logs
from relay.core.changes import Feed
from relay.core.deliveries import State, parse_record
from relay.core.errors import RelayError
from relay.core.events import StoredEvent
from relay.pipeline.commit import Committer, queue_of
from relay.pipeline.replay import Past, Replays
from relay.pipeline.stop import ShiftReport, Stop
from relay.store import keys
from relay.store.brands import BrandStore
from relay.store.connection import RedisError
from relay.store.deliveries import DeliveryStore
from relay.store.log import Log
from relay.store.maintenance import Maintenance
from relay.store.positions import first_at, stream_id
from relay.store.snapshots import Scope, SnapshotStore
from relay.store.subscriptions import SubscriptionStore

PART: Final = 500
LEASE_MS: Final = 120_000
IDLE_MS: Final = 300_000
"""Between two rounds while there is nothing to do; a shift costs Redis some sixty commands."""

BUSY_MS: Final = 5_000
REPLAY_MS: Final = 1_000
ROUNDS: Final = 200
"""Parts of one task before the others have their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintainContext:
    """What a maintain shift works with.

    Attributes:
        venues_of: ids of a brand's venues.
        forget_brand: deletes what looking at a brand has left.
        more_tasks: further tasks by name.
    """

    redis: Any
    maintenance: Maintenance
    subscriptions: SubscriptionStore
    brands: BrandStore
    deliveries: DeliveryStore
    snapshots: SnapshotStore
    log: Log
    committer: Committer
    replays: Replays
    past: Past
    retention_ms: int
    venues_of: Callable[[str], Awaitable[Collection[int]]]
    forget_brand: Callable[[str], Awaitable[None]]
    more_tasks: "dict[str, Task]"


Task = Callable[[MaintainContext, Stop], Awaitable[int]]
"""Does its work in parts; gives the ms after which it wants to go on."""


async def maintain_shift(ctx: MaintainContext, *, owner: str, stop: Stop) -> ShiftReport:
    """Run every background task that is due.

    Args:
        owner: name of this worker.
    """
    tasks = {**TASKS, **ctx.more_tasks}
    await ctx.maintenance.ensure(list(tasks))
    done = 0
    while not stop.asked:
        name, _, next_ms = await ctx.maintenance.claim(lease_ms=LEASE_MS)
        if name is None:
            return ShiftReport(done, next_ms)
        if name not in tasks:
            # Of another version of the relay: not ours to do, nor to throw away.
            continue
        began_s = asyncio.get_running_loop().time()
        try:
            wait_ms = await tasks[name](ctx, stop)
        except (RedisError, RelayError) as error:
            logs.event("task failed", level="warning", exc=error, task=name, owner=owner)
            wait_ms = BUSY_MS
        await ctx.maintenance.next_in(name, wait_ms)
        logs.event(
            "task", level="debug", task=name, duration_ms=int((asyncio.get_running_loop().time() - began_s) * 1000)
        )
        done += 1
    return ShiftReport(done)


async def retain(ctx: MaintainContext, stop: Stop) -> int:
    """Forget what is older than the retention: deliveries first, the log after them; what still waits expires."""
    before = first_at(await ctx.maintenance.now_ms() - ctx.retention_ms)
    lanes = [*(await ctx.subscriptions.all()), *(await ctx.maintenance.gone_lanes())]
    for subscription_id in lanes:
        for _ in range(ROUNDS):
            if stop.asked:
                return 0
            if not await _retire_part(ctx, subscription_id, before):
                break
    for subscription_id in await ctx.maintenance.gone_lanes():
        await ctx.maintenance.forget_lane(subscription_id)
    for _ in range(ROUNDS):
        if stop.asked or await ctx.log.trim(before, limit=PART) < PART:
            break
    return min(max(ctx.retention_ms // 20, 1000), IDLE_MS)


async def _retire_part(ctx: MaintainContext, subscription_id: str, before: int) -> bool:
    """Retire the oldest deliveries of a lane; True when there may be more."""
    lane = keys.lane(subscription_id)
    entries = await ctx.redis.xrange(lane + ":log", "-", f"({stream_id(before)}", count=PART)
    if not entries:
        return False
    pulled = [entry_id for entry_id, fields in entries if b"n" in fields]
    if pulled:
        await ctx.redis.xdel(lane + ":log", *pulled)
    rows = [
        (_made(entry_id), int(fields.get(b"p") or _made(entry_id)), fields.get(b"b", b"").decode())
        for entry_id, fields in entries
        if b"n" not in fields
    ]
    if rows:
        records = await ctx.redis.hmget(lane + ":dlv", [str(position) for _, position, _ in rows])
        waiting = [
            position
            for (_, position, _), text in zip(rows, records, strict=True)
            if parse_record(text).state is State.PENDING
        ]
        events = dict(zip(waiting, await ctx.log.at(waiting), strict=True))
        _, expired, _ = await ctx.deliveries.retire(
            subscription_id,
            [
                (position, made, _queue(events.get(position)), brand, _facts(events.get(position)), "drop")
                for made, position, brand in rows
            ],
        )
        if expired:
            logs.event("deliveries expired", level="warning", subscription=subscription_id, count=expired)
    return len(entries) == PART


def _made(entry_id: bytes) -> int:
    ms, _, count = entry_id.partition(b"-")
    return int(ms) * keys.STAMPS_PER_MS + int(count)


def _queue(event: StoredEvent | None) -> str:
    return "-" if event is None else queue_of(event.brand, event.venue_id, event.subject)


def _facts(event: StoredEvent | None) -> bytes:
    if event is None:
        return b""
    return orjson.dumps(
        {
            "id": event.id,
            "type": event.type,
            "brand": event.brand,
            "venue_id": event.venue_id,
            "subject": event.subject,
        }
    )


async def expire(ctx: MaintainContext, stop: Stop) -> int:
    """End deliveries that are older than their subscription's max_age, also while nothing is sent."""
    wait_ms = IDLE_MS
    for stored in (await ctx.subscriptions.all()).values():
        subscription = stored.value
        if subscription.max_age_s is None or stop.asked:
            continue
        wait_ms = BUSY_MS
        below = first_at(await ctx.maintenance.now_ms() - int(subscription.max_age_s * 1000))
        ended = await ctx.deliveries.drain(subscription.id, verdict="e", below=below)
        if ended:
            logs.event("deliveries expired", subscription=subscription.id, count=ended)
    return wait_ms


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
        ended = await ctx.deliveries.drain(subscription_id, verdict="c")
        if ended:
            logs.event("deliveries discarded", subscription=subscription_id, count=ended)
    return IDLE_MS


async def _discard_brand(ctx: MaintainContext, brand: str) -> int:
    """End deliveries of a brand that is gone; how many."""
    ended = 0
    for subscription_id in await ctx.subscriptions.all():
        ended += await ctx.deliveries.drain(subscription_id, verdict="c", prefix=f"{brand}/")
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


async def count_ledger(ctx: MaintainContext, stop: Stop) -> int:
    """Count from the records whether every delivery is somewhere: ended, or in its queue."""
    began_s = asyncio.get_running_loop().time()
    unaccounted: dict[str, int] = {}
    until = await ctx.log.last()
    for stored in (await ctx.subscriptions.all()).values():
        missing = await _missing(ctx, stored.value.id, until, stop)
        if missing is None:
            return 0
        unaccounted[stored.value.id] = missing
    await ctx.maintenance.note_audit(unaccounted, at_ms=await ctx.maintenance.now_ms())
    found = sum(unaccounted.values())
    if found:
        logs.event("ledger does not close", level="error", unaccounted=found)
    # A count of a million records takes a while: it must not be all that this worker does.
    return max(IDLE_MS, int((asyncio.get_running_loop().time() - began_s) * 20_000))


async def _missing(ctx: MaintainContext, subscription_id: str, until: int, stop: Stop) -> int | None:
    """Deliveries made up to a stamp that are neither ended nor queued; None when stopped."""
    lane = keys.lane(subscription_id)
    first = "-"
    missing = 0
    while True:
        if stop.asked:
            return None
        entries = await ctx.redis.xrange(lane + ":log", first, stream_id(until), count=PART)
        if not entries:
            return missing
        first = "(" + entries[-1][0].decode()
        positions = [int(fields.get(b"p") or _made(entry_id)) for entry_id, fields in entries if b"n" not in fields]
        waiting = await _waiting(ctx, lane, positions)
        unqueued = await _unqueued(ctx, lane, waiting)
        # What was settled between the two questions is looked at once more.
        missing += len(await _waiting(ctx, lane, unqueued))


async def _waiting(ctx: MaintainContext, lane: str, positions: list[int]) -> list[int]:
    if not positions:
        return []
    records = await ctx.redis.hmget(lane + ":dlv", [str(position) for position in positions])
    return [
        position for position, text in zip(positions, records, strict=True) if parse_record(text).state is State.PENDING
    ]


async def _unqueued(ctx: MaintainContext, lane: str, positions: list[int]) -> list[int]:
    if not positions:
        return []
    events = await ctx.log.at(positions)
    async with ctx.redis.pipeline(transaction=False) as pipe:
        for position, event in zip(positions, events, strict=True):
            queue = _queue(event)
            pipe.lpos(f"{lane}:q:{queue}", str(position))
            pipe.lpos(f"{lane}:q:{queue}#{position}", str(position))
        found = await pipe.execute()
    return [
        position
        for index, (position, event) in enumerate(zip(positions, events, strict=True))
        # An event that retention took away between the two questions is no loss.
        if event is not None and found[2 * index] is None and found[2 * index + 1] is None
    ]


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
    "replay": replay,
    "retain": retain,
    "trim snapshots": trim_snapshots,
}
"""What there is to do; whoever makes one of them urgent hurries it."""
