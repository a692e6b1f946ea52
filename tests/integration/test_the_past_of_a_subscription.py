"""What a new subscription is told of the past comes before what happens meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from relay.pipeline.replay import Past
from relay.store.positions import first_at
from relay.store.subscriptions import Subscription
from tests.integration.relays import Parts, order, partner


@pytest.fixture
async def parts(redis: Redis, redis_url: str) -> AsyncIterator[Parts]:
    pop = Redis.from_url(redis_url)
    made = Parts(redis, pop)
    await made.brand()
    try:
        yield made
    finally:
        await pop.aclose()


def past_of(parts: Parts) -> Past:
    async def venues_of(_brand: str) -> tuple[int, ...]:
        return (1,)

    return Past(
        brands=parts.brands,
        snapshots=parts.snapshots,
        log=parts.log,
        deliveries=parts.deliveries,
        subscriptions=parts.subscriptions,
        venues_of=venues_of,
        position_of=lambda _moment: first_at(0),
    )


async def opening(parts: Parts, url: str, start: str) -> Subscription:
    return await parts.subscribe(url, start=start, opening=True, created_position=await parts.log.last())


@pytest.mark.parametrize("twice", [False, True])
async def test_the_log_since_a_time_is_told_in_order_and_before_what_was_committed_meanwhile(
    parts: Parts, *, twice: bool
) -> None:
    statuses = ["pending", "accepted", "ready", "delivered"]
    for status in statuses[:3]:
        await parts.see(*(order(number, status) for number in (1, 2)))
    async with partner() as endpoint:
        subscription = await opening(parts, endpoint.url, "2026-01-01T00:00:00Z")
        await parts.see(order(1, "delivered"), order(2, "delivered"))
        await parts.deliver()
        assert endpoint.calls == []
        for _ in range(1 + twice):
            await past_of(parts).open(subscription)
        await parts.deliver()
        story: dict[str, list[str]] = defaultdict(list)
        for call in endpoint.calls:
            story[call.event["subject"]].append(call.event["data"]["order"]["status"])
    assert story == {"order/1": statuses, "order/2": statuses}
    entries = await parts.redis.xrange(f"relay:lane:{subscription.id}:log")
    told = [int(fields[b"p"]) for _, fields in entries if b"p" in fields]
    assert told == sorted(told)
    (counts,) = (await parts.deliveries.counts([subscription.id])).values()
    assert (counts.matched, counts.delivered, counts.unaccounted) == (8, 8, 0)


async def test_open_orders_are_told_as_created_with_their_present_sequence(parts: Parts) -> None:
    await parts.see(order(1, "pending"), order(2, "pending"), order(3, "pending"))
    report = await parts.see(order(2, "accepted"), order(3, "cancelled"))
    async with partner() as endpoint, partner() as other:
        await parts.subscribe(other.url)
        subscription = await opening(parts, endpoint.url, "open_orders")
        await past_of(parts).open(subscription)
        await parts.deliver()
        events = {call.event["subject"]: call.event for call in endpoint.calls}
        assert other.calls == []
    assert set(events) == {"order/1", "order/2"}
    assert {event["type"] for event in events.values()} == {"order.created"}
    assert events["order/2"]["data"]["order"]["status"] == "accepted"
    assert events["order/2"]["sequence"] == next(row[4] for row in report.events if row[0] == 2)
    # The ledger counts events for one alone, too, however it is asked.
    assert await parts.log.count() == 7
    assert await parts.log.count_of(None, since=0) == 7
    assert await parts.log.count_of("openapitest", since=0) == 7
    assert await parts.log.count_of("other", since=0) == 0
