"""What becomes of what is old, unwanted or lost: expired, discarded, dropped, counted; never just gone."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from relay.core.deliveries import State
from relay.pipeline import ledger, maintain_context, retention
from relay.pipeline.retention import retain
from relay.pipeline.stop import Stop
from relay.store import keys
from relay.store.log import Range
from relay.store.subscriptions import Subscription
from tests.integration.relays import Call, Parts, order, partner

URL = "http://127.0.0.1:9/hooks"
STORY = ("pending", "accepted", "delivered")


async def tell(parts: Parts, orders: int, *statuses: str) -> list[int]:
    """Let orders have a story; positions of its events."""
    positions: list[int] = []
    for status in statuses or STORY:
        report = await parts.see(*(order(n, status) for n in range(1, orders + 1)))
        positions += [position for _, _, _, position, _ in report.events]
    return positions


async def leftovers(parts: Parts, subscription: Subscription) -> set[str]:
    """Kinds of keys that there are of a lane."""
    stem = keys.lane(subscription.id)
    found = [key.decode().removeprefix(stem) async for key in parts.redis.scan_iter(stem + "*")]
    return {name.split(":")[1] if name else "" for name in found} - {"stat"}


async def test_what_has_ended_is_dropped_with_its_event_and_the_ledger_closes(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        old = await tell(parts, 3)
        await parts.deliver()
        await parts.tick()
        await parts.background("retain", retention_ms=0)
        counts = await parts.closes(subscription)
        assert (counts.matched, counts.delivered) == (0, 0)
        assert await parts.log.count() == 0
        assert await parts.redis.hlen(keys.LOG_IDS) == 0
        assert await parts.deliveries.get(subscription.id, old[0]) is None
        assert await leftovers(parts, subscription) <= {"", "log"}
        assert await parts.redis.xlen(keys.lane(subscription.id) + ":log") == 0
        await parts.see(order(7))
        await parts.deliver()
    assert (await parts.closes(subscription)).delivered == 1


async def test_what_still_waits_expires_and_stays_to_be_seen_for_as_long_again(parts: Parts) -> None:
    subscription = await parts.subscribe(URL, status="paused")
    positions = await tell(parts, 2)
    await parts.tick()
    await parts.background("retain", retention_ms=0)
    counts = await parts.closes(subscription)
    assert (counts.matched, counts.expired, counts.pending) == (6, 6, 0)
    assert await parts.log.count() == 0
    delivery = await parts.of(subscription, positions[0])
    assert delivery.record.state is State.EXPIRED
    assert delivery.facts["subject"] == "order/1"
    assert delivery.facts["type"] == "order.created"
    page = await parts.deliveries.newest([subscription.id], limit=10, status=State.EXPIRED)
    assert {each.position for each in page.deliveries} == set(positions)
    assert await parts.deliveries.reopen(subscription.id, [(positions[0], "openapitest/1/order/1", "openapitest")]) == [
        "gone"
    ]
    await parts.tick()
    await parts.background("retain", retention_ms=0)
    counts = await parts.closes(subscription)
    assert (counts.matched, counts.expired) == (0, 0)
    assert await parts.deliveries.get(subscription.id, positions[0]) is None


async def test_what_waits_for_a_retry_expires_too(parts: Parts) -> None:
    async with partner() as endpoint:
        url = endpoint.url
    subscription = await parts.subscribe(url, retry_schedule_s=(3600.0,), ordering="none")
    await tell(parts, 3)
    await parts.deliver()  # nobody listens there any more
    await parts.tick()
    await parts.background("retain", retention_ms=0)
    counts = await parts.closes(subscription)
    assert (counts.expired, counts.pending) == (9, 0)
    assert await leftovers(parts, subscription) == {"", "log", "dlv"}


async def test_the_counter_of_expired_deliveries_moves(parts: Parts) -> None:
    subscription = await parts.subscribe(URL, status="paused")
    await tell(parts, 1)
    await parts.tick()
    await parts.background("retain", retention_ms=0)
    assert await parts.redis.hget(keys.COUNTERS, f"deliveries|{subscription.id}|expired") == b"3"


async def test_a_replay_of_what_is_then_too_old_expires_and_still_says_of_what_it_was(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        (position,) = await tell(parts, 1, "pending")
        await parts.deliver()
        late = await parts.subscribe(URL, status="paused")
        await parts.tick()
        now_ms = await parts.maintenance.now_ms()
        row = (position, "openapitest/1/order/1", "openapitest")
        assert await parts.deliveries.reopen(late.id, [row], make=True) == ["made"]
        # The event is older than the retention now, its delivery to the late one is not.
        kept_ms = await parts.maintenance.now_ms() - now_ms
        await parts.background("retain", retention_ms=kept_ms)
        assert await parts.log.count() == 0
    delivery = await parts.of(late, position)
    assert delivery.record.state is State.EXPIRED
    assert delivery.facts["subject"] == "order/1"
    await parts.closes(late)
    await parts.closes(subscription)


async def test_events_do_not_go_before_their_deliveries(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription = await parts.subscribe(URL, status="paused")
    await tell(parts, 5)
    await parts.tick()
    with monkeypatch.context() as patch:  # as if there were very many
        patch.setattr(retention, "ROUNDS", 1)
        patch.setattr(retention, "PART", 4)
        assert await retain(parts.maintain_context(retention_ms=0), Stop(asyncio.get_running_loop().time, 30)) == 0
        assert await parts.log.count() == 15
        assert (await parts.closes(subscription)).expired == 4
    await parts.background("retain", retention_ms=0)
    assert await parts.log.count() == 0
    assert (await parts.closes(subscription)).expired == 11  # the other four were seen for as long as that


async def test_what_is_listed_to_be_pulled_goes_with_its_event(parts: Parts) -> None:
    subscription = await parts.subscribe(None)
    await tell(parts, 2)
    await parts.tick()
    await parts.background("retain", retention_ms=0)
    assert await parts.redis.xlen(keys.lane(subscription.id) + ":log") == 0


async def test_a_deleted_subscription_s_deliveries_are_discarded_and_its_keys_go_in_the_end(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        kept = await parts.subscribe(endpoint.url)
        positions = await tell(parts, 2, "pending")
        await parts.deliver()
        await tell(parts, 2, "accepted", "delivered")
        await parts.subscriptions.delete(subscription.id)
        await parts.background("discard")
        counts = await parts.closes(subscription)
        assert (counts.delivered, counts.discarded, counts.pending) == (2, 4, 0)
        assert (await parts.of(subscription, positions[0])).record.state is State.DELIVERED
        assert await parts.maintenance.gone_lanes() == [subscription.id]
        await parts.background("count ledger")
        await parts.tick()
        await parts.background("retain", retention_ms=0)
        assert await parts.maintenance.gone_lanes() == []
        assert await leftovers(parts, subscription) == set()
        assert not [
            field async for field, _ in parts.redis.hscan_iter(keys.COUNTERS) if subscription.id.encode() in field
        ]
        assert await leftovers(parts, kept) != set()


async def test_a_long_queue_of_a_deleted_subscription_is_discarded_whole(parts: Parts) -> None:
    subscription = await parts.subscribe(URL, status="paused")
    for number in range(60):
        await parts.see(*(order(n, "pending", comment=str(number)) for n in range(1, 51)))
    await parts.subscriptions.delete(subscription.id)
    await parts.background("discard")
    counts = await parts.closes(subscription)
    assert (counts.discarded, counts.pending) == (3000, 0)


async def test_a_deleted_brand_s_deliveries_are_discarded_and_no_other_s(parts: Parts) -> None:
    await parts.brand("other")
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url, status="paused")
        await tell(parts, 3)
        await parts.see(order(1), scope=parts.orders_of("other"))
        await parts.maintenance.brand_gone("openapitest")
        await parts.brands.delete("openapitest")
        await parts.background("discard")
        counts = await parts.closes(subscription)
        assert (counts.discarded, counts.pending) == (9, 1)
        assert await parts.maintenance.gone_brands() == []
        await parts.life.set_status(subscription.id, "active")
        await parts.deliver()
        assert [call.event["brand"] for call in endpoint.calls] == ["other"]


async def test_a_brand_that_is_gone_is_not_spoken_of_though_nothing_was_swept_yet(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await tell(parts, 2)
        await parts.brands.delete("openapitest")
        await parts.deliver()
        assert endpoint.calls == []
    assert (await parts.closes(subscription)).discarded == 6


async def test_what_is_under_way_is_left_to_its_owner(parts: Parts) -> None:
    held = asyncio.Event()

    async def hold(_call: Call) -> web.StreamResponse:
        await held.wait()
        return web.Response()

    async with partner(hold) as endpoint:
        subscription = await parts.subscribe(endpoint.url, max_age_s=0.001, max_concurrency=1)
        await parts.change(subscription, max_age_s=None)
        (position,) = await tell(parts, 1, "pending")
        shift = asyncio.create_task(parts.deliver())
        await endpoint.got(1)
        await parts.change(subscription, max_age_s=0.001)
        await parts.tick()
        await parts.tick()
        await parts.background("expire")
        held.set()
        await shift
    assert (await parts.of(subscription, position)).record.state is State.DELIVERED
    await parts.closes(subscription)


async def test_the_count_of_the_ledger_finds_what_is_in_no_queue_and_nothing_else(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        ordered_by_none = await parts.subscribe(URL, status="paused", ordering="none")
        await tell(parts, 4, "pending", "accepted")
        await parts.deliver()
        await parts.life.set_status(subscription.id, "paused")
        await tell(parts, 4, "delivered")
    await parts.background("count ledger")
    assert (await parts.maintenance.audit() or ("never", 0))[0] == 0
    await parts.redis.zrem(keys.lane(subscription.id) + ":ready", "openapitest/1/order/2", "openapitest/1/order/3")
    await parts.background("count ledger")
    assert (await parts.maintenance.audit() or ("never", 0))[0] == 2
    by = await parts.redis.hget(keys.LEDGER_AUDIT, "by")
    assert subscription.id.encode() in by
    assert (await parts.closes(ordered_by_none)).pending == 12


async def test_the_ledger_is_counted_rightly_while_everything_moves(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "PART", 7)  # many questions
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        shift = asyncio.create_task(parts.deliver())
        for round_ in range(15):
            await parts.see(*(order(n, "pending", comment=str(round_)) for n in range(1, 11)))
            await parts.background("count ledger")
            assert (await parts.maintenance.audit() or ("never", 0))[0] == 0
            assert (await parts.counts(subscription)).unaccounted == 0
        await shift
        await parts.deliver()
    assert (await parts.closes(subscription)).delivered == 150


async def test_settled_orders_are_forgotten_but_those_whose_customer_was(parts: Parts) -> None:
    await parts.see(order(1, "delivered"), order(2, "delivered"), order(3, "pending"))
    (head,) = await parts.snapshots.heads(parts.orders_of("openapitest"), [2])
    assert head is not None
    await parts.redis.hset("relay:snap:openapitest:1:orders:h", "2", head.text.replace(b"||", b"|f|", 1))
    await parts.tick()
    await parts.background("trim snapshots", retention_ms=0)
    assert set(await parts.redis.hkeys("relay:snap:openapitest:1:orders:h")) == {b"2", b"3"}
    assert await parts.snapshots.floor(parts.orders_of("openapitest")) == 1


async def test_a_task_that_fails_keeps_no_other_from_running(parts: Parts) -> None:
    await parts.redis.set(keys.BRANDS_GONE, "garbage")
    subscription = await parts.subscribe(URL, status="paused")
    await tell(parts, 1)
    await parts.tick()
    await parts.maintain(retention_ms=0)
    assert (await parts.closes(subscription)).expired == 3
    assert (await parts.log.forward(Range(), limit=10)).events == ()
    assert maintain_context.BUSY_MS < maintain_context.IDLE_MS
