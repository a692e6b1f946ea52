"""How partners are treated: throttled, failing, gone, changed, and never at the cost of another."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from relay.core import breaker, signing
from relay.core.addresses import NOWHERE
from relay.core.breaker import Circuit
from relay.core.deliveries import State
from relay.pipeline.endpoints import Endpoints
from relay.store import keys
from relay.store.subscriptions import Secret, ShapeSince, Subscription
from tests.integration.relays import SECRET, Call, Parts, order, partner

DAY_MS = 86_400_000
OTHER_SECRET = signing.new_secret(bytes(range(32, 64)))


async def circuit_of(parts: Parts, subscription: Subscription) -> Circuit:
    return breaker.load((await parts.lane(subscription, "circuit") or b"").decode())


def answering(*statuses: int, **headers: str) -> Any:
    """A partner that answers so, one after the other, and with the last of them from then on."""
    left = list(statuses)

    async def answer(_call: Call) -> web.StreamResponse:
        status = left.pop(0) if len(left) > 1 else left[0]
        given = headers if status in (429, 503) else {}
        return web.Response(status=status, headers={name.replace("_", "-"): value for name, value in given.items()})

    return answer


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_holds_the_whole_lane_and_survives_its_owner(parts: Parts, status: int) -> None:
    async with partner(answering(status, 200, retry_after="120")) as endpoint:
        subscription = await parts.subscribe(endpoint.url, max_concurrency=1)
        report = await parts.see(order(1), order(2))
        await parts.deliver()
        assert len(endpoint.calls) == 1
        now_ms = await parts.maintenance.now_ms()
        hold_ms = int(await parts.lane(subscription, "hold") or 0)
        assert 115_000 < hold_ms - now_ms <= 120_000
        await parts.see(order(3))
        await parts.deliver(owner="another")
        assert len(endpoint.calls) == 1
        assert await parts.redis.zscore(keys.LANES_DUE, subscription.id) == hold_ms
        retry_ms = await parts.redis.zscore(keys.lane(subscription.id) + ":retry", "openapitest/1/order/1")
        assert retry_ms - now_ms > 115_000
    assert (await parts.of(subscription, report.events[0][3])).record.attempts == 1
    assert (await parts.closes(subscription)).pending == 3


async def test_a_429_without_a_time_holds_only_its_own_delivery(parts: Parts) -> None:
    async with partner(answering(429, 200)) as endpoint:
        subscription = await parts.subscribe(endpoint.url, max_concurrency=1)
        await parts.see(order(1), order(2))
        await parts.deliver()
        assert len(endpoint.calls) == 3
    assert (await parts.closes(subscription)).delivered == 2


async def test_after_failures_of_several_subjects_the_lane_probes_once_and_waits(parts: Parts) -> None:
    async with partner(answering(500)) as endpoint:
        subscription = await parts.subscribe(endpoint.url, retry_schedule_s=(3600.0,) * 10)
        await parts.see(*(order(n) for n in range(1, 31)))
        await parts.deliver()
        tried = len(endpoint.calls)
        assert 5 <= tried <= 9  # those under way when the fifth failed
        circuit = await circuit_of(parts, subscription)
        assert circuit.open_until_ms is not None
        assert circuit.open_until_ms > await parts.maintenance.now_ms()
        await open_for_a_probe(parts, subscription)
        await parts.deliver(owner="another")
        assert len(endpoint.calls) == tried + 1
        again = await circuit_of(parts, subscription)
        assert again.probes_failed == 1
        assert again.open_until_ms is not None
        assert again.open_until_ms > await parts.maintenance.now_ms()
    assert (await parts.closes(subscription)).pending == 30


async def open_for_a_probe(parts: Parts, subscription: Subscription) -> None:
    """Let the time have come for the next probe."""
    circuit = await circuit_of(parts, subscription)
    await parts.redis.hset(keys.lane(subscription.id), "circuit", breaker.dump(replace(circuit, open_until_ms=1)))
    await parts.redis.hdel(keys.lane(subscription.id), "hold")
    await parts.redis.zadd(keys.LANES_DUE, {subscription.id: 0})


async def test_the_first_success_makes_all_that_waits_due_at_once_and_in_order(parts: Parts) -> None:
    async with partner(answering(*[500] * 9, 200)) as endpoint:
        subscription = await parts.subscribe(endpoint.url, retry_schedule_s=(3600.0,) * 10)
        for status in ("pending", "accepted"):
            await parts.see(*(order(n, status) for n in range(1, 31)))
        while (await circuit_of(parts, subscription)).failing_since_ms or not endpoint.calls:
            await parts.deliver()
            await open_for_a_probe(parts, subscription)
        counts = await parts.closes(subscription)
        assert (counts.delivered, counts.pending) == (60, 0)
        told: dict[str, list[str]] = {}
        for call in endpoint.calls[9:]:
            told.setdefault(call.event["subject"], []).append(call.event["data"]["order"]["status"])
        assert all(statuses == ["pending", "accepted"] for statuses in told.values())


async def test_five_days_without_a_success_disable_it_and_one_success_forgets_them(parts: Parts) -> None:
    async with partner(answering(500)) as endpoint, partner() as operator:
        subscription = await parts.subscribe(endpoint.url, retry_schedule_s=(0.01,) * 3)
        await parts.subscribe(operator.url, event_types=("relay.*",))
        now_ms = await parts.maintenance.now_ms()
        almost = Circuit(failing_since_ms=now_ms - 5 * DAY_MS + 60_000, failures=9)
        await parts.redis.hset(keys.lane(subscription.id), "circuit", breaker.dump(almost))
        await parts.see(order(1))
        await parts.deliver()
        assert await status_of(parts, subscription) == ("active", None)
        past = replace(almost, failing_since_ms=now_ms - 5 * DAY_MS)
        await parts.redis.hset(keys.lane(subscription.id), "circuit", breaker.dump(past))
        await parts.see(order(2))
        await parts.deliver()
        assert await status_of(parts, subscription) == ("disabled", "no success for five days")
        assert [call.event["type"] for call in operator.calls][-1] == "relay.subscription_disabled"
        tried = len(endpoint.calls)
        await parts.see(order(3))
        await parts.deliver()
        assert len(endpoint.calls) == tried
        await parts.life.set_status(subscription.id, "active")
        await parts.deliver()
        assert len(endpoint.calls) > tried
        assert await status_of(parts, subscription) == ("active", None)
    await parts.closes(subscription)


async def status_of(parts: Parts, subscription: Subscription) -> tuple[str, str | None]:
    stored = await parts.subscriptions.get(subscription.id)
    assert stored is not None
    return stored.value.status, stored.value.disabled_reason


async def test_five_days_are_noticed_also_while_nothing_is_tried(parts: Parts) -> None:
    subscription = await parts.subscribe("http://127.0.0.1:9/hooks")
    quiet = await parts.subscribe("http://127.0.0.1:9/hooks", event_types=("venue.*",))
    await parts.see(order(1))
    now_ms = await parts.maintenance.now_ms()
    for each, since_ms in ((subscription, now_ms - 5 * DAY_MS + 60_000), (quiet, 1)):
        await parts.redis.hset(keys.lane(each.id), "failing", since_ms)
    await parts.background("give up")
    assert await status_of(parts, subscription) == ("active", None)
    await parts.redis.hset(keys.lane(subscription.id), "failing", now_ms - 5 * DAY_MS)
    await parts.background("give up")
    assert await status_of(parts, subscription) == ("disabled", "no success for five days")
    assert await status_of(parts, quiet) == ("active", None)  # nothing waits: nothing fails


async def test_a_410_is_met_once_and_others_go_on(parts: Parts) -> None:
    async with partner(answering(410)) as endpoint:
        subscription = await parts.subscribe(endpoint.url, max_concurrency=1)
        await parts.see(*(order(n) for n in range(1, 11)))
        await parts.deliver()
        assert len(endpoint.calls) == 1
        assert await status_of(parts, subscription) == ("disabled", "the endpoint answered 410 Gone")
        (noted,) = await parts.audit.newest(limit=10)
        told = (noted.entry.actor, noted.entry.action, noted.entry.target, noted.entry.reason)
        assert told == (
            "system",
            "subscription.disable",
            f"subscription/{subscription.id}",
            "the endpoint answered 410 Gone",
        )
        await parts.life.set_status(subscription.id, "active")
        endpoint.answer = answering(200)
        await parts.deliver()
        assert len(endpoint.calls) == 11
    counts = await parts.closes(subscription)
    assert (counts.delivered, counts.dead) == (10, 0)


async def test_a_rate_limit_holds_also_across_owners(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url, rate_limit="2/m")
        await parts.see(*(order(n) for n in range(1, 6)))
        await parts.deliver()
        await parts.deliver(owner="another")
        await parts.redis.zadd(keys.LANES_DUE, {subscription.id: 0})  # as a replay would make it due
        await parts.deliver(owner="a third")
        assert len(endpoint.calls) == 1
        due_ms = await parts.redis.zscore(keys.LANES_DUE, subscription.id)
        assert 25_000 < due_ms - await parts.maintenance.now_ms() <= 30_000
    assert (await parts.closes(subscription)).pending == 4


async def test_a_rate_limit_spreads_what_it_lets_through(parts: Parts) -> None:
    async with partner() as endpoint:
        await parts.subscribe(endpoint.url, rate_limit="50/s")
        await parts.see(*(order(n) for n in range(1, 21)))
        await parts.deliver()
        assert len(endpoint.calls) == 20
        span_s = endpoint.calls[-1].at - endpoint.calls[0].at
        assert span_s >= 18 / 50 - 0.05


async def test_while_a_secret_is_rotated_both_sign(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        new, old = parts.vault.seal(OTHER_SECRET), parts.vault.seal(SECRET)
        until_ms = int(time.time() * 1000) + 60_000
        await parts.change(subscription, secrets=(Secret(sealed=new), Secret(sealed=old, until_ms=until_ms)))
        await parts.see(order(1))
        await parts.deliver()
        (call,) = endpoint.calls
        for secret in (SECRET, OTHER_SECRET):
            assert Webhook(secret).verify(call.body, call.headers)
        await parts.change(subscription, secrets=(Secret(sealed=new), Secret(sealed=old, until_ms=1)))
        await parts.see(order(2))
        await parts.deliver()
        assert Webhook(OTHER_SECRET).verify(endpoint.calls[1].body, endpoint.calls[1].headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(endpoint.calls[1].body, endpoint.calls[1].headers)


async def test_a_changed_url_and_secret_take_effect_at_the_next_attempt(parts: Parts) -> None:
    async with partner(answering(500)) as before, partner() as after:
        subscription = await parts.subscribe(before.url, retry_schedule_s=(0.05, 3600.0))
        await parts.see(order(1))
        await parts.deliver()
        assert len(before.calls) == 2
        await parts.change(
            subscription, opens=True, url=after.url, secrets=(Secret(sealed=parts.vault.seal(OTHER_SECRET)),)
        )
        await parts.deliver()
        assert (len(before.calls), len(after.calls)) == (2, 1)
        assert after.calls[0].body == before.calls[0].body
        assert after.calls[0].headers["relay-attempt"] == "3"
        assert Webhook(OTHER_SECRET).verify(after.calls[0].body, after.calls[0].headers)


async def test_a_changed_mask_is_for_later_events_only(parts: Parts) -> None:
    customer: dict[str, Any] = {
        "customer": {"id": 1, "name": "Guest", "phone": "+994550000000", "address": None, "ref": None}
    }
    async with partner(answering(500, 200)) as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await parts.see(order(1, **customer))
        await parts.redis.incrby(keys.CLOCK, 1)
        mask = ShapeSince(position=await parts.log.last(), redact=("customer.phone",))
        await parts.change(subscription, shapes=(*subscription.shapes, mask))
        await parts.see(order(2, **customer))
        await parts.deliver()
        phones = {(call.event["subject"], call.event["data"]["order"]["customer"]["phone"]) for call in endpoint.calls}
        assert phones == {("order/1", "+994550000000"), ("order/2", None)}
        first = [call.body for call in endpoint.calls if call.event["subject"] == "order/1"]
        assert len(set(first)) == 1


async def test_what_is_too_old_expires_unsent_unless_it_was_asked_for_again(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url, max_age_s=0.001)
        report = await parts.see(order(1, "pending"))
        await parts.see(order(1, "accepted"))
        await parts.tick()
        await parts.tick()
        await parts.deliver()
        assert endpoint.calls == []
        counts = await parts.closes(subscription)
        assert (counts.expired, counts.pending) == (2, 0)
        position = report.events[0][3]
        assert await parts.deliveries.reopen(subscription.id, [(position, "openapitest/1/order/1", "openapitest")])
        await parts.background("expire")
        await parts.deliver()
        assert len(endpoint.calls) == 1
    assert (await parts.of(subscription, position)).record.state is State.DELIVERED


async def test_what_is_too_old_expires_also_while_nothing_is_sent(parts: Parts) -> None:
    subscription = await parts.subscribe("http://127.0.0.1:9/hooks", max_age_s=0.001, status="paused")
    young = await parts.subscribe("http://127.0.0.1:9/hooks", max_age_s=3600.0, status="paused")
    await parts.see(*(order(n) for n in range(1, 301)))
    await parts.see(*(order(n, "accepted") for n in range(1, 301)))
    await parts.tick()
    await parts.tick()
    await parts.background("expire")
    assert (await parts.closes(subscription)).expired == 600
    assert (await parts.closes(young)).pending == 600


async def test_without_order_an_event_does_not_wait_for_the_one_before_it(parts: Parts) -> None:
    held = asyncio.Event()

    async def hold_first(call: Call) -> web.StreamResponse:
        if call.event["type"] == "order.created":
            await held.wait()
        return web.Response()

    async with partner(hold_first) as endpoint:
        subscription = await parts.subscribe(endpoint.url, ordering="none")
        for status in ("pending", "accepted", "delivered"):
            await parts.see(order(1, status))
        shift = asyncio.create_task(parts.deliver())
        await endpoint.got(3)
        held.set()
        await shift
    assert (await parts.closes(subscription)).delivered == 3


async def test_a_url_that_is_not_allowed_any_more_fails_as_refused_and_says_so(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        report = await parts.see(order(1))
        nowhere = Endpoints(subscriptions=parts.subscriptions, vault=parts.vault, allow=NOWHERE, policy=parts.policy)
        await parts.deliver(endpoints=nowhere)
        assert endpoint.calls == []
    record = (await parts.of(subscription, report.events[0][3])).record
    assert record.state is State.DEAD
    assert record.history()[0]["error"].startswith("blocked: ")
    counters = await parts.redis.hgetall(keys.COUNTERS)
    assert counters[f"attempts|{subscription.id}|refused".encode()] == b"4"


async def test_a_subscription_whose_secret_cannot_be_opened_waits_and_keeps_nobody_busy(parts: Parts) -> None:
    async with partner() as healthy:
        broken = await parts.subscribe("http://127.0.0.1:9/hooks", secrets=(Secret(sealed="not sealed by us"),))
        await parts.subscribe(healthy.url)
        await parts.see(order(1), order(2))
        before = int((await parts.redis.info("stats"))["total_commands_processed"])
        await parts.deliver()
        spent = int((await parts.redis.info("stats"))["total_commands_processed"]) - before
        assert len(healthy.calls) == 2
        assert spent < 500  # script calls count what they call
        due_ms = await parts.redis.zscore(keys.LANES_DUE, broken.id)
        assert due_ms > await parts.maintenance.now_ms() + 30_000
    assert (await parts.closes(broken)).pending == 2


async def test_a_delivery_that_fails_by_our_own_fault_is_not_counted_and_waits(parts: Parts) -> None:
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url, headers=parts.vault.seal('{"x-bad": "a\\u0000b"}'))
        healthy = await parts.subscribe(endpoint.url)
        report = await parts.see(order(1))
        await parts.deliver()
        assert [call.headers["relay-subscription"] for call in endpoint.calls] == [healthy.id]
    record = (await parts.of(subscription, report.events[0][3])).record
    assert (record.state, record.attempts) == (State.PENDING, 0)
    assert await circuit_of(parts, subscription) == breaker.HEALTHY
    due_ms = await parts.redis.zscore(keys.LANES_DUE, subscription.id)
    assert 3_000 < due_ms - await parts.maintenance.now_ms() <= 5_000


async def test_many_deaths_at_once_do_not_hold_up_another_subscription(parts: Parts) -> None:
    async with partner(answering(500)) as failing, partner() as healthy, partner() as operator:
        await parts.subscribe(failing.url, retry_schedule_s=(), ordering="none", max_concurrency=50)
        await parts.subscribe(operator.url, event_types=("relay.delivery_dead",))
        await parts.subscribe(healthy.url)
        await parts.see(*(order(n) for n in range(1, 5)))
        await parts.deliver()
        assert len(failing.calls) == len(healthy.calls) == len(operator.calls) == 4
        told = [call.event["data"] for call in operator.calls]
        assert {each["attempts"] for each in told} == {1}
        assert len({each["delivery"] for each in told}) == 4


async def test_nothing_is_sent_after_a_subscription_is_deleted(parts: Parts) -> None:
    async with partner(answering(500)) as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await parts.see(*(order(n) for n in range(1, 21)))
        shift = asyncio.create_task(parts.deliver())
        await endpoint.got(3)
        await parts.subscriptions.delete(subscription.id)
        sent = len(endpoint.calls)
        await shift
        assert len(endpoint.calls) <= sent + 4  # what was under way
        await parts.see(order(99))
        await parts.deliver()
        assert "order/99" not in {call.event["subject"] for call in endpoint.calls}
