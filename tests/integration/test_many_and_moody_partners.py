"""Two hundred partners at once, and one that fails every other time: everything arrives, in order, soon."""

from __future__ import annotations

import asyncio
import itertools
import random

from aiohttp import web

from relay.core.deliveries import State
from tests.integration.relays import Call, Parts, order, partner

STORY = ("pending", "accepted", "delivered")


async def test_two_hundred_partners_have_an_event_within_half_a_minute(parts: Parts) -> None:
    async with partner() as endpoint:
        subscriptions = [await parts.subscribe(endpoint.url) for _ in range(200)]
        await parts.see(order())
        async with asyncio.timeout(30):
            await parts.deliver()
        assert {call.headers["relay-subscription"] for call in endpoint.calls} == {each.id for each in subscriptions}
        assert len(endpoint.calls) == 200
    assert all([(await parts.counts(each)).delivered == 1 for each in subscriptions])


async def test_a_partner_that_fails_every_other_time_gets_everything_in_order(parts: Parts) -> None:
    chance = random.Random(64)

    async def moody(_call: Call) -> web.Response:
        return web.Response(status=chance.choice((204, 500)))

    async with partner(moody) as endpoint:
        subscription = await parts.subscribe(endpoint.url, retry_schedule_s=(0.01,) * 20)
        for status in STORY:
            await parts.see(*(order(number, status) for number in range(1, 21)))
        for number in itertools.count():
            await parts.deliver(owner=f"w{number}")
            if not (await parts.closes(subscription)).pending:
                break
            await parts.due_now(subscription)
        told: dict[str, list[str]] = {}
        for call in endpoint.calls:
            statuses, status = told.setdefault(call.event["subject"], []), call.event["data"]["order"]["status"]
            if status not in statuses:
                statuses.append(status)
        assert told == {f"order/{number}": list(STORY) for number in range(1, 21)}
    assert (await parts.closes(subscription)).delivered == 60


async def test_answers_that_come_at_the_very_deadline_are_decided_once(parts: Parts) -> None:
    deadline_s = 0.3
    asked: dict[str, int] = {}

    async def at_the_deadline(call: Call) -> web.Response:
        asked[call.id] = asked.get(call.id, 0) + 1
        if asked[call.id] == 1:
            await asyncio.sleep(deadline_s * (0.9 + 0.2 * len(asked) / 40))
        return web.Response(status=204)

    async with partner(at_the_deadline) as endpoint:
        subscription = await parts.subscribe(endpoint.url, max_concurrency=40, retry_schedule_s=(60.0,) * 3)
        events = (await parts.see(*(order(number) for number in range(1, 41)))).events
        await parts.deliver(timeout_s=deadline_s)
        asked_by_then = dict(asked)
        records = {event_id: (await parts.of(subscription, position)).record for _, _, event_id, position, _ in events}
        for number in itertools.count():
            if not (await parts.closes(subscription)).pending:
                break
            await parts.due_now(subscription)
            await parts.deliver(owner=f"w{number}")
        for event_id, record in records.items():  # what was recorded is what was gone by
            assert record.attempts >= asked_by_then.get(event_id, 0)
            assert asked[event_id] == asked_by_then.get(event_id) or record.state is State.PENDING
        bodies = {call.id: call.body for call in endpoint.calls}
        assert all(bodies[call.id] == call.body for call in endpoint.calls)
    assert (await parts.closes(subscription)).delivered == 40
