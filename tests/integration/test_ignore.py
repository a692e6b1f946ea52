"""The one command: cancelling an order at Clopos."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.core.errors import ConflictError, NoAnswerError, NotFoundError, RefusedError
from relay.store.connection import open_redis
from relay.store.counters import Counters
from tests.integration.polling import BRAND, Rig, rigged


async def puts(rig: Rig) -> int:
    journal = await rig.tell("GET", "/journal")
    return sum(1 for request in journal["requests"] if request["method"] == "PUT")


async def place(rig: Rig, venue_id: int = 1) -> int:
    placed: dict[str, Any] = await rig.tell("POST", f"/brands/{BRAND}/venues/{venue_id}/orders")
    return int(placed["id"])


async def test_the_change_is_an_event_at_once_and_once(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        stored = await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            order_id = await place(rig)
            await rig.got(1)
            order = await rig.ignorer.ignore(stored, order_id, venue_id=1)
            assert (order["status"], order["id"]) == ("cancelled", order_id)
            events = await rig.got(2)
            assert order["sequence"] == events[1]["sequence"]
            other = await place(rig)
            events = await rig.got(3)
        assert [(e["type"], e["origin"]) for e in events] == [
            ("order.created", "poll"),
            ("order.status_changed", "command"),
            ("order.created", "poll"),
        ]
        assert events[1]["data"]["order"]["items"] == events[0]["data"]["order"]["items"] != []
        assert events[2]["subject"] == f"order/{other}"
        assert await puts(rig) == 1


async def test_an_order_cancelled_already_is_answered_without_asking_clopos(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        stored = await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
        order_id = await place(rig)
        await rig.ignorer.ignore(stored, order_id, venue_id=1)
        again = await rig.ignorer.ignore(stored, order_id, venue_id=1)
        assert again["status"] == "cancelled"
        assert await puts(rig) == 1


async def test_many_callers_at_once_make_one_put(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        stored = await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            order_id = await place(rig)
            await rig.got(1)
            answers = await asyncio.gather(*(rig.ignorer.ignore(stored, order_id, venue_id=1) for _ in range(5)))
            await rig.got(2)
        assert {order["status"] for order in answers} == {"cancelled"}
        assert await puts(rig) == 1
        assert len(await rig.events()) == 2


async def test_after_a_lost_answer_the_order_is_read_before_anything_is_repeated(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        stored = await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
        order_id = await place(rig)
        await rig.fault("reset", method="PUT", executes=True, times=1)
        order = await rig.ignorer.ignore(stored, order_id, venue_id=1)
        assert order["status"] == "cancelled"
        assert await puts(rig) == 1
        assert [e["origin"] for e in await rig.events()] == ["command"]


async def test_a_command_interrupted_after_its_put_is_not_sent_again(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        stored = await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
        order_id = await place(rig)
        await rig.ctx.commands.begin(BRAND, 1, order_id, caller="killed")
        await rig.tell("POST", f"/orders/{order_id}/ignore")
        await redis.delete(f"relay:command:{BRAND}:1:{order_id}:busy")
        order = await rig.ignorer.ignore(stored, order_id, venue_id=1)
        assert order["status"] == "cancelled"
        assert await puts(rig) == 0


async def test_clopos_refusal_is_passed_on_with_its_reason(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        stored = await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
        order_id = await place(rig)
        await rig.fault("400", method="PUT")
        with pytest.raises(ConflictError):
            await rig.ignorer.ignore(stored, order_id, venue_id=1)
        await rig.tell("DELETE", "/faults")
        await rig.fault("503")
        with pytest.raises(RefusedError) as away:
            await rig.ignorer.ignore(stored, order_id, venue_id=1)
        assert away.value.reason == "upstream"


async def test_an_unknown_order_is_not_found_and_a_dead_clopos_is_said_to_be(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        stored = await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
        with pytest.raises(NotFoundError):
            await rig.ignorer.ignore(stored, 999_999, venue_id=1)
        order_id = await place(rig)
        await rig.fault("reset")
        with pytest.raises(NoAnswerError):
            await rig.ignorer.ignore(stored, order_id, venue_id=1)
        await rig.tell("DELETE", "/faults")
        assert await rig.events() == [] or {e["data"]["order"]["status"] for e in await rig.events()} == {"pending"}


async def test_a_page_read_before_the_command_and_taken_in_after_it_announces_nothing_false(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url) as rig:
        stored = await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            await rig.looked(1)
            order_id = await place(rig)
            await rig.got(1)
            # The next page holds the order as it is now, and takes a second to arrive.
            await rig.fault("trickle", path="/orders", times=1, chunk_bytes=1024, delay_s=0.1)

            async def under_way() -> bool:
                return bool((await rig.tell("GET", "/faults"))["faults"][0]["struck"])

            await rig.until(under_way)
            await rig.ignorer.ignore(stored, order_id, venue_id=1)
            await rig.tell("POST", f"/orders/{order_id}/status/READY")
            events = await rig.got(3)
            other = await place(rig)
            events = await rig.got(4)
        told = [event["data"]["order"]["status"] for event in events if event["subject"] == f"order/{order_id}"]
        assert told == ["pending", "cancelled", "ready"]
        assert events[3]["subject"] == f"order/{other}"


async def test_a_command_that_was_done_is_answered_though_it_cannot_be_counted(redis: Redis, redis_url: str) -> None:
    nowhere = open_redis("unix:///nonexistent/redis.sock")
    async with rigged(redis, redis_url) as rig:
        stored = await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
        order_id = await place(rig)
        cut_off = replace(rig.ignorer, counters=Counters(nowhere))
        assert (await cut_off.ignore(stored, order_id, venue_id=1))["status"] == "cancelled"
        await rig.ignorer.ignore(stored, await place(rig), venue_id=1)
        assert await puts(rig) == 2
        counted = await Counters(redis).all()
        assert counted["commands", BRAND, "ignore", "done"] == 2
