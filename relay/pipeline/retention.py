"""What is older than the retention?  Deliveries go first, the log after them; what still waits expires."""

import orjson

from relay import logs
from relay.core.deliveries import State, parse_record
from relay.core.errors import CorruptStateError
from relay.core.events import StoredEvent
from relay.pipeline.commit import queue_of
from relay.pipeline.maintain_context import IDLE_MS, PART, ROUNDS, MaintainContext
from relay.pipeline.stop import Stop
from relay.store import keys
from relay.store.connection import ResponseError
from relay.store.deliveries import Retired
from relay.store.positions import first_at, from_stream_id, stream_id


async def retain(ctx: MaintainContext, stop: Stop) -> int:
    """Forget what is older than the retention, a bounded part of it at once."""
    before = first_at(await ctx.maintenance.now_ms() - ctx.retention_ms)
    gone = await ctx.maintenance.gone_lanes()
    whole = True
    for subscription_id in [*(await ctx.subscriptions.all()), *gone]:
        if stop.asked:
            return 0
        whole = await _retire_lane(ctx, subscription_id, before, stop) and whole
    for subscription_id in gone:
        await ctx.maintenance.forget_lane(subscription_id)
    # An event must not go before its deliveries: they are told by it.
    for _ in range(ROUNDS if whole else 0):
        if stop.asked or await ctx.log.trim(before, limit=PART) < PART:
            break
    return min(max(ctx.retention_ms // 20, 1000), IDLE_MS) if whole else 0


async def _retire_lane(ctx: MaintainContext, subscription_id: str, before: int, stop: Stop) -> bool:
    """Retire what is old in a lane; False when there is more."""
    try:
        await _retire_reopened(ctx, subscription_id, before)
        for _ in range(ROUNDS):
            if stop.asked:
                return False
            if not await _retire_part(ctx, subscription_id, before):
                return True
    except ResponseError as error:
        logs.event("lane unreadable", level="error", exc=error, subscription=subscription_id)
        return True
    return False


async def _retire_part(ctx: MaintainContext, subscription_id: str, before: int) -> bool:
    """Retire the oldest deliveries of a lane; True when there may be more."""
    lane = keys.lane(subscription_id)
    entries = await ctx.redis.xrange(lane + ":log", "-", f"({stream_id(before)}", count=PART)
    pulled = [entry_id for entry_id, fields in entries if b"n" in fields]
    if pulled:
        await ctx.redis.xdel(lane + ":log", *pulled)
    made = {
        int(fields.get(b"p") or from_stream_id(entry_id)): (from_stream_id(entry_id), fields.get(b"b", b"").decode())
        for entry_id, fields in entries
        if b"n" not in fields
    }
    if made:
        records = await ctx.redis.hmget(lane + ":dlv", [str(position) for position in made])
        waiting = [position for position, text in zip(made, records, strict=True) if _waits(text)]
        events = dict(zip(waiting, await ctx.log.at(waiting), strict=True))
        await _retire(
            ctx,
            subscription_id,
            [_retired(position, at, brand, events.get(position)) for position, (at, brand) in made.items()],
        )
    return len(entries) == PART


async def _retire_reopened(ctx: MaintainContext, subscription_id: str, before: int) -> None:
    """Retire what was made, or opened again, not long ago, of events that are old: as long as those can tell of it."""
    lane = keys.lane(subscription_id)
    heads = await ctx.redis.zrange(
        lane + ":ready", "(0", f"({before}", byscore=True, offset=0, num=PART, withscores=True
    )
    positions = [int(score) for _, score in heads]
    records = await ctx.deliveries.many([(subscription_id, position) for position in positions])
    rows = [
        _retired(delivery.position, delivery.made, delivery.brand or "", event)
        for delivery, event in zip(records, await ctx.log.at(positions), strict=True)
        if delivery is not None and delivery.made >= before
    ]
    await _retire(ctx, subscription_id, rows)


async def _retire(ctx: MaintainContext, subscription_id: str, rows: list[Retired]) -> None:
    _, expired, _ = await ctx.deliveries.retire(subscription_id, rows)
    if expired:
        logs.event("deliveries expired", level="warning", subscription=subscription_id, count=expired)


def _waits(record: bytes | None) -> bool:
    try:
        return parse_record(record).state is State.PENDING
    except CorruptStateError:
        return True


def _retired(position: int, made: int, brand: str, event: StoredEvent | None) -> Retired:
    if event is None:
        return Retired(position, made, "-", brand, b"", "drop")
    facts = {
        "id": event.id,
        "type": event.type,
        "brand": event.brand,
        "venue_id": event.venue_id,
        "subject": event.subject,
    }
    queue = queue_of(event.brand, event.venue_id, event.subject)
    return Retired(position, made, queue, brand, orjson.dumps(facts), "drop")
