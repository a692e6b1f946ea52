"""Heads that wait in a worker for a place: they are sent soon, or go back to their queue, and nothing comes of that."""

from __future__ import annotations

import asyncio

from aiohttp import web

from relay.store import keys
from relay.store.subscriptions import Subscription
from tests.integration.relays import Call, Parts, order, partner

AT_ONCE = 8
QUICK = 60
ALL = 120


async def in_hand(parts: Parts, subscription: Subscription) -> int:
    """How many heads are marked as handed out."""
    found: int = await parts.redis.zcount(keys.lane(subscription.id) + ":ready", "-inf", "(0")
    return found


async def test_what_waits_for_a_place_in_vain_goes_back_and_is_not_sent_once_its_subscription_is_paused(
    parts: Parts,
) -> None:
    released = asyncio.Event()

    async def answer(_call: Call) -> web.StreamResponse:
        if len(endpoint.calls) > QUICK:
            await released.wait()
        return web.Response(status=204)

    async with partner(answer) as endpoint:
        subscription = await parts.subscribe(endpoint.url, max_concurrency=AT_ONCE)
        await parts.see(*(order(n) for n in range(1, ALL + 1)))
        shift = asyncio.create_task(parts.deliver(timeout_s=20.0))
        await endpoint.got(QUICK + AT_ONCE)
        async with asyncio.timeout(20):
            while await in_hand(parts, subscription) != AT_ONCE:  # noqa: ASYNC110  Redis does not tell
                await asyncio.sleep(0)
        paused = await parts.change(subscription, opens=True, status="paused")
        released.set()
        await shift
        assert len(endpoint.calls) == QUICK + AT_ONCE
        assert await in_hand(parts, subscription) == 0
        assert (await parts.closes(subscription)).pending == ALL - QUICK - AT_ONCE
        await parts.change(paused, opens=True, status="active")
        await parts.deliver()
        assert sorted(call.event["subject"] for call in endpoint.calls) == sorted(
            f"order/{n}" for n in range(1, ALL + 1)
        )
        assert (await parts.closes(subscription)).delivered == ALL


async def test_a_lane_that_has_just_become_due_gets_places_beside_one_that_never_ends(parts: Parts) -> None:
    async with partner() as busy, partner() as late:
        await parts.subscribe(busy.url, max_concurrency=50, event_types=("order.created",))
        await parts.see(*(order(n) for n in range(1, 401)))
        shift = asyncio.create_task(parts.deliver(concurrency=4))
        await busy.got(50)
        await parts.subscribe(late.url, event_types=("order.updated",))
        await parts.see(order(1, comment="changed"))
        await late.got(1)
        assert len(busy.calls) < 400
        await shift
        assert len(busy.calls) == 400
