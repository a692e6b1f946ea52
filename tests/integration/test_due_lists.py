"""A list of what is due that Redis has lost alone is made again, within seconds, and no worker need begin anew."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from aiohttp import web
from redis.asyncio import Redis

from relay.pipeline.due import DueLists
from relay.store import keys
from relay.store.venues import PollStore
from tests.integration.apis import running_api
from tests.integration.relays import Call, Parts, order, partner
from workers import scheduler


async def _refuse(_call: Call) -> web.Response:
    return web.Response(status=500)


def lists_of(parts: Parts) -> DueLists:
    return DueLists(
        brands=parts.brands,
        polls=PollStore(parts.redis, parts.scripts, brands_epoch_key=parts.brands.epoch_key),
        subscriptions=parts.subscriptions,
        deliveries=parts.deliveries,
    )


async def test_every_brand_that_is_looked_at_is_put_back_and_what_is_there_stays(parts: Parts) -> None:
    await parts.brand("other")
    await parts.redis.delete(keys.POLLS_DUE)
    await parts.redis.zadd(keys.POLLS_DUE, {"openapitest": 7_000_000_000_000})
    await lists_of(parts).refill()
    assert await parts.redis.zrange(keys.POLLS_DUE, 0, -1, withscores=True) == [
        (b"other", 0),
        (b"openapitest", 7_000_000_000_000),
    ]


async def test_what_waits_for_a_partner_is_delivered_though_its_lane_was_on_no_list(parts: Parts) -> None:
    async with partner() as endpoint:
        waiting = await parts.subscribe(endpoint.url)
        await parts.subscribe(None)
        await parts.subscribe(endpoint.url, status="paused")
        await parts.see(order(1))
        await parts.redis.delete(keys.LANES_DUE)
        await parts.deliver()
        assert endpoint.calls == []
        await lists_of(parts).refill()
        assert await parts.redis.zrange(keys.LANES_DUE, 0, -1) == [waiting.id.encode()]
        await parts.deliver()
        assert len(endpoint.calls) == 1
    await lists_of(parts).refill()
    assert await parts.redis.exists(keys.LANES_DUE) == 0


async def test_a_lane_is_put_back_though_another_has_put_itself_on_the_list_again(parts: Parts) -> None:
    async with partner() as endpoint:
        waiting, busy = await parts.subscribe(endpoint.url), await parts.subscribe(endpoint.url)
        await parts.see(order(1))
        await parts.redis.delete(keys.LANES_DUE)
        await parts.redis.zadd(keys.LANES_DUE, {busy.id: 7_000_000_000_000})
        await lists_of(parts).refill()
        assert await parts.redis.zrange(keys.LANES_DUE, 0, -1, withscores=True) == [
            (waiting.id.encode(), 0),
            (busy.id.encode(), 7_000_000_000_000),
        ]


@pytest.mark.parametrize("garbage", [keys.POLLS_DUE, keys.LANES_DUE])
async def test_garbage_in_the_place_of_one_list_does_not_keep_the_other_from_being_made_again(
    parts: Parts, garbage: str
) -> None:
    subscription = await parts.subscribe("http://127.0.0.1:9/hooks")
    await parts.brand("other")
    await parts.see(order(1))
    await parts.redis.delete(keys.POLLS_DUE, keys.LANES_DUE)
    await parts.redis.set(garbage, "garbage")
    await lists_of(parts).refill()
    found = {keys.POLLS_DUE: b"other", keys.LANES_DUE: subscription.id.encode()}
    (sound,) = found.keys() - {garbage}
    assert found[sound] in await parts.redis.zrange(sound, 0, -1)


async def test_a_lane_that_waits_for_its_next_try_goes_on_waiting(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url, retry_schedule_s=(3_600.0,))
        endpoint.answer = _refuse
        await parts.see(order(1))
        await parts.deliver()
        due_ms = await parts.redis.zscore(keys.LANES_DUE, subscription.id)
        await parts.redis.delete(keys.LANES_DUE)
        await lists_of(parts).refill()
        await parts.deliver()
        assert len(endpoint.calls) == 1
        assert await parts.redis.zscore(keys.LANES_DUE, subscription.id) == due_ms


async def test_a_scheduler_sees_to_it(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "LOOK_S", 0.0)  # of ten seconds
    monkeypatch.setattr(scheduler, "QUIET_S", 0.05)
    async with running_api(redis_url) as api:
        await api.brand()
        stop = asyncio.Event()
        scheduling = asyncio.create_task(scheduler.schedule(api.relay, stop, owner="scheduler-1"))
        await redis.delete(keys.POLLS_DUE)
        deadline = time.monotonic() + 20
        while await redis.zscore(keys.POLLS_DUE, "openapitest") is None:
            assert time.monotonic() < deadline
            assert not scheduling.done()
            await asyncio.sleep(0.02)
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await scheduling
