"""A shift that is cut off in the midst of attempts leaves nothing behind that the next one would wait for."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from tests.integration.relays import Call, Parts, order, partner


async def test_what_a_shift_that_is_cut_off_has_in_hand_is_sent_again_at_once_and_is_the_same(parts: Parts) -> None:
    never = asyncio.Event()

    async def hangs_once(_call: Call) -> web.StreamResponse:
        if len(endpoint.calls) == 1:
            await never.wait()
        return web.Response(status=204)

    async with partner(hangs_once) as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await parts.see(order(1))
        shift = asyncio.create_task(parts.deliver(timeout_s=60.0))
        await endpoint.got(1)
        shift.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shift
        assert await parts.redis.hget(f"relay:lane:{subscription.id}", "owner") is None
        await parts.deliver(owner="worker-2")
        first, second = endpoint.calls
        never.set()
    assert (first.id, first.body) == (second.id, second.body)
    assert (first.headers["relay-attempt"], second.headers["relay-attempt"]) == ("1", "1")
    (counts,) = (await parts.deliveries.counts([subscription.id])).values()
    assert (counts.delivered, counts.unaccounted) == (1, 0)
