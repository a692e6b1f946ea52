"""What ends every worker who reads it, or raises in every one, stops nothing else. A death is a cut from Redis."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.pipeline import watch
from relay.pipeline.one_look import CAREFUL_AFTER, DEADLY_AFTER
from relay.pipeline.poll import poll_shift
from relay.pipeline.stop import Stop
from relay.store import keys
from relay.store.brand_state import BrandStates
from relay.store.scripts import Scripts
from relay.store.venues import PollStore
from tests.integration.cutting import cutting
from tests.integration.polling import BRAND, Rig, rigged

ORDERS = f"/brands/{BRAND}/venues/1/orders"
DEATHS = CAREFUL_AFTER + DEADLY_AFTER


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "GRACE_S", 0.1)


async def struck(rig: Rig) -> int:
    """How many requests have met the fault."""
    return sum(fault["struck"] for fault in (await rig.tell("GET", "/faults"))["faults"])


async def die_reading(rig: Rig, redis: Any, redis_url: str) -> None:
    """Own the brand, as the next after whoever owned it, until a request meets the fault; die of the answer."""
    before = await struck(rig)
    await redis.zadd(keys.POLLS_DUE, {BRAND: 0})  # the lease of the one before has ended
    worker = rig.another_worker()
    async with cutting(redis_url) as (proxy, client):
        polls = PollStore(client, Scripts(client), brands_epoch_key=rig.parts.brands.epoch_key)
        ctx = replace(worker.ctx, polls=polls)
        shift = asyncio.create_task(poll_shift(ctx, owner="dies", stop=Stop(time.monotonic, 60), concurrency=1))

        async def met() -> bool:
            return await struck(rig) > before

        await rig.until(met)
        proxy.kill()
        shift.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shift
    await worker.transport.aclose()


async def traces(redis: Any) -> dict[bytes, bytes]:
    """Looks that were begun and not ended."""
    state = await redis.hgetall(keys.poll_state(BRAND))
    return {name: value for name, value in state.items() if name.startswith(b"r:")}


async def test_what_ends_worker_after_worker_is_set_aside_and_the_rest_goes_on(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, per_minute=6000) as rig:
        stored = await rig.brand(poll_stations=False)
        async with rig.polling():
            await rig.looked(1, 2)
        await rig.fault("hang", path="/orders", venue="2")
        for _ in range(DEATHS):
            await die_reading(rig, redis, redis_url)
        assert await traces(redis) == {b"r:orders:2": b"%d" % DEADLY_AFTER}
        await redis.zadd(keys.POLLS_DUE, {BRAND: 0})
        met = await struck(rig)
        async with rig.polling():
            await rig.tell("POST", ORDERS)
            await rig.got(1)

            async def told() -> str | None:
                state = await BrandStates(redis, rig.ctx.polls, rig.ctx.quota).of(stored)
                venues = {venue["id"]: venue["error"] for venue in state["venues"]}
                assert venues[1] is None
                error: str | None = venues[2]
                return error

            assert "ended the worker several times" in await rig.until(told)
        assert await struck(rig) == met  # nobody asked for it any more
        assert (await rig.found()).venues[2].orders.retry_ms > await rig.parts.maintenance.now_ms() + 300_000
        assert await traces(redis) == {}

        await rig.tell("DELETE", "/faults")
        await rig.ctx.polls.request(BRAND)  # or after a while, by itself
        placed = await rig.tell("POST", f"/brands/{BRAND}/venues/2/orders")
        async with rig.polling():
            events = await rig.got(2)
        assert events[1]["subject"] == f"order/{placed['id']}"


async def test_a_look_that_was_taken_between_two_deaths_is_not_blamed(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, per_minute=6000) as rig:
        await rig.brand(poll_stations=False)
        async with rig.polling():
            await rig.looked(1, 2)
        for _ in range(DEADLY_AFTER):
            await redis.hset(keys.poll_lease(BRAND), mapping={"owner": "died", "died": CAREFUL_AFTER})
            await rig.fault("hang", path="/orders", venue="2", times=1)
            await die_reading(rig, redis, redis_url)
            assert await traces(redis) == {b"r:orders:2": b"1"}
            await redis.zadd(keys.POLLS_DUE, {BRAND: 0})
            placed = await rig.tell("POST", f"/brands/{BRAND}/venues/2/orders")
            async with rig.polling():

                async def told(subject: str = f"order/{placed['id']}") -> bool:
                    return any(event["subject"] == subject for event in await rig.events())

                await rig.until(told)
            assert await traces(redis) == {}
        assert await redis.hget(keys.poll_lease(BRAND), "died") is None


class Raising:
    """A client that raises where it should answer for venue 2."""

    def __init__(self, client: Any, error: BaseException) -> None:
        self._client = client
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def get_page(self, *args: Any, venue_id: int | None, **options: Any) -> Any:
        if venue_id == 2:
            raise self._error
        return await self._client.get_page(*args, venue_id=venue_id, **options)


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError(), KeyError("…")], ids=lambda error: type(error).__name__
)
async def test_what_raises_in_every_look_stops_its_venue_only(
    redis: Redis, redis_url: str, error: BaseException
) -> None:
    async with rigged(redis, redis_url, per_minute=6000) as rig:
        rig.ctx = replace(rig.ctx, client=Raising(rig.ctx.client, error))  # type: ignore[arg-type]  # it is one, but for this
        await rig.brand(poll_stations=False)
        async with rig.polling():
            await rig.looked(1)
            await rig.tell("POST", ORDERS)
            await rig.got(1)
        venue = (await rig.found()).venues[2]
        assert venue.orders.first_ms == 0
