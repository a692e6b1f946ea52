"""Everything about Clopos' rows and pages that is odd, and that must not show outside."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.core.orders import status_of
from relay.store.brand_state import BrandStates
from relay.store.snapshots import Scope
from tests.integration.polling import BRAND, Rig, rigged

FAST: dict[str, Any] = {"interval_ms": 30, "per_minute": 6000}
ORDERS = f"/brands/{BRAND}/venues/1/orders"


async def state_of(rig: Rig) -> dict[str, Any]:
    stored = await rig.parts.brands.get(BRAND)
    assert stored is not None
    return await BrandStates(rig.parts.redis, rig.ctx.polls, rig.ctx.quota).of(stored)


async def agrees(rig: Rig, venue_id: int = 1) -> bool:
    """Whether what is known of every order is what Clopos holds."""
    known = await rig.parts.snapshots.all_objects(Scope(BRAND, venue_id, "orders"))
    orders = rig.up.world.brand(BRAND).orders.of_venue(venue_id)
    return {order.id: status_of(order.status) for order in orders} == {
        order_id: thing.object["status"] for order_id, thing in known.items()
    }


@pytest.mark.parametrize(
    "switches",
    [
        {"empty_objects_as_lists": True},
        {"numbers_as_strings": True},
        {"booleans_as_numbers": True},
        {"nulls_for_missing": True},
        {"extra_fields": True},
        {"live_envelope": False},
        {"rate_limit_headers": False},
        {"updated_at": "honest"},
        {"updated_at": "still"},
        {"updated_at": "backwards"},
        {"ignore_status_filter": True},
        {"max_limit": 20},
        {"max_limit": 60, "over_limit": "refuse"},
        {"max_limit": 3},
        {"ignore_sort": True},
        {"ignore_page": True},
        {"list_total": False},
        {"list_total": False, "max_limit": 3},
        {"list_total": False, "max_limit": 60, "over_limit": "refuse"},
        {"list_total": False, "ignore_page": True},
        {"list_total": False, "ignore_page": True, "ignore_sort": True},
        {"error_shape": "list"},
    ],
)
async def test_an_orders_life_is_told_the_same_whatever_the_form(
    redis: Redis, redis_url: str, switches: dict[str, Any]
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.tell("PUT", "/switches", **switches)
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            placed = await rig.tell("POST", ORDERS)
            await rig.got(1)
            for step in ("accept", "deliver"):
                await rig.tell("POST", f"/orders/{placed['id']}/{step}")
                events = await rig.got(2 if step == "accept" else 3)
        assert [event["data"]["order"]["status"] for event in events] == ["pending", "accepted", "delivered"]
        assert {event["subject"] for event in events} == {f"order/{placed['id']}"}
        price = events[0]["data"]["order"]["items"][0]["unit_price"]
        assert price is not None
        assert not price.endswith(".0000")
        assert await agrees(rig)


@pytest.mark.parametrize("ignore_page", [False, True])
async def test_a_list_that_does_not_tell_its_end_costs_a_few_pages(
    redis: Redis, redis_url: str, *, ignore_page: bool
) -> None:
    async with rigged(redis, redis_url, **FAST | {"interval_ms": 60_000}) as rig:
        await rig.tell("PUT", "/switches", list_total=False, ignore_page=ignore_page)
        await rig.brand(venues=(1,))
        async with rig.polling():

            async def compared() -> bool:
                found = await rig.found()
                return 1 in found.venues and bool(found.venues[1].orders.compared_ms)

            await rig.until(compared)
            journal = await rig.tell("GET", "/journal?limit=10000")
        pages = [request for request in journal["requests"] if request["path"].endswith("/orders")]
        assert len(pages) <= 12


async def test_an_unknown_status_is_passed_on(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            placed = await rig.tell("POST", ORDERS)
            await rig.got(1)
            await rig.tell("POST", f"/orders/{placed['id']}/status/PICKED_UP")
            events = await rig.got(2)
        order = events[1]["data"]["order"]
        assert (events[1]["type"], order["status"], order["source_status"]) == (
            "order.status_changed",
            "picked_up",
            "PICKED_UP",
        )


async def test_a_status_that_goes_back_and_forth_is_an_event_each_time_with_its_own_id(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            placed = await rig.tell("POST", ORDERS)
            for count, status in enumerate(["RECEIVED", "DELIVERED", "RECEIVED", "DELIVERED"], start=2):
                await rig.got(count - 1)
                await rig.tell("POST", f"/orders/{placed['id']}/status/{status}")
            events = await rig.got(5)
        assert len({event["id"] for event in events}) == 5
        sequences = [event["sequence"] for event in events]
        assert sequences == sorted(set(sequences))


async def test_two_changes_with_one_updated_at_are_both_seen_if_a_look_falls_between(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            placed = await rig.tell("POST", ORDERS)
            await rig.got(1)
            for count, comment in enumerate(["one", "two"], start=2):
                await rig.tell("PATCH", f"/orders/{placed['id']}", merge={"meta": {"comment": comment}}, touch=False)
                events = await rig.got(count)
        assert [event["data"]["changes"]["comment"][1] for event in events[1:]] == ["one", "two"]


async def test_many_rows_with_one_updated_at_are_all_seen_whatever_page_they_are_on(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=300) as rig:
        await rig.tell("PUT", "/switches", max_limit=10)
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            await rig.tell("POST", f"{ORDERS}/bulk", count=35, updated_at="2030-01-01T00:00:00.000000Z")
            events = await rig.got(35)
            last = events[0]["subject"].removeprefix("order/")
            await rig.tell("PATCH", f"/orders/{last}", status="RECEIVED", touch=False)
            events = await rig.got(36)
        assert events[35]["subject"] == f"order/{last}"
        assert await agrees(rig)


async def test_a_moved_updated_at_alone_is_no_event(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.tell("PATCH", "/orders/108", updated_at="2026-03-01T00:00:00.000000Z")
            await rig.tell("POST", ORDERS)
            events = await rig.got(1)
        assert [event["type"] for event in events] == ["order.created"]


POISON = [
    '{"id": %d, "venue_id": 1, "status": NaN, "updated_at": "2030-01-01T00:00:00.000000Z"}',
    '{"id": %d, "venue_id": 1, "payload": ' + "[" * 10_000 + "]" * 10_000 + "}",
    '{"id": %d, "venue_id": 1, "total": ' + "9" * 5_000 + "}",
    '{"id": %d, "venue_id": 1, "comment": "' + "x" * 2_000_000 + '"}',
]


@pytest.mark.parametrize("poison", POISON, ids=["nan", "deep", "digits", "oversize"])
async def test_a_row_that_cannot_be_read_is_set_aside_and_shown_and_the_others_go_on(
    redis: Redis, redis_url: str, poison: str
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            bad = await rig.tell("POST", ORDERS)
            await rig.got(1)
            await rig.control.put(f"/orders/{bad['id']}/raw", content=poison % bad["id"])
            good = await rig.tell("POST", ORDERS)
            events = await rig.got(2)
            assert events[1]["subject"] == f"order/{good['id']}"
            found = await rig.until(lambda: bad_rows(rig))
            assert [(row.id, row.venue_id) for row in found] == [(bad["id"], 1)]
            counted = await rig.until(lambda: redis.hget("relay:m", f"poll_rows_set_aside|{BRAND}|orders"))
            state = await state_of(rig)
            assert state["set_aside"]["count"] == 1
            assert state["set_aside"]["rows"][0]["id"] == bad["id"]
            assert any("cannot be read" in note for note in state["notes"])
            await rig.control.put(f"/orders/{bad['id']}/raw", content="")
            await rig.tell("POST", f"/orders/{bad['id']}/accept")
            events = await rig.got(3)
            assert events[2]["subject"] == f"order/{bad['id']}"
            await rig.until(lambda: nothing_set_aside(rig))
        assert counted == b"1"


async def bad_rows(rig: Rig) -> list[Any]:
    return list((await rig.found()).bad.values())


async def nothing_set_aside(rig: Rig) -> bool:
    return not (await rig.found()).bad


async def test_rows_without_a_usable_id_or_of_a_strange_form_are_set_aside(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            rows = [await rig.tell("POST", ORDERS) for _ in range(3)]
            await rig.got(3)
            for row, text in zip(rows, ['{"id": null}', "17", '{"id": "0x1F", "comment": "\\ud83d"}'], strict=True):
                await rig.control.put(f"/orders/{row['id']}/raw", content=text)
            await rig.tell("POST", ORDERS)
            await rig.got(4)

            async def three() -> bool:
                return len(await bad_rows(rig)) == 3

            await rig.until(three)


async def test_a_page_of_twenty_megabytes_is_read_and_the_next_one_is_not_slower(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        for _ in range(40):
            row = await rig.tell("POST", ORDERS)
            await rig.tell("PATCH", f"/orders/{row['id']}", merge={"note_for_nobody": "y" * 500_000})
        async with rig.polling():
            await rig.looked(1, 2)
            placed = await rig.tell("POST", ORDERS)
            events = await rig.got(1)
        assert [event["subject"] for event in events] == [f"order/{placed['id']}"]


async def test_a_hundred_thousand_orders_on_first_contact_cost_fifty_pages_and_no_event(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.tell("POST", f"{ORDERS}/bulk", count=100_000)
        await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            await rig.until(lambda: first_look(rig), timeout_s=60)
            assert await rig.events() == []
            assert await redis.hlen(f"relay:snap:{BRAND}:1:orders:h") == 10_200
            journal = await rig.tell("GET", "/journal?limit=10000")
            assert len([r for r in journal["requests"] if r["path"].endswith("/orders")]) <= 62
            await rig.tell("POST", "/orders/108/accept")  # older than memory
            placed = await rig.tell("POST", ORDERS)

            async def both() -> dict[str, Any]:
                events = {
                    event["subject"]: event for event in await rig.events() if event["subject"] != "brand/openapitest"
                }
                return events if len(events) >= 2 else {}

            told = await rig.until(both, timeout_s=60)
        assert set(told) == {"order/108", f"order/{placed['id']}"}
        assert told["order/108"]["type"] == "order.updated"
        assert told["order/108"]["data"]["previous_status"] is None
        assert told["order/108"]["data"]["changes"] == {}


async def first_look(rig: Rig) -> bool:
    venue = (await rig.found()).venues.get(1)
    return venue is not None and bool(venue.orders.first_ms)


async def test_an_empty_page_of_a_list_that_is_not_empty_is_no_conclusion(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=100) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.fault("empty-list", path="/orders")

            async def noticed() -> bool:
                return (await rig.found()).venues[1].orders.reason == "empty_page"

            await rig.until(noticed)
            await rig.tell("DELETE", "/faults")
            await rig.tell("POST", ORDERS)
            events = await rig.got(1, timeout_s=40)
        assert [event["type"] for event in events if event["type"].startswith("order")] == ["order.created"]


async def test_the_watermark_stays_where_a_later_page_comes_empty_of_a_list_that_goes_on(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=3_600_000) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            before = (await rig.looked(1)).venues[1].orders.mark
        await rig.fault("empty-list", path="/orders", query="page=2")
        for _ in range(60):
            await rig.tell("POST", ORDERS)
        async with rig.polling():

            async def struck() -> bool:
                return bool((await rig.control.request("GET", "/faults")).json()["faults"][0]["struck"] >= 3)

            await rig.until(struck)
            assert (await rig.found()).venues[1].orders.mark == before
            await rig.tell("DELETE", "/faults")
            await rig.got(60)

            async def moved() -> bool:
                return (await rig.found()).venues[1].orders.mark > before

            await rig.until(moved)


async def test_where_the_sort_is_not_honoured_the_brands_state_says_so(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.tell("PUT", "/switches", ignore_sort=True)
        await rig.brand()
        for _ in range(3):
            await rig.tell("POST", ORDERS)
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.tell("POST", "/orders/108/accept")
            await rig.got(1)

            async def said() -> bool:
                return any("does not sort" in note for note in (await state_of(rig))["notes"])

            await rig.until(said)


@pytest.mark.parametrize("switch", ["local", "still", "backwards"])
async def test_no_update_is_lost_while_pages_shift_under_the_reading(redis: Redis, redis_url: str, switch: str) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=500) as rig:
        await rig.tell("PUT", "/switches", updated_at=switch, max_limit=7)
        await rig.brand(venues=(1,))
        chance = random.Random(3)
        async with rig.polling():
            await rig.looked(1)
            ids = [108]
            for _ in range(150):
                if chance.random() < 0.5:
                    ids.append((await rig.tell("POST", ORDERS))["id"])
                else:
                    status = chance.choice(["RECEIVED", "DELIVERED", "PENDING", "READY"])
                    await rig.tell("POST", f"/orders/{chance.choice(ids)}/status/{status}")
                await asyncio.sleep(0.002)
            await rig.until(lambda: agrees(rig), timeout_s=30)
        last: dict[str, Any] = {}
        for event in await rig.events():
            last[event["subject"]] = event["data"]["order"]["source_status"]
        orders = {f"order/{o.id}": o.status for o in rig.up.world.brand(BRAND).orders.of_venue(1)}
        assert {subject: orders[subject] for subject in last} == last
