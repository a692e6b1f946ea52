"""Somebody else's garbage in our keys: what it hits is set aside, all others go on."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from relay.core.deliveries import State
from relay.store import keys
from relay.store.log import Range
from tests.integration.relays import Call, Parts, order, partner

KEYS = ["", ":ready", ":retry", ":log", ":dlv", ":q:openapitest/1/order/1"]


@pytest.mark.parametrize("suffix", KEYS)
async def test_a_lane_with_a_key_of_another_type_stops_no_other(parts: Parts, suffix: str) -> None:
    async with partner() as endpoint, partner() as healthy:
        broken = await parts.subscribe(endpoint.url)
        sound = await parts.subscribe(healthy.url)
        await parts.see(order(1, "pending"))
        key = keys.lane(broken.id) + suffix
        await parts.redis.delete(key)
        await parts.redis.set(key, "garbage")
        await parts.see(order(1, "accepted"), order(2))
        await parts.deliver()
        assert len(healthy.calls) == 3
        await parts.background("retain", "expire", "give up", "discard", "replay", "count ledger", retention_ms=10**9)
    assert (await parts.closes(sound)).delivered == 3
    assert await parts.redis.get(key) == b"garbage"
    audit = await parts.maintenance.audit()
    assert audit is not None
    assert audit[0] > 0


@pytest.mark.parametrize("suffix", KEYS)
async def test_a_key_that_turns_into_garbage_while_its_lane_is_owned_stops_no_other(parts: Parts, suffix: str) -> None:
    held = asyncio.Event()

    async def hold(_call: Call) -> web.StreamResponse:
        await held.wait()
        return web.Response()

    async with partner(hold) as endpoint, partner() as healthy:
        broken = await parts.subscribe(endpoint.url)
        await parts.subscribe(healthy.url)
        await parts.see(order(1, "pending"))
        shift = asyncio.create_task(parts.deliver())
        await endpoint.got(1)
        key = keys.lane(broken.id) + suffix
        await parts.redis.delete(key)
        await parts.redis.set(key, "garbage")
        held.set()
        await parts.see(order(1, "accepted"), order(2))
        await healthy.got(3)
        await shift


async def test_a_lane_that_is_not_there_any_more_is_no_lane(parts: Parts) -> None:
    await parts.redis.zadd(keys.LANES_DUE, {"sub_unknown": 0})
    async with partner() as healthy:
        await parts.subscribe(healthy.url)
        await parts.see(order(1))
        await parts.deliver()
        assert len(healthy.calls) == 1
    assert await parts.redis.zscore(keys.LANES_DUE, "sub_unknown") is None


@pytest.mark.parametrize("record", [b"garbage", b"", b"z|0|||", b"p|x|||", b"p|0|", b"\xff\xfe", b"p|0|||\n{not json"])
async def test_a_delivery_whose_record_cannot_be_read_starts_anew(parts: Parts, record: bytes) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        report = await parts.see(order(1, "pending"))
        await parts.see(order(1, "accepted"))
        await parts.redis.hset(keys.lane(subscription.id) + ":dlv", str(report.events[0][3]), record)
        await parts.deliver()
        assert [call.event["data"]["order"]["status"] for call in endpoint.calls] == ["pending", "accepted"]
    assert (await parts.closes(subscription)).delivered == 2


async def test_an_event_that_cannot_be_read_is_dead_and_the_next_goes_on(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        report = await parts.see(order(1, "pending"))
        position = report.events[0][3]
        stamp = f"{position // 2048}-{position % 2048}"
        await parts.redis.xtrim(keys.LOG, maxlen=0, approximate=False)
        await parts.redis.delete(keys.LOG)
        await parts.redis.xadd(keys.LOG, {"s": b"\x01garbage", "q": "1", "p": ""}, id=stamp)
        await parts.see(order(1, "accepted"))
        await parts.deliver()
        assert [call.event["data"]["order"]["status"] for call in endpoint.calls] == ["accepted"]
    delivery = await parts.of(subscription, position)
    assert delivery.record.state is State.DEAD
    assert "cannot be read" in delivery.record.history()[-1]["error"]
    await parts.closes(subscription)
    assert [
        event.data for event in (await parts.log.forward(Range(), limit=10)).events if event.position == position
    ] == []
    assert await parts.log.at([position]) == [None]


async def test_an_event_of_a_newer_version_is_left_for_a_newer_worker(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        report = await parts.see(order(1, "pending"))
        position = report.events[0][3]
        await parts.redis.delete(keys.LOG)
        stamp = f"{position // 2048}-{position % 2048}"
        await parts.redis.xadd(keys.LOG, {"s": b"\x02newer", "q": "1", "p": ""}, id=stamp)
        await parts.deliver()
        assert endpoint.calls == []
    delivery = await parts.of(subscription, position)
    assert (delivery.record.state, delivery.record.attempts) == (State.PENDING, 0)
    due_ms = await parts.redis.zscore(keys.LANES_DUE, subscription.id)
    assert due_ms > await parts.maintenance.now_ms() + 30_000


async def test_a_clock_that_is_garbage_starts_from_redis_time(parts: Parts) -> None:
    await parts.redis.set(keys.CLOCK, "garbage")
    before = await parts.maintenance.now_ms()
    report = await parts.see(order(1))
    assert report.events[0][3] >= before * 2048


async def test_a_garbled_circuit_is_a_healthy_one(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await parts.redis.hset(keys.lane(subscription.id), mapping={"circuit": b"\xff;;", "rate": "x", "hold": "never"})
        await parts.see(order(1))
        await parts.deliver()
        assert len(endpoint.calls) == 1
