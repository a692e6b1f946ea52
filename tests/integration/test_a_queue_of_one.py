"""Where one event of an order waits that was never tried, there is no list for it: it stands in its lane's order."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from relay.store import keys
from relay.store.subscriptions import Subscription
from tests.integration.relays import Call, Parts, order, partner

QUEUE = "openapitest/1/order/1"


async def lists(parts: Parts, subscription: Subscription) -> dict[str, list[int]]:
    """Every list of a lane, by queue."""
    redis: Any = parts.redis
    stem = keys.lane(subscription.id) + ":q:"
    found = [key.decode() async for key in redis.scan_iter(stem + "*")]
    return {key.removeprefix(stem): [int(each) for each in await redis.lrange(key, 0, -1)] for key in found}


async def seen(parts: Parts, *statuses: str) -> list[int]:
    """Commit statuses of one order; the positions of their events."""
    reports = [await parts.see(order(1, status)) for status in statuses]
    return [position for report in reports for *_, position, _ in report.events]


async def test_one_takes_no_list_and_a_second_makes_one(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        (first,) = await seen(parts, "pending")
        assert await lists(parts, subscription) == {}
        assert await parts.maintenance.waiting(subscription.id, [QUEUE]) == [[first]]
        (second,) = await seen(parts, "accepted")
        assert await lists(parts, subscription) == {QUEUE: [first, second]}
        await parts.deliver()
        assert [call.event["data"]["order"]["status"] for call in endpoint.calls] == ["pending", "accepted"]
        assert await lists(parts, subscription) == {}
        await parts.closes(subscription)


async def test_what_comes_while_the_only_one_is_in_hand_waits_behind_it(parts: Parts) -> None:
    async def and_another(_call: Call) -> web.StreamResponse:
        if len(endpoint.calls) == 1:
            await seen(parts, "accepted")
        return web.Response(status=204)

    async with partner(and_another) as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await seen(parts, "pending")
        await parts.deliver()
        assert [call.event["data"]["order"]["status"] for call in endpoint.calls] == ["pending", "accepted"]
        assert (await parts.closes(subscription)).delivered == 2


async def test_one_that_failed_stands_in_a_list_until_it_is_delivered(parts: Parts) -> None:
    async def at_last(_call: Call) -> web.StreamResponse:
        return web.Response(status=500 if len(endpoint.calls) == 1 else 204)

    async with partner(at_last) as endpoint:
        subscription = await parts.subscribe(endpoint.url, retry_schedule_s=(3600,))
        (position,) = await seen(parts, "pending")
        await parts.deliver()
        assert await lists(parts, subscription) == {QUEUE: [position]}
        await parts.due_now(subscription)
        await parts.deliver()
        assert await lists(parts, subscription) == {}
        assert (await parts.closes(subscription)).delivered == 1


async def test_one_is_ended_without_being_sent_and_asked_for_again_as_any_other(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        (position,) = await seen(parts, "pending")
        assert await parts.deliveries.reopen(subscription.id, [(position, QUEUE, "openapitest")]) == ["pending"]
        assert await parts.maintenance.waiting(subscription.id, [QUEUE]) == [[position]]
        assert await parts.deliveries.drain(subscription.id, verdict="c") == 1
        assert (await parts.closes(subscription)).discarded == 1
        assert await parts.deliveries.reopen(subscription.id, [(position, QUEUE, "openapitest")]) == ["reopened"]
        await parts.deliver()
        assert (await parts.closes(subscription)).delivered == 1


async def test_one_that_is_drained_leaves_nothing_behind(parts: Parts) -> None:
    subscription = await parts.subscribe("http://127.0.0.1:9/hooks")
    await seen(parts, "pending")
    assert await parts.deliveries.drain(subscription.id, verdict="e") == 1
    assert await parts.redis.zcard(keys.lane(subscription.id) + ":ready") == 0
    assert await lists(parts, subscription) == {}
    assert (await parts.closes(subscription)).expired == 1
