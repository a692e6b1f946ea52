"""From a change that is seen to a partner that has been told."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from aiohttp import web
from standardwebhooks import Webhook

from relay.core.deliveries import State
from relay.store.log import Range
from tests.integration.relays import ORDERS, SECRET, Call, Parts, order, partner


async def test_a_change_arrives_signed_once(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        report = await parts.see(order(1, "pending"))
        shift = await parts.deliver()
        assert [call.event["type"] for call in endpoint.calls] == ["order.created"]
        (call,) = endpoint.calls
        assert Webhook(SECRET).verify(call.body, call.headers)
        assert call.headers["relay-attempt"] == "1"
        assert call.headers["relay-subscription"] == subscription.id
        assert call.id == call.event["id"] == report.events[0][2]
    assert shift.items == 1
    (counts,) = (await parts.deliveries.counts([subscription.id])).values()
    assert (counts.matched, counts.delivered, counts.unaccounted) == (1, 1, 0)


async def test_the_same_change_seen_again_is_no_event_again(parts: Parts) -> None:
    first = await parts.see(order(1, "pending"))
    again = await parts.see(order(1, "pending"))
    assert len(first.events) == 1
    assert (again.events, again.unchanged) == ([], 1)


async def test_a_commit_repeated_after_a_lost_answer_writes_nothing(parts: Parts) -> None:
    started = await parts.snapshots.begin()
    first = await parts.see(order(1), started=started, heads=[None])
    again = await parts.see(order(1), started=started, heads=[None])
    assert (len(first.events), len(again.events), again.unchanged) == (1, 0, 1)
    assert len((await parts.log.forward(Range(), limit=10)).events) == 1


async def test_a_page_read_before_a_newer_commit_announces_nothing_false(parts: Parts) -> None:
    await parts.see(order(1, "pending"))
    started = await parts.snapshots.begin()
    heads = await parts.snapshots.heads(ORDERS, [1])
    await parts.see(order(1, "cancelled"))
    late = await parts.see(order(1, "accepted"), started=started, heads=heads)
    assert (late.events, late.conflicts) == ([], [1])
    (known,) = await parts.snapshots.objects(ORDERS, [1])
    assert known is not None
    assert known.object["status"] == "cancelled"


async def test_the_story_of_an_order_arrives_in_order_though_attempts_fail(parts: Parts) -> None:
    seen: dict[str, int] = defaultdict(int)

    async def flaky(call: Call) -> web.StreamResponse:
        seen[call.id] += 1
        return web.Response(status=500 if seen[call.id] < 3 else 200)

    async with partner(flaky) as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        for status in ("pending", "accepted", "delivered"):
            await parts.see(*(order(n, status) for n in range(1, 5)))
        await parts.deliver()
        story: dict[str, list[str]] = defaultdict(list)
        for call in endpoint.calls:
            story[call.event["subject"]].append(call.event["data"]["order"]["status"])
        assert all(
            statuses == sorted(statuses, key=["pending", "accepted", "delivered"].index) for statuses in story.values()
        )
        assert {len(statuses) for statuses in story.values()} == {9}
        bodies: dict[str, set[bytes]] = defaultdict(set)
        for call in endpoint.calls:
            bodies[call.id].add(call.body)
        assert all(len(each) == 1 for each in bodies.values())
    (counts,) = (await parts.deliveries.counts([subscription.id])).values()
    assert (counts.matched, counts.delivered, counts.pending, counts.unaccounted) == (12, 12, 0, 0)


async def test_a_delivery_whose_schedule_is_used_up_is_dead_and_the_next_goes_on(parts: Parts) -> None:
    async def refuse_first(call: Call) -> web.StreamResponse:
        return web.Response(status=500 if call.event["type"] == "order.created" else 200, text="no <b>thanks</b>")

    async with partner(refuse_first) as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        report = await parts.see(order(1, "pending"))
        await parts.see(order(1, "accepted"))
        await parts.deliver()
        assert [call.headers["relay-attempt"] for call in endpoint.calls] == ["1", "2", "3", "4", "1"]
    delivery = await parts.deliveries.get(subscription.id, report.events[0][3])
    assert delivery is not None
    assert delivery.record.state is State.DEAD
    history = delivery.record.history()
    assert [each["number"] for each in history] == [1, 2, 3, 4]
    assert history[0]["status_code"] == 500
    assert history[0]["response_excerpt"] == "no <b>thanks</b>"


async def test_a_hanging_partner_does_not_slow_another(parts: Parts) -> None:
    release = asyncio.Event()

    async def hang(_call: Call) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with partner(hang) as stuck, partner() as healthy:
        await parts.subscribe(stuck.url)
        await parts.subscribe(healthy.url)
        await parts.see(*(order(n) for n in range(1, 101)))
        shift = asyncio.create_task(parts.deliver(concurrency=32, timeout_s=3600.0))
        await healthy.got(100)
        assert len(stuck.calls) <= 4
        release.set()
        await shift


async def test_two_workers_never_send_one_head_twice(parts: Parts) -> None:
    async with partner() as endpoint:
        await parts.subscribe(endpoint.url)
        await parts.subscribe(endpoint.url, event_types=("order.created",))
        await parts.see(*(order(n) for n in range(1, 201)))
        await asyncio.gather(parts.deliver(owner="a"), parts.deliver(owner="b"))
        assert len(endpoint.calls) == 400
        assert len({(call.id, call.headers["relay-subscription"]) for call in endpoint.calls}) == 400


async def test_a_410_disables_the_subscription_and_keeps_the_delivery(parts: Parts) -> None:
    async def gone(_call: Call) -> web.StreamResponse:
        return web.Response(status=410)

    async with partner(gone) as endpoint, partner() as operator:
        subscription = await parts.subscribe(endpoint.url)
        await parts.subscribe(operator.url, event_types=("relay.*",))
        await parts.see(order(1))
        await parts.deliver()
        assert len(endpoint.calls) == 1
        assert [call.event["type"] for call in operator.calls] == ["relay.subscription_disabled"]
    stored = await parts.subscriptions.get(subscription.id)
    assert stored is not None
    assert stored.value.status == "disabled"
    (counts,) = (await parts.deliveries.counts([subscription.id])).values()
    assert (counts.pending, counts.unaccounted) == (1, 0)


async def test_what_a_dead_worker_had_in_hand_goes_on_with_the_same_id_and_body(parts: Parts) -> None:
    held = asyncio.Event()

    async def hang_first(_call: Call) -> web.StreamResponse:
        if len(endpoint.calls) == 1:
            await held.wait()
        return web.Response()

    async with partner(hang_first) as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await parts.see(order(1))
        dying = asyncio.create_task(parts.deliver(owner="dying"))
        await endpoint.got(1)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await parts.redis.zadd("relay:lanes:due", {subscription.id: 0})  # as if its lease had run out
        await parts.deliver(owner="heir")
        held.set()
        assert len(endpoint.calls) == 2
        assert endpoint.calls[0].body == endpoint.calls[1].body
        assert [call.headers["relay-attempt"] for call in endpoint.calls] == ["1", "1"]


async def test_a_settlement_with_an_old_fence_changes_nothing(parts: Parts) -> None:
    taken_over = asyncio.Event()

    async def slow(_call: Call) -> web.StreamResponse:
        if len(endpoint.calls) == 1:
            await taken_over.wait()
            return web.Response(status=500)
        return web.Response()

    async with partner(slow) as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        report = await parts.see(order(1))
        sleeper = asyncio.create_task(parts.deliver(owner="sleeper"))
        await endpoint.got(1)
        await parts.redis.zadd("relay:lanes:due", {subscription.id: 0})
        await parts.deliver(owner="heir")
        taken_over.set()
        await sleeper
    delivery = await parts.deliveries.get(subscription.id, report.events[0][3])
    assert delivery is not None
    assert delivery.record.state is State.DELIVERED
    assert [each["status_code"] for each in delivery.record.history()] == [200]


async def test_paused_nothing_is_sent_and_resumed_everything_is(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await parts.life.set_status(subscription.id, "paused")
        await parts.see(order(1), order(2))
        await parts.deliver()
        assert endpoint.calls == []
        await parts.life.set_status(subscription.id, "active")
        await parts.deliver()
        assert len(endpoint.calls) == 2
