"""The full compare: what looks missed, what vanished, what was told late; and the feeds that are read whole."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.pipeline.reconcile import overlapping_page
from relay.store.snapshots import Scope
from tests.integration.polling import BRAND, Rig, rigged
from tests.integration.test_poll_quirks import FAST, agrees, state_of

ORDERS = f"/brands/{BRAND}/venues/1/orders"


async def types(rig: Rig) -> list[str]:
    return [event["type"] for event in await rig.events()]


async def compared(rig: Rig, after_ms: int = 0) -> int:
    """Wait until venue 1 was compared; when."""

    async def done() -> int:
        at_ms = (await rig.found()).venues[1].orders.compared_ms
        return at_ms if at_ms > after_ms else 0

    found: int = await rig.until(done, timeout_s=40)
    return found


async def test_a_change_that_no_look_can_see_is_found_and_told_to_be_late(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=400) as rig:
        await rig.tell("PUT", "/switches", max_limit=5)
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            for count in range(1, 9):
                await rig.tell("POST", ORDERS)
                await rig.got(count)
            # Its updated_at lies ten minutes back, and its page is not looked at any more.
            hidden = await rig.tell("POST", ORDERS, updated_at="2026-01-01T00:00:00.000000Z")
            events = await rig.got(9)
            counted = await rig.until(lambda: redis.hget("relay:m", f"poll_reconcile_found|{BRAND}"))
        assert (events[8]["subject"], events[8]["origin"]) == (f"order/{hidden['id']}", "reconcile")
        assert int(counted) == 1
        assert {event["origin"] for event in events[:8]} == {"poll"}


async def test_what_looks_would_have_seen_is_not_counted_as_found_by_the_compare(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, interval_ms=5_000, per_minute=6000, reconcile_ms=100) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            for count in range(1, 6):
                await rig.tell("POST", ORDERS)
                await rig.got(count)
        assert {event["origin"] for event in await rig.events()} == {"poll"}
        assert await redis.hget("relay:m", f"poll_reconcile_found|{BRAND}") is None


async def test_an_order_that_vanished_is_removed_after_two_passes_and_a_404(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=200) as rig:
        await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            await rig.looked(1)
            gone = await rig.tell("POST", ORDERS)
            await rig.got(1)
            await rig.tell("DELETE", "/journal")
            await rig.tell("DELETE", f"/orders/{gone['id']}")
            events = await rig.got(2)
            await compared(rig, await compared(rig))
            assert await types(rig) == ["order.created", "order.removed"]
            journal = await rig.tell("GET", "/journal?limit=10000")
        assert events[1]["subject"] == f"order/{gone['id']}"
        assert events[1]["data"]["order"]["id"] == gone["id"]
        assert events[1]["data"]["changes"] == {}
        asked = [request for request in journal["requests"] if request["path"].endswith(f"/orders/{gone['id']}")]
        assert [request["status"] for request in asked] == [404]


async def test_an_order_missing_from_the_list_and_there_by_its_id_is_not_removed(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=100) as rig:
        await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            await rig.looked(1)
            await rig.fault(
                "body",
                path="/orders",
                status=200,
                content_type="application/json",
                body='{"success":true,"data":[{"id":1,"venue_id":1,"status":"RECEIVED",'
                '"created_at":"2020-01-01T00:00:00.000000Z","updated_at":"2020-01-01T00:00:00.000000Z"}],"total":1}',
            )

            async def asked() -> bool:
                journal = await rig.tell("GET", "/journal?limit=10000")
                return any(request["path"].endswith("/orders/108") for request in journal["requests"])

            await rig.until(asked)
        assert "order.removed" not in await types(rig)


async def test_an_order_that_says_it_was_deleted_is_removed_at_once_and_may_come_back(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            placed = await rig.tell("POST", ORDERS)
            await rig.got(1)
            await rig.tell("PATCH", f"/orders/{placed['id']}", deleted_at="2026-02-02T13:45:53.000000Z")
            await rig.got(2)
            await rig.tell("PATCH", f"/orders/{placed['id']}", deleted_at=None)
            events = await rig.got(3)
        assert [event["type"] for event in events] == ["order.created", "order.removed", "order.created"]
        assert events[2]["sequence"] > events[1]["sequence"] > events[0]["sequence"]


async def test_after_a_gap_everything_recent_is_compared(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=3_600_000) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            before = (await rig.looked(1)).venues[1].orders.compared_ms
            await asyncio.sleep(0.1)
        # Ten minutes without any worker.
        found = await rig.found()
        found.venues[1].orders.looked_ms -= 600_000
        await redis.hset(f"relay:polls:{BRAND}:state", "v:1", _encoded(found.venues[1]))
        async with rig.polling():
            assert await compared(rig, before) > before


async def test_when_redis_went_back_in_time_everything_recent_is_compared(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=3_600_000) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            before = (await rig.looked(1)).venues[1].orders.compared_ms
            await redis.hincrby(f"relay:polls:{BRAND}", "notes", -5)
            assert await compared(rig, before) > before


async def test_a_worker_that_has_just_started_compares_everything_recent(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=3_600_000) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
        # The last compare was two minutes ago, the last look is fresh.
        found = await rig.found()
        before = found.venues[1].orders.compared_ms = found.venues[1].orders.compared_ms - 120_000
        await redis.hset(f"relay:polls:{BRAND}:state", "v:1", _encoded(found.venues[1]))
        started = rig.another_worker()
        async with started.polling():
            assert await compared(rig, before) > before
        await started.transport.aclose()


async def test_a_compare_that_there_is_reason_for_and_that_fails_is_made_again_soon(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=3_600_000) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            before = (await rig.looked(1)).venues[1].orders.compared_ms
            await rig.fault("500", path="/orders", venue="1", query="=id", times=1)
            await redis.hincrby(f"relay:polls:{BRAND}", "notes", -5)
            assert await compared(rig, before) > before
        faults = (await rig.tell("GET", "/faults"))["faults"]
        assert [fault["struck"] for fault in faults] == [1]


def _encoded(value: Any) -> bytes:
    from relay.store.findings import encode  # noqa: PLC0415  only here

    return encode(value)


async def test_a_changed_currency_is_taken_in_without_a_word(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            await rig.change_brand(currency="AZN")

            async def taken() -> bool:
                things = await rig.parts.snapshots.all_objects(Scope(BRAND, 1, "orders"))
                return {thing.object["currency"] for thing in things.values()} == {"AZN"}

            await rig.until(taken)
            assert await rig.events() == []
            await rig.tell("POST", "/orders/108/accept")
            events = await rig.got(1)
        assert "currency" not in events[0]["data"]["changes"]
        assert events[0]["data"]["order"]["currency"] == "AZN"


async def test_orders_since_the_backfill_time_are_announced_at_the_first_look(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        old = await rig.tell("POST", ORDERS, created_at="2026-03-01T10:00:00.000000Z")
        fresh = await rig.tell("POST", ORDERS, created_at="2026-03-01T12:00:00.000000Z")
        await rig.brand(venues=(1,), backfill="2026-03-01T15:00:00+04:00")
        async with rig.polling():
            await rig.looked(1)
            events = await rig.got(1)
            await rig.tell("POST", f"/orders/{old['id']}/accept")
            events = await rig.got(2)
        assert [(event["type"], event["subject"], event["origin"]) for event in events] == [
            ("order.created", f"order/{fresh['id']}", "backfill"),
            ("order.status_changed", f"order/{old['id']}", "poll"),
        ]
        assert events[1]["previous_sequence"] is None
        assert events[1]["data"]["previous_status"] == "pending"


async def test_stations_are_told_when_they_switch_change_come_and_go(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)

            async def read() -> bool:
                return bool((await rig.found()).venues[1].stations.first_ms)

            await rig.until(read)
            steps: list[tuple[str, str, dict[str, Any], str]] = [
                ("POST", "/stations/2", {"status": 0}, "station.status_changed"),
                ("POST", "/stations/2", {"name": "Long bar"}, "station.updated"),
                ("POST", "/stations/9", {"name": "Grill"}, "station.created"),
                ("DELETE", "/stations/3", {}, "station.removed"),
            ]
            for count, (verb, where, body, kind) in enumerate(steps, start=1):
                await rig.tell(verb, where, **body)

                async def told(count: int = count) -> bool:
                    await rig.ctx.polls.request(BRAND)
                    return len(await rig.events()) >= count

                await rig.until(told)
                event = (await rig.events())[count - 1]
                assert (event["type"], event["subject"]) == (kind, where.replace("stations", "station").strip("/"))
        first = (await rig.events())[0]
        assert first["data"]["station"] == {
            "id": 2,
            "name": "Bar",
            "status": "inactive",
            "type": "other",
            "printable": True,
            "created_at": "2026-01-13T14:08:49.000000Z",
            "updated_at": first["data"]["station"]["updated_at"],
        }
        assert first["data"]["previous_status"] == "active"


async def test_no_station_counts_as_gone_where_a_later_page_came_empty(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.tell("PUT", "/switches", max_limit=50, over_limit="refuse")
        for number in range(4, 61):
            await rig.tell("POST", f"/stations/{number}", name=f"Number {number}")
        await rig.brand(venues=(1,), poll_orders=False, poll_venues=False)
        async with rig.polling():

            async def read() -> bool:
                return len(await rig.parts.snapshots.all_heads(Scope(BRAND, 1, "stations"))) == 60

            await rig.until(read)
            empty = '{"success":true,"data":[],"total":60}'
            await rig.fault(
                "body", path="/stations", query="page=2", status=200, content_type="application/json", body=empty
            )
            await asked_for_stations(rig, 4)
            assert await types(rig) == []
            await rig.tell("DELETE", "/faults")
            await rig.tell("DELETE", "/stations/60")
            await asked_for_stations(rig, 1)
            await rig.until(lambda: types_are(rig, ["station.removed"]))
        assert [event["subject"] for event in await rig.events()] == ["station/60"]


async def asked_for_stations(rig: Rig, times: int) -> None:
    """Have the list of stations read so many times more."""
    for _ in range(times):
        before = (await rig.found()).venues[1].stations.looked_ms

        async def read(before: int = before) -> bool:
            await rig.ctx.polls.request(BRAND)
            return (await rig.found()).venues[1].stations.looked_ms > before

        await rig.until(read)


async def types_are(rig: Rig, wanted: list[str]) -> bool:
    """Whether events of these types came, no others; looks at stations once more."""
    await rig.ctx.polls.request(BRAND)
    return await types(rig) == wanted


async def test_venues_join_and_leave_by_themselves_where_the_brand_names_none(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.tell("POST", "/venues", id=3, name="Airport")
            await rig.ctx.polls.request(BRAND)
            await rig.looked(3)
            await rig.tell("POST", f"/brands/{BRAND}/venues/3/orders")
            events = await rig.got(2)
            assert [(event["type"], event["subject"], event["venue_id"]) for event in events] == [
                ("venue.created", "venue/3", 3),
                ("order.created", events[1]["subject"], 3),
            ]
            await rig.tell("POST", "/venues", id=3, name="Airport 2")
            await rig.until(lambda: told(rig, 3))
            await rig.tell("DELETE", "/venues/3")
            await rig.until(lambda: told(rig, 4))
        assert (await types(rig))[2:] == ["venue.updated", "venue.removed"]
        assert 3 not in (await rig.found()).brand.venues


async def told(rig: Rig, count: int) -> bool:
    """Whether so many events came once the list of venues was read again; whoever asks without end starves it."""
    before = (await rig.found()).brand.listed.looked_ms
    await rig.ctx.polls.request(BRAND)

    async def read() -> bool:
        return (await rig.found()).brand.listed.looked_ms > before

    await rig.until(read)
    return len(await rig.events()) >= count


async def test_feeds_that_are_switched_off_are_not_asked_for(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            await rig.looked(1)
            await rig.tell("POST", ORDERS)
            await rig.got(1)
        journal = await rig.tell("GET", "/journal?limit=10000")
        assert {request["path"].rpartition("/")[2] for request in journal["requests"]} == {"auth", "orders"}


async def test_a_look_now_is_taken_now(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, interval_ms=3_600_000, per_minute=300) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            await rig.tell("POST", ORDERS)
            await rig.ctx.polls.request(BRAND)
            await rig.got(1)


async def test_open_orders_join_every_look_where_updated_at_does_not_move(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=300) as rig:
        await rig.tell("PUT", "/switches", max_limit=5, updated_at="still")
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            first = await rig.tell("POST", ORDERS, updated_at="2029-01-01T00:00:00.000000Z")
            for count in range(1, 9):
                await rig.tell("POST", ORDERS)
                await rig.got(count)
            await rig.tell("POST", f"/orders/{first['id']}/accept")

            async def said() -> bool:
                return any("without a new updated_at" in note for note in (await state_of(rig))["notes"])

            await rig.until(said)
            await rig.until(lambda: agrees(rig))
            rig.ctx.requests.drain()
            await rig.tell("POST", f"/orders/{first['id']}/deliver")
            await rig.until(lambda: agrees(rig))
        assert [event["data"]["order"]["status"] for event in await rig.events() if first_is(event, first)] == [
            "pending",
            "accepted",
            "delivered",
        ]


def first_is(event: dict[str, Any], row: dict[str, Any]) -> bool:
    return bool(event["subject"] == f"order/{row['id']}")


@pytest.mark.parametrize("most", [1, 2, 5, 20, 50, 200])
def test_pages_that_overlap_cover_everything(most: int) -> None:
    covered, pages = 0, 0
    while covered < 1000:
        at = overlapping_page(covered, most)
        first = (at.number - 1) * at.rows
        assert 1 <= at.rows <= most
        assert first <= max(0, covered - 1) if at.overlaps else first == covered
        assert at.number * at.rows > covered
        covered = at.number * at.rows
        pages += 1
    assert pages <= 1000 / most * 2 + 2


async def stir(rig: Rig, *venue_ids: int) -> int:
    """Place orders until a look, and not the full compare, was the first to see one in each venue; how many events."""
    began = datetime.now(UTC) - timedelta(seconds=2)
    placed = 0

    async def seen() -> bool:
        nonlocal placed
        for venue_id in venue_ids:
            await rig.tell("POST", f"/brands/{BRAND}/venues/{venue_id}/orders")
            placed += 1
        await rig.got(placed)
        marks = [venue.orders.mark for venue in (await rig.found()).venues.values()]
        return all(mark and datetime.fromisoformat(mark) > began for mark in marks)

    await rig.until(seen)
    return placed


async def test_one_list_that_covers_all_venues_is_found_out_and_used(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.tell("PUT", "/switches", list_scope="all_venues")
        for venue_id in range(3, 11):
            await rig.tell("POST", "/venues", id=venue_id, name=f"Venue {venue_id}")
        await rig.brand(poll_stations=False)
        async with rig.polling():
            await rig.looked(*range(1, 11))
            before = await stir(rig, *range(1, 11))
            # So far nothing had moved in most venues: it is tried again when something has.
            found = await rig.found()
            found.brand.whole, found.brand.whole_ms = None, 0
            await redis.hset(f"relay:polls:{BRAND}:state", "b", _encoded(found.brand))
        async with rig.polling():

            async def used() -> bool:
                return bool((await rig.found()).brand.whole)

            async def alone() -> bool:
                """Whether the looks at single venues that had been begun by then are over."""
                journal = await rig.tell("GET", "/journal?limit=10000")
                orders = [request["venue"] for request in journal["requests"] if request["path"].endswith("/orders")]
                return orders[-10:] == [None] * 10

            await rig.until(used)
            await rig.until(alone)
            await rig.tell("DELETE", "/journal")
            for venue_id in range(1, 11):
                await rig.tell("POST", f"/brands/{BRAND}/venues/{venue_id}/orders")
            events = await rig.got(before + 10)
            assert sorted(event["venue_id"] for event in events[before:]) == list(range(1, 11))
            journal = await rig.tell("GET", "/journal?limit=10000")
            orders = [request for request in journal["requests"] if request["path"].endswith("/orders")]
            assert {request["venue"] for request in orders} == {None}
            state = await state_of(rig)
            assert any("covers every venue" in note for note in state["notes"])
            since = max(venue["orders"]["last_poll_at"] for venue in state["venues"])

            async def all_looked_at() -> bool:
                """Whether the list that covers every venue counts as a look at each."""
                looks = [venue["orders"]["last_poll_at"] for venue in (await state_of(rig))["venues"]]
                return bool(min(looks) > since)

            await rig.until(all_looked_at)


async def test_a_list_of_one_venue_only_is_not_taken_for_one_of_all(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand(poll_stations=False)
        async with rig.polling():
            await rig.looked(1, 2)
            await stir(rig, 1, 2)
            found = await rig.found()
            found.brand.whole, found.brand.whole_ms = None, 0
            await redis.hset(f"relay:polls:{BRAND}:state", "b", _encoded(found.brand))
        async with rig.polling():

            async def told_apart() -> bool:
                return (await rig.found()).brand.whole is False

            await rig.until(told_apart)
