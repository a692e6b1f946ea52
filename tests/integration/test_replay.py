"""Telling again: what was, what should have been, and what was before a subscription."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from aiohttp import web

from relay.core.deliveries import State
from relay.core.errors import InvalidError
from relay.core.operational import rfc3339
from relay.pipeline import replay
from relay.pipeline.replay import Selection
from relay.store import keys
from relay.store.log import Range
from relay.store.positions import LARGEST, time_ms
from relay.store.replays import Replay
from relay.store.subscriptions import Subscription
from tests.integration.relays import Call, Partner, Parts, order, partner

STORY = ("pending", "accepted", "delivered")
ALL = Selection(first=0, last=LARGEST)


async def tell(parts: Parts, orders: int, *statuses: str) -> list[tuple[str, int]]:
    """Let orders have a story; ids and positions of its events."""
    told: list[tuple[str, int]] = []
    for status in statuses or STORY:
        report = await parts.see(*(order(n, status) for n in range(1, orders + 1)))
        told += [(event_id, position) for _, _, event_id, position, _ in report.events]
    return told


async def again(parts: Parts, subscription: Subscription, selection: Selection = ALL, name: str = "rpl_1") -> Replay:
    made = await parts.replays.start(subscription, selection, replay_id=name)
    await parts.background("replay")
    stored = await parts.replay_store.get(made.id)
    assert stored is not None
    return stored.value


def stories(calls: list[Call]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = defaultdict(list)
    for call in calls:
        told[call.event["subject"]].append(call.event["data"]["order"]["status"])
    return told


async def test_a_replay_sends_the_same_ids_and_bodies_in_order(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await tell(parts, 3)
        await parts.deliver()
        made = await again(parts, subscription)
        assert (made.status, made.deliveries) == ("done", 9)
        await parts.deliver()
        first, second = endpoint.calls[:9], endpoint.calls[9:]
        assert stories(first) == stories(second) == {f"order/{n}": list(STORY) for n in (1, 2, 3)}
        assert {(call.id, call.body) for call in first} == {(call.id, call.body) for call in second}
        assert {call.headers["relay-attempt"] for call in second} == {"2"}
    counts = await parts.closes(subscription)
    assert (counts.matched, counts.delivered) == (9, 9)


async def test_a_replay_takes_only_what_was_asked_for(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        told = await tell(parts, 2)
        await parts.deliver()
        by_ids = Selection(first=0, last=LARGEST, event_ids=(told[3][0], told[0][0]))
        assert (await again(parts, subscription, by_ids, "rpl_1")).deliveries == 2
        by_time = Selection(first=told[2][1], last=told[3][1])
        assert (await again(parts, subscription, by_time, "rpl_2")).deliveries == 2
        by_type = Selection(first=0, last=LARGEST, event_types=("order.created",))
        assert (await again(parts, subscription, by_type, "rpl_3")).deliveries == 2
        dead = Selection(first=0, last=LARGEST, status=State.DEAD)
        assert (await again(parts, subscription, dead, "rpl_4")).deliveries == 0
        with pytest.raises(InvalidError):
            await again(parts, subscription, Selection(first=0, last=LARGEST, event_ids=("evt_unknown",)), "rpl_5")


async def test_what_died_is_sent_again_by_its_state(parts: Parts) -> None:
    async def refuse(_call: Call) -> web.StreamResponse:
        return web.Response(status=500)

    async with partner(refuse) as endpoint:
        subscription = await parts.subscribe(endpoint.url, retry_schedule_s=(), ordering="none")
        await tell(parts, 2, "pending")
        await parts.deliver()
        assert (await parts.closes(subscription)).dead == 2
        await parts.see(order(3))
        endpoint.answer = ok
        await parts.deliver()
        made = await again(parts, subscription, Selection(first=0, last=LARGEST, status=State.DEAD))
        assert made.deliveries == 2
        await parts.deliver()
    counts = await parts.closes(subscription)
    assert (counts.delivered, counts.dead) == (3, 0)
    assert await parts.deliveries.dead(subscription.id) == []


async def ok(_call: Call) -> web.StreamResponse:
    return web.Response()


async def test_a_replay_does_not_overtake_what_waits_of_the_same_subject(parts: Parts) -> None:
    held = asyncio.Event()

    async def hold(_call: Call) -> web.StreamResponse:
        await held.wait()
        return web.Response()

    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        told = await tell(parts, 1, "pending", "accepted")
        await parts.deliver()
        endpoint.answer = hold
        await parts.see(order(1, "delivered"))
        await parts.see(order(1, "delivered", comment="late"))
        shift = asyncio.create_task(parts.deliver())
        await endpoint.got(3)
        await again(parts, subscription, Selection(first=0, last=told[1][1]))
        held.set()
        await endpoint.got(6)
        await shift
        assert [call.event["data"]["order"]["status"] for call in endpoint.calls[2:]] == [
            "delivered",
            "delivered",
            "pending",
            "accepted",
        ]
    assert (await parts.closes(subscription)).delivered == 4


async def test_a_stopped_replay_discards_what_it_queued_and_leaves_the_rest(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await tell(parts, 3)
        await parts.deliver()
        await parts.life.set_status(subscription.id, "paused")
        await again(parts, subscription)
        await parts.see(order(9))
        assert (await parts.closes(subscription)).pending == 10
        await parts.replays.stop("rpl_1")
        counts = await parts.closes(subscription)
        assert (counts.pending, counts.discarded) == (1, 9)
        await parts.life.set_status(subscription.id, "active")
        await parts.deliver()
        assert len(endpoint.calls) == 10
        await parts.replays.stop("rpl_1")  # stopping it twice changes nothing
        await again(parts, subscription, name="rpl_2")
        await parts.deliver()
    assert (await parts.closes(subscription)).delivered == 10


async def test_a_replay_is_queued_in_parts_and_can_be_stopped_in_between(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "STEP", 4)
    subscription = await parts.subscribe("http://127.0.0.1:9/hooks", event_types=("venue.*",))
    await tell(parts, 4)
    wanting = await parts.change(subscription, event_types=("*",), status="paused", opens=True)
    made = await parts.replays.start(wanting, ALL, replay_id="rpl_1")
    assert await parts.replays.step(made.value)
    progress = await parts.replay_store.progress("rpl_1")
    assert (progress.todo, progress.queued) == (8, 4)
    assert (await parts.closes(wanting)).pending == 4
    await parts.replays.stop("rpl_1")
    assert not await parts.replays.step_all()
    assert (await parts.closes(wanting)).discarded == 4


async def test_a_replay_waits_while_much_is_pending(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "STEP", 4)
    monkeypatch.setattr(replay, "BACKLOG", 6)
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await tell(parts, 4)
        await parts.deliver()
        await parts.life.set_status(subscription.id, "paused")
        await again(parts, subscription)
        assert (await parts.closes(subscription)).pending == 8
        assert await parts.replays.running()
        await parts.life.set_status(subscription.id, "active")
        await parts.deliver()
        await parts.background("replay")
        assert not await parts.replays.running()
        await parts.deliver()
        assert len(endpoint.calls) == 24
    await parts.closes(subscription)


async def test_two_workers_that_pump_one_replay_queue_each_delivery_once(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "STEP", 2)
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await tell(parts, 4)
        await parts.deliver()
        await parts.replays.start(subscription, ALL, replay_id="rpl_1")
        await asyncio.gather(parts.background("replay"), parts.background("replay"), parts.background("replay"))
        await parts.deliver()
        assert len(endpoint.calls) == 24
    assert (await parts.closes(subscription)).delivered == 12


async def test_a_replay_makes_deliveries_where_an_event_matches_and_none_existed(parts: Parts) -> None:
    async with partner() as endpoint:
        await tell(parts, 2)
        subscription = await parts.subscribe(endpoint.url)
        made = await again(parts, subscription)
        assert made.deliveries == 6
        await parts.deliver()
        assert stories(endpoint.calls) == {"order/1": list(STORY), "order/2": list(STORY)}
    counts = await parts.closes(subscription)
    assert (counts.matched, counts.delivered) == (6, 6)


async def test_one_delivery_is_opened_again_in_any_state_and_its_numbers_go_on(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        ((_, position),) = await tell(parts, 1, "pending")
        row = (position, "openapitest/1/order/1", "openapitest")
        assert await parts.deliveries.reopen(subscription.id, [row]) == ["pending"]
        for number in (1, 2, 3):
            await parts.deliver()
            assert endpoint.calls[-1].headers["relay-attempt"] == str(number)
            assert await parts.deliveries.reopen(subscription.id, [row]) == ["reopened"]
            assert await parts.deliveries.reopen(subscription.id, [row]) == ["pending"]
        assert await parts.deliveries.reopen(subscription.id, [(7, "q", "")]) == ["gone"]
        record = (await parts.of(subscription, position)).record
        assert (record.state, record.attempts, record.by_hand) == (State.PENDING, 3, True)
    await parts.closes(subscription)


async def test_a_pending_delivery_that_stands_in_no_queue_is_queued_when_it_is_asked_for(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        ((_, position),) = await tell(parts, 1, "pending")
        lane = keys.lane(subscription.id)
        await parts.redis.delete(lane + ":q:openapitest/1/order/1", lane + ":ready")
        await parts.deliver()
        assert endpoint.calls == []
        assert await parts.deliveries.reopen(subscription.id, [(position, "openapitest/1/order/1", "openapitest")]) == [
            "pending"
        ]
        await parts.deliver()
        assert len(endpoint.calls) == 1
    await parts.closes(subscription)


async def opening(parts: Parts, endpoint: Partner | None, start: str, **fields: object) -> Subscription:
    """A subscription whose past is not queued yet, made now."""
    subscription = await parts.subscribe(
        None if endpoint is None else endpoint.url, start=start, opening=True, **fields
    )
    return await parts.change(subscription, created_position=await parts.log.last())


async def test_a_start_in_the_past_tells_it_first_and_what_comes_meanwhile_after_it(parts: Parts) -> None:
    async with partner() as endpoint:
        await tell(parts, 1, "cancelled")
        await parts.tick()
        since = rfc3339(await parts.maintenance.now_ms())
        await tell(parts, 3, "pending", "accepted")
        subscription = await opening(parts, endpoint, since)
        await tell(parts, 3, "delivered")
        await parts.deliver()
        assert endpoint.calls == []
        await parts.past.open(subscription)
        await parts.deliver()
        assert stories(endpoint.calls) == {f"order/{n}": list(STORY) for n in (1, 2, 3)}
    counts = await parts.closes(subscription)
    assert (counts.matched, counts.delivered) == (9, 9)


async def test_opening_the_past_is_finished_by_another_and_told_once(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "STEP", 2)
    async with partner() as endpoint:
        since = rfc3339(await parts.maintenance.now_ms())
        await tell(parts, 3)
        subscription = await opening(parts, endpoint, since)
        reopen, left = parts.deliveries.reopen, 2

        async def dies(*args: object, **options: object) -> list[str]:
            nonlocal left
            left -= 1
            if left < 0:
                raise asyncio.CancelledError
            return await reopen(*args, **options)  # type: ignore[arg-type]  # whatever the real one is given

        monkeypatch.setattr(parts.deliveries, "reopen", dies)
        with pytest.raises(asyncio.CancelledError):
            await parts.past.open(subscription)
        monkeypatch.setattr(parts.deliveries, "reopen", reopen)
        await parts.background("replay")
        await parts.deliver()
        assert stories(endpoint.calls) == {f"order/{n}": list(STORY) for n in (1, 2, 3)}
    assert (await parts.closes(subscription)).delivered == 9


async def test_open_orders_are_told_to_one_subscription_alone(parts: Parts) -> None:
    async with partner() as endpoint, partner() as other:
        await parts.subscribe(other.url)
        await tell(parts, 3, "pending")
        await parts.see(order(3, "delivered"))
        await parts.deliver()
        before = len(other.calls)
        subscription = await opening(parts, endpoint, "open_orders")
        await parts.see(order(1, "accepted"))
        await parts.past.open(subscription)
        await parts.deliver()
        created = [call.event for call in endpoint.calls if call.event["type"] == "order.created"]
        assert {event["subject"] for event in created} == {"order/1", "order/2"}
        assert {event["origin"] for event in created} == {"backfill"}
        sequences = {event["subject"]: event["sequence"] for event in created}
        live = {call.event["subject"]: call.event for call in other.calls}
        assert sequences["order/2"] == live["order/2"]["sequence"]
        assert len(other.calls) == before + 1
        assert len((await parts.log.forward(Range(), limit=100)).events) == 5
    await parts.closes(subscription)


async def test_two_subscriptions_that_ask_for_open_orders_are_both_told(parts: Parts) -> None:
    async with partner() as first, partner() as second:
        await tell(parts, 2, "pending")
        for endpoint in (first, second):
            await parts.past.open(await opening(parts, endpoint, "open_orders"))
        await parts.deliver()
        assert [len(first.calls), len(second.calls)] == [2, 2]
        assert {call.id for call in first.calls} == {call.id for call in second.calls}


async def test_a_subscription_without_url_is_listed_the_past_and_the_present_in_order(parts: Parts) -> None:
    since = rfc3339(await parts.maintenance.now_ms())
    await tell(parts, 2, "pending", "accepted")
    subscription = await opening(parts, None, since)
    await tell(parts, 2, "delivered")
    await parts.past.open(subscription)
    await parts.see(order(1, "delivered", comment="after"))
    entries = await parts.redis.xrange(keys.lane(subscription.id) + ":log")
    made = [int(entry.split(b"-")[0]) * 2048 + int(entry.split(b"-")[1]) for entry, _ in entries]
    positions = [int(fields.get(b"p") or at) for at, (_, fields) in zip(made, entries, strict=True)]
    assert positions == sorted(positions)
    assert len(positions) == 7
    counts = await parts.closes(subscription)
    assert counts.matched == 0  # to be pulled: nothing is pending, nothing can die
    assert await parts.redis.zscore(keys.LANES_DUE, subscription.id) is None
    assert time_ms(positions[0]) <= await parts.maintenance.now_ms()
