"""Above 85 % of Redis' memory limit nothing new is read; what is there is delivered, and makes room."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.store import keys
from relay.store.brand_state import BrandStates
from relay.store.venues import FULL_SHARE
from tests.conftest import RedisServer
from tests.integration.polling import BRAND, Rig, rigged
from tests.integration.relays import partner

FAST: dict[str, Any] = {"interval_ms": 50, "per_minute": 6000}


@pytest.fixture
async def rig(own_redis: RedisServer) -> AsyncIterator[Rig]:
    async with contextlib.AsyncExitStack() as stack:
        redis = Redis.from_url(own_redis.url)
        stack.push_async_callback(redis.aclose)
        yield await stack.enter_async_context(rigged(redis, own_redis.url, **FAST))


async def fill(rig: Rig, share: float) -> None:
    """Have Redis use such a share of its limit."""
    used = (await rig.parts.redis.info("memory"))["used_memory"]
    await rig.parts.redis.config_set("maxmemory", int(used / share))


async def error(rig: Rig) -> str | None:
    """What the brand's state says."""
    stored = await rig.parts.brands.get(BRAND)
    assert stored is not None
    state = await BrandStates(rig.parts.redis, rig.ctx.polls, rig.ctx.quota).of(stored)
    found: str | None = state["error"]
    return found


async def test_a_brand_is_left_while_redis_is_nearly_full_and_watched_again_when_it_is_not(rig: Rig) -> None:
    await rig.brand()
    async with rig.polling():
        await rig.looked(1, 2)
        await fill(rig, FULL_SHARE + 0.05)

        async def nobodys() -> bool:
            return await rig.parts.redis.hget(keys.poll_lease(BRAND), "owner") is None

        await rig.until(nobodys)
        assert await error(rig) == (
            "Redis is fuller than 85%: no venue is looked at until there is room. Raise its maxmemory; deliveries go on"
            " meanwhile."
        )
        await rig.tell("POST", "/brands/openapitest/venues/1/orders")
        await rig.parts.redis.zadd(keys.POLLS_DUE, {BRAND: 0})

        async def put_off() -> bool:
            return float(await rig.parts.redis.zscore(keys.POLLS_DUE, BRAND)) > 0

        await rig.until(put_off)
        assert await rig.events() == []
    await rig.parts.redis.config_set("maxmemory", 0)
    assert await error(rig) is None
    await rig.parts.redis.zadd(keys.POLLS_DUE, {BRAND: 0})
    async with rig.polling():
        (event,) = await rig.got(1)
        assert event["type"] == "order.created"


async def test_what_waits_is_delivered_all_the_same(rig: Rig) -> None:
    async with partner() as endpoint:
        await rig.parts.subscribe(endpoint.url)
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.tell("POST", "/brands/openapitest/venues/1/orders")
            await rig.got(1)
            await fill(rig, 1.5)  # beyond the limit itself
            await rig.parts.deliver()
    assert len(endpoint.calls) == 1
    (counts,) = (await rig.parts.deliveries.counts(["sub_00000000000000000001"])).values()
    assert (counts.delivered, counts.pending, counts.unaccounted) == (1, 0, 0)
