"""What goes wrong while brands are looked at, and what holds all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis.asyncio import Redis

from relay.clopos import client as client_module
from relay.clopos.feeds import ORDERS as FEED
from relay.core.errors import SignInError
from relay.pipeline.look import Pass
from relay.pipeline.notebook import Notebook
from relay.pipeline.one_look import Observer, Target
from relay.pipeline.poll import poll_shift
from relay.pipeline.reading import Reader, Tally
from relay.pipeline.stop import Stop
from relay.store import keys
from relay.store.brand_state import BrandStates
from relay.store.findings import FeedState
from relay.store.quota import Purpose
from relay.store.snapshots import Scope
from relay.store.vault import Vault
from tests.integration.examples import assert_like_its_example
from tests.integration.polling import BRAND, Rig, rigged
from tests.integration.test_poll_quirks import FAST, agrees, state_of

ORDERS = f"/brands/{BRAND}/venues/1/orders"


async def requests(rig: Rig, path: str = "/orders") -> list[dict[str, Any]]:
    journal = await rig.tell("GET", "/journal?limit=10000")
    return [request for request in journal["requests"] if request["path"].endswith(path)]


async def test_a_token_that_ends_in_mid_pass_is_renewed_once_and_the_pass_goes_on(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.tell("PUT", "/switches", max_limit=10)
        await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            await rig.looked(1)
        await rig.tell("POST", f"{ORDERS}/bulk", count=45)
        await rig.tell("DELETE", "/journal")
        await rig.fault(
            "body",
            path="/orders",
            query="page=3",
            times=1,
            status=401,
            content_type="application/json",
            body='{"success":false,"error":"Token expired","expires_at":"2026-02-02T13:45:53.000Z"}',
        )
        async with rig.polling():
            await rig.got(45)
        assert len(await requests(rig, "/auth")) == 1
        assert await agrees(rig)
        assert len({event["subject"] for event in await rig.events()}) == 45


async def test_revoked_credentials_stop_one_brand_only_and_are_tried_once_a_minute(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.tell("POST", "/brands", brand="another", is_test=True)
        await rig.tell("POST", "/venues", brand="another", id=1)
        await rig.tell("POST", "/credentials", client_id="demo-client", brands=["another", BRAND])
        await rig.tell("POST", "/credentials", client_id="revoked", client_secret="demo-secret", brands=[BRAND])
        await rig.brand(client_id="revoked")
        await rig.brand("another")
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.looked(1, name="another")
            await rig.tell("POST", "/credentials", client_id="revoked", enabled=False)
            await rig.tell("POST", "/credentials", client_id="revoked", client_secret="changed")
            await rig.tell("POST", "/tokens/expire")
            await rig.tell("DELETE", "/journal")

            async def failing() -> bool:
                return bool((await state_of(rig))["status"] == "failing")

            await rig.until(failing)
            await rig.tell("POST", "/brands/another/venues/1/orders")

            async def told() -> bool:
                return {"relay.brand_failing", "order.created"} <= {event["type"] for event in await rig.events()}

            await rig.until(told)
            state = await state_of(rig)
            assert "credentials" in state["error"]
            assert state["token_expires_at"] is not None
            # Repaired: the operator sends the right ones, and it goes on at once.
            await rig.change_brand(client_id="demo-client")

            async def recovered() -> bool:
                return "relay.brand_recovered" in {event["type"] for event in await rig.events()}

            await rig.until(recovered)
        refused = [request for request in await requests(rig, "/auth") if request["status"] >= 400]
        assert len(refused) == 1


async def test_a_burst_of_server_errors_backs_off_and_everything_is_caught_up_with(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.fault("503", path="/orders")
            await rig.tell("POST", ORDERS)
            await rig.tell("DELETE", "/journal")

            async def failing() -> bool:
                return bool((await state_of(rig))["status"] == "failing")

            await rig.until(failing)
            await asyncio.sleep(0.9)
            assert len(await requests(rig)) <= 12
            await rig.tell("DELETE", "/faults")
            events = await rig.got(3, timeout_s=45)
        assert sorted(event["type"] for event in events) == [
            "order.created",
            "relay.brand_failing",
            "relay.brand_recovered",
        ]
        failing_event = next(event for event in events if event["type"] == "relay.brand_failing")
        assert "5xx" in failing_event["data"]["error"]
        assert failing_event["data"]["since"].endswith("Z")
        for event in events:
            if event["type"].startswith("relay."):
                assert_like_its_example(event)


async def test_one_venue_that_hangs_does_not_stop_the_others(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "READ_DEADLINE_S", 3600.0)
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.fault("hang", path="/orders", venue="2")
            await rig.until(lambda: struck(rig, 1))
            for count in range(1, 6):
                await rig.tell("POST", ORDERS)
                await rig.got(count)


async def struck(rig: Rig, times: int) -> bool:
    """Whether faults have befallen so many requests."""
    return bool(sum(fault["struck"] for fault in (await rig.tell("GET", "/faults"))["faults"]) >= times)


async def test_a_venue_that_hangs_is_looked_at_again_after_a_deadline(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "READ_DEADLINE_S", 1.0)
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.fault("hang", path="/orders", venue="2")
            for count in range(1, 6):
                await rig.tell("POST", ORDERS)
                await rig.got(count)

            async def said() -> bool:
                return (await rig.found()).venues[2].orders.reason == "timeout"

            await rig.until(said)
            assert (await state_of(rig))["status"] == "ok"
            await rig.tell("DELETE", "/faults")
            await rig.tell("POST", f"/brands/{BRAND}/venues/2/orders")
            await rig.got(6, timeout_s=40)


@pytest.mark.parametrize("kind", ["cut-json", "short-body", "reset", "html-200", "success-false"])
async def test_half_an_answer_is_no_answer(redis: Redis, redis_url: str, kind: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.fault(kind, path="/orders", venue="1", times=2)
            await rig.tell("POST", ORDERS)
            events = await rig.got(1, timeout_s=30)
        assert [event["type"] for event in events if event["type"].startswith("order")] == ["order.created"]
        assert await agrees(rig)


async def test_a_venue_that_clopos_no_longer_knows_stops_alone_and_nothing_is_told_to_be_deleted(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=100) as rig:
        await rig.brand(venues=(1, 2))
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.tell("DELETE", "/venues/2")

            async def said() -> bool:
                state = await state_of(rig)
                return state["venues"][1]["error"] is not None

            await rig.until(said)
            state = await state_of(rig)
            assert state["status"] == "ok"
            assert state["error"].startswith("Venue 2: ")
            await rig.tell("POST", ORDERS)
            await rig.until(lambda: created(rig))
        assert {event["type"] for event in await rig.events()} <= {"order.created", "venue.removed"}


async def test_a_look_that_began_before_a_failure_does_not_say_that_it_is_over(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        (claim,) = (await rig.ctx.polls.claim("worker-1", most=1)).taken
        found = await rig.ctx.polls.found(BRAND, generation="1")
        book = Notebook(rig.ctx.polls, rig.ctx.requests, claim, found, now_ms=1_770_000_000_000)
        observer = Observer(rig.ctx, claim, book)
        observer.access = await rig.access()
        one, other = FeedState(), FeedState()
        began, ends = asyncio.Event(), asyncio.Event()

        async def well(_reader: Reader) -> Pass:
            return Pass()

        async def slow(_reader: Reader) -> Pass:
            began.set()
            await ends.wait()
            return Pass()

        async def refused(_reader: Reader) -> Pass:
            raise SignInError("No.", status=401)

        async def look(state: FeedState, how: Callable[[Reader], Awaitable[Pass]]) -> None:
            target = Target(source=FEED, venue_id=1, state=state, purpose=Purpose.POLL)
            await observer.take(target, Tally(), how, began_ms=book.now_ms())

        old = [asyncio.create_task(look(state, slow)) for state in (one, other)]
        await began.wait()
        await look(one, refused)
        ends.set()
        await asyncio.gather(*old)
        assert one.failing_ms
        assert not other.failing_ms
        assert book.brand.failing_ms
        await look(other, well)
        assert one.failing_ms
        assert not book.brand.failing_ms
        await look(one, well)
        assert not one.failing_ms
        told = [event["type"] for event in await rig.events()]
        assert told == ["relay.brand_failing", "relay.brand_recovered"]


async def created(rig: Rig) -> bool:
    return any(event["type"] == "order.created" for event in await rig.events())


async def test_a_429_holds_the_whole_brand_in_every_worker(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.fault("429", path="/orders", reset="2", times=1)

            async def throttled() -> bool:
                return any(request["status"] == 429 for request in await requests(rig))

            await rig.until(throttled)
            await rig.tell("POST", ORDERS)
            await rig.got(1)
        seen = await requests(rig)
        stopped = next(i for i, request in enumerate(seen) if request["status"] == 429)
        after = [request["at_s"] for request in seen[stopped + 1 :] if request["at_s"] > seen[stopped]["at_s"] + 0.5]
        assert after[0] - seen[stopped]["at_s"] >= 2.0


async def test_of_three_workers_none_asks_before_a_429_is_over_whoever_owns_the_brand(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        others = [rig.another_worker() for _ in range(2)]
        async with rig.polling(), others[0].polling(owner="worker-2"), others[1].polling(owner="worker-3"):
            await rig.looked(1, 2)
            await rig.fault("429", path="/orders", reset="3", times=1)

            async def throttled() -> bool:
                return any(request["status"] == 429 for request in await requests(rig))

            await rig.until(throttled)
            await asyncio.sleep(0.3)  # what was on its way has come
            await rig.tell("POST", ORDERS)
            owners = set()

            async def told() -> bool:
                # The brand goes from worker to worker all the while, as if its lease had ended.
                await redis.zadd("relay:polls:due", {BRAND: 0})
                owners.add(await redis.hget(f"relay:polls:{BRAND}", "owner"))
                return bool(await rig.events())

            await rig.until(told)
        journal = (await rig.tell("GET", "/journal?limit=10000"))["requests"]
        refused_s = next(request["at_s"] for request in journal if request["status"] == 429)
        asked_s = [request["at_s"] - refused_s for request in journal if request["at_s"] > refused_s + 0.3]
        assert min(asked_s) >= 3.0
        assert len(owners) > 1
        for other in others:
            await other.transport.aclose()


async def test_two_pollers_of_one_brand_make_no_event_twice_and_lose_none(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        other = rig.another_worker()
        async with rig.polling(), other.polling(owner="worker-2"):
            await rig.looked(1, 2)
            for count in range(20):
                await rig.tell("POST", ORDERS)
                if count % 5 == 0:
                    # Whoever owns the brand loses it, as if its lease had ended.
                    await redis.zadd("relay:polls:due", {BRAND: 0})
                await asyncio.sleep(0.03)
            events = await rig.got(20)
            await rig.until(lambda: agrees(rig))
        assert len({event["subject"] for event in events}) == len(events) == 20
        await other.transport.aclose()


async def test_a_worker_that_wakes_with_an_old_lease_writes_nothing(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
        # A worker begins a look, and sleeps within it for longer than its lease.
        await rig.fault("slow", path="/orders", venue="1", delay_s=1.5, times=1)
        stop = Stop(time.monotonic, 60)
        asleep = asyncio.create_task(poll_shift(rig.ctx, owner="asleep", stop=stop, concurrency=1))

        async def struck() -> bool:
            return bool((await rig.tell("GET", "/faults"))["faults"][0]["struck"])

        await rig.until(struck)
        other = rig.another_worker()

        async def taken_over() -> bool:
            await redis.zadd("relay:polls:due", {BRAND: 0})  # its lease has ended
            return bool((await other.ctx.polls.claim("awake", most=1)).taken)

        await rig.until(taken_over)
        await redis.zadd("relay:polls:due", {BRAND: 0})
        async with other.polling(owner="awake"):
            await rig.tell("POST", ORDERS)
            events = await rig.got(1)
            assert [event["type"] for event in events] == ["order.created"]
            stop.ask()
            await asleep
            assert await redis.hget(f"relay:polls:{BRAND}", "owner") == b"awake"
            await rig.tell("POST", "/orders/108/accept")
            await rig.got(2)
        assert len(await rig.events()) == 2
        await other.transport.aclose()


async def test_what_a_killed_worker_held_goes_on_when_its_lease_ends(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        claims = await rig.ctx.polls.claim("killed", most=1)
        assert [claim.brand for claim in claims.taken] == [BRAND]
        score = await redis.zscore("relay:polls:due", BRAND)
        assert score is not None
        assert 19_000 <= score - claims.now_ms <= 20_000
        await redis.zadd("relay:polls:due", {BRAND: claims.now_ms})  # twenty seconds later
        async with rig.polling():
            await rig.looked(1, 2)


async def test_a_row_that_turns_up_late_is_seen_within_the_overlap(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.tell("PUT", "/switches", max_limit=5)
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            for count in range(1, 13):
                await rig.tell("POST", ORDERS, updated_at=f"2030-01-01T00:01:{count:02d}.000000Z")
                await rig.got(count)
            late = await rig.tell("POST", ORDERS, updated_at="2030-01-01T00:00:00.000000Z")
            events = await rig.got(13)
        assert events[12]["subject"] == f"order/{late['id']}"
        assert events[12]["origin"] == "poll"


async def test_when_clopos_clock_goes_back_nothing_is_told_twice_and_nothing_is_missed(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST, reconcile_ms=300) as rig:
        await rig.tell("PUT", "/switches", max_limit=5)
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            for count in range(12):
                await rig.tell("POST", ORDERS, updated_at=f"2030-01-01T12:00:{count:02d}.000000Z")
            await rig.got(12)
            for count in range(12):
                await rig.tell("POST", ORDERS, updated_at=f"2030-01-01T11:00:{count:02d}.000000Z")
            await rig.got(24)
            await asyncio.sleep(0.7)
        assert len({event["subject"] for event in await rig.events()}) == len(await rig.events()) == 24


async def test_the_watermark_does_not_lead_the_commit(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.tell("PUT", "/switches", max_limit=10)
        await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            before = (await rig.looked(1)).venues[1].orders.mark
        await rig.tell("POST", f"{ORDERS}/bulk", count=30)
        await rig.fault("500", path="/orders", query="page=3")
        async with rig.polling():

            async def failed() -> bool:
                return (await rig.found()).venues[1].orders.failures > 0

            await rig.until(failed)
            assert (await rig.found()).venues[1].orders.mark == before
            await rig.tell("DELETE", "/faults")
            await rig.got(30, timeout_s=40)
        assert (await rig.found()).venues[1].orders.mark > before


async def test_a_snapshot_that_is_garbage_stops_its_own_order_only(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
            await redis.hset(f"relay:snap:{BRAND}:1:orders:h", "108", "garbage")
            await redis.hset(f"relay:polls:{BRAND}:state", "v:1", "garbage")
            await redis.hset(f"relay:polls:{BRAND}:state", "h", "garbage")
            await rig.tell("POST", "/orders/108/accept")
            placed = await rig.tell("POST", ORDERS)
            events = await rig.got(1)
        assert [event["subject"] for event in events] == [f"order/{placed['id']}"]


async def test_a_lost_state_costs_a_longer_look_and_no_event(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand(venues=(1,))
        async with rig.polling():
            await rig.looked(1)
        await redis.delete(f"relay:polls:{BRAND}:state")
        placed = await rig.tell("POST", ORDERS)
        async with rig.polling():
            await rig.looked(1)
            events = await rig.got(1)
        assert [(event["type"], event["subject"], event["origin"]) for event in events] == [
            ("order.created", f"order/{placed['id']}", "poll")
        ]


async def test_a_brand_whose_secret_cannot_be_opened_is_left_for_a_while_though_a_look_was_asked_for(
    redis: Redis, redis_url: str
) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand(client_secret=Vault([Fernet.generate_key().decode()]).seal("demo-secret"))
        await rig.shift(budget_s=0.5)
        assert await redis.hget(keys.poll_lease(BRAND), "fence") == b"1"
        assert await redis.zscore(keys.POLLS_DUE, BRAND) not in (None, 0)
        assert (await state_of(rig))["status"] == "failing"


async def test_a_disabled_brand_is_left_alone_and_an_enabled_one_goes_on(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            await rig.change_brand(enabled=False)

            async def left() -> bool:
                return await redis.zscore("relay:polls:due", BRAND) is None

            await rig.until(left)
            assert (await state_of(rig))["status"] == "disabled"
            await rig.tell("POST", ORDERS)
            await rig.change_brand(enabled=True)
            await rig.got(1)


async def test_the_state_tells_an_operator_what_there_is_to_know(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, **FAST) as rig:
        stored = await rig.brand()
        states = BrandStates(redis, rig.ctx.polls, rig.ctx.quota)
        assert (await states.of(stored))["status"] == "waiting"
        async with rig.polling():
            await rig.looked(1, 2)
        state = await states.of(stored)
        assert (state["status"], state["error"], state["since"]) == ("ok", None, None)
        assert state["quota"]["limit"] == 6000
        assert 0 < state["quota"]["remaining"] < 6000
        assert state["token_expires_at"].endswith("Z")
        assert [(venue["id"], venue["name"]) for venue in state["venues"]] == [(1, "Main"), (2, "Seaside")]
        orders = state["venues"][0]["orders"]
        assert orders["last_poll_at"] <= orders["next_poll_at"]
        assert orders["open_orders"] == sum(
            "o" in head.flags for head in (await rig.parts.snapshots.all_heads(Scope(BRAND, 1, "orders"))).values()
        )


async def test_a_stop_does_not_wait_for_a_look_that_takes_long(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "READ_DEADLINE_S", 3600.0)
    async with rigged(redis, redis_url, **FAST) as rig:
        await rig.brand()
        async with rig.polling() as stop:
            await rig.looked(1, 2)
            await rig.fault("hang")
            await rig.until(lambda: struck(rig, 2))
            stop.ask()

            async def given_back() -> bool:
                return not await redis.hexists(f"relay:polls:{BRAND}", "owner")

            await rig.until(given_back)
        await rig.tell("DELETE", "/faults")
        await rig.tell("POST", ORDERS)
        async with rig.polling():
            await rig.got(1)
