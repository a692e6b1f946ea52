"""What Prometheus sees: the contract's names, labels and meanings, for the whole installation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from relay import __version__
from relay.core.buckets import DURATION_MS
from relay.core.outcomes import StatusClass
from relay.metrics import TABLE
from relay.store import keys
from relay.store.counters import Counters, observation
from relay.store.documents import Write
from relay.store.subscriptions import Subscription
from tests.integration.apis import LOOPBACK, Api, client_of, running_api
from tests.integration.relays import Call, order, partner

PROMISED = {
    "relay_poll_requests": ("brand", "resource", "outcome"),
    "relay_poll_duration_seconds": (),
    "relay_poll_staleness_seconds": ("brand",),
    "relay_quota_remaining": ("brand",),
    "relay_events": ("brand", "type", "origin"),
    "relay_deliveries": ("subscription", "outcome"),
    "relay_delivery_attempts": ("subscription", "status_class"),
    "relay_delivery_duration_seconds": (),
    "relay_event_latency_seconds": (),
    "relay_backlog_deliveries": ("subscription",),
    "relay_backlog_oldest_seconds": ("subscription",),
    "relay_dead_deliveries": ("subscription",),
    "relay_subscription_state": ("subscription", "state"),
    "relay_unaccounted_deliveries": (),
    "relay_ledger_audit_age_seconds": (),
    "relay_queue_jobs": ("queue", "state"),
    "relay_workers": ("queue",),
    "relay_redis_memory_bytes": (),
    "relay_build_info": ("version",),
}
"""The contract's, as the parser names them: counters without ``_total``."""

Scrape = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url, allow_networks=LOOPBACK, retry_schedule=(0.01,)) as up:
        yield up


async def scrape(api: Api) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and labels, read with Prometheus' own parser."""
    answer = await api.nobody.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def value(found: Scrape, name: str, **labels: str) -> float:
    return found[name][tuple(sorted(labels.items()))]


def test_the_table_holds_what_was_promised() -> None:
    table = {row.name.removesuffix("_total"): row.labels for row in TABLE}
    assert len(table) == len(TABLE)
    for name, labels in PROMISED.items():
        assert table[name] == labels, name
    for row in TABLE:
        assert (row.kind == "counter") == row.name.endswith("_total")
        assert row.name.startswith("relay_")
        assert row.help.endswith(".")


async def test_counters_gauges_and_histograms_tell_what_happened(api: Api) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        return web.Response(status=204 if call.event["subject"] == "order/1" else 500)

    await api.brand(venues=[1])
    async with partner(answer) as endpoint:
        made = (await api.subscription(url=endpoint.url))["id"]
        off = (await api.subscription(name="off", url=endpoint.url, enabled=False))["id"]
        await api.see(order(1), order(2))
        await api.deliver()
    found = await scrape(api)
    assert value(found, "relay_events_total", brand="openapitest", type="order.created", origin="poll") == 2
    assert value(found, "relay_deliveries_total", subscription=made, outcome="delivered") == 1
    assert value(found, "relay_deliveries_total", subscription=made, outcome="dead") == 1
    assert value(found, "relay_deliveries_total", subscription=made, outcome="expired") == 0
    assert value(found, "relay_delivery_attempts_total", subscription=made, status_class="2xx") == 1
    assert value(found, "relay_delivery_attempts_total", subscription=made, status_class="5xx") == 2
    assert value(found, "relay_delivery_duration_seconds_count") == 3
    assert value(found, "relay_delivery_duration_seconds_bucket", le="+Inf") == 3
    assert value(found, "relay_event_latency_seconds_count") == 1
    assert 0 < value(found, "relay_event_latency_seconds_sum") < 10
    assert value(found, "relay_dead_deliveries", subscription=made) == 1
    assert value(found, "relay_backlog_deliveries", subscription=made) == 0
    assert value(found, "relay_backlog_oldest_seconds", subscription=made) == 0
    assert value(found, "relay_backlog_deliveries", subscription=off) == 2
    assert 0 < value(found, "relay_backlog_oldest_seconds", subscription=off) < 30
    assert value(found, "relay_subscription_state", subscription=off, state="disabled") == 1
    assert value(found, "relay_subscription_state", subscription=made, state="active") == 1
    assert value(found, "relay_subscription_state", subscription=made, state="paused") == 0
    assert value(found, "relay_quota_remaining", brand="openapitest") == 300
    assert value(found, "relay_brand_state", brand="openapitest", state="waiting") == 1
    assert 0 <= value(found, "relay_poll_staleness_seconds", brand="openapitest") < 30
    assert value(found, "relay_redis_memory_bytes") > 1_000_000
    assert value(found, "relay_build_info", version=__version__) == 1
    assert value(found, "relay_redis_up") == 1
    assert value(found, "relay_clock_skew_seconds") < 5
    assert {labels[0][1] for labels in found["relay_workers"]} == {"poll", "deliver", "maintain"}


async def test_two_processes_export_the_same_figures(api: Api) -> None:
    await api.brand(venues=[1])
    await api.subscription()
    await api.see(order(1), order(2))
    async with client_of(replace(api.services), None) as other:
        other_api = replace(api, nobody=other)
        here, there = await scrape(api), await scrape(other_api)
    timeless = {name for name in here if "seconds" not in name and "memory" not in name}
    assert {name: here[name] for name in timeless} == {name: there[name] for name in timeless}


async def test_workers_jobs_and_the_ledgers_audit_are_counted(api: Api) -> None:
    await api.relay.presence.beat("poll", "one")
    await api.relay.presence.beat("poll", "two")
    redis: Any = api.relay.redis
    await redis.rpush("rq:queue:relay-deliver", "a", "b")
    assert await api.relay.slots.start("poll", "slot-1")
    await Counters(redis).add([("shifts", ("poll", "failed"), 1), ("jobs_refused", ("poll", "function"), 2)])
    await api.services.maintenance.note_audit({"sub_a": 0, "sub_b": 3}, at_ms=await api.services.maintenance.now_ms())
    await api.relay.slots.sweep("scheduler-1", sleep_s=1)
    found = await scrape(api)
    assert value(found, "relay_workers", queue="poll") == 2
    assert value(found, "relay_workers", queue="deliver") == 0
    assert value(found, "relay_queue_jobs", queue="deliver", state="queued") == 2
    assert value(found, "relay_queue_jobs", queue="deliver", state="started") == 0
    assert value(found, "relay_queue_jobs", queue="poll", state="started") == 1
    assert value(found, "relay_shifts_total", queue="poll", ended="failed") == 1
    assert value(found, "relay_jobs_refused_total", queue="poll", reason="function") == 2
    assert value(found, "relay_unaccounted_deliveries") == 3
    assert 0 <= value(found, "relay_ledger_audit_age_seconds") < 30
    assert value(found, "relay_schedulers") == 1


async def test_what_is_due_and_nobody_looks_after_is_told(api: Api) -> None:
    redis: Any = api.relay.redis
    now_ms = await api.services.maintenance.now_ms()
    await redis.zadd(keys.LANES_DUE, {"sub_a": now_ms - 90_000})
    found = await scrape(api)
    assert 89 < value(found, "relay_overdue_seconds", queue="deliver") < 120
    assert value(found, "relay_overdue_seconds", queue="poll") == 0


async def test_counts_from_outside_scripts_are_added_up(api: Api) -> None:
    counters = Counters(api.relay.redis)
    await counters.add([("poll_requests", ("openapitest", "orders", "ok"), 2)])
    await counters.add(
        [
            ("poll_requests", ("openapitest", "orders", "ok"), 1),
            ("poll_requests", ("openapitest", "orders", "ok"), 1),
            *observation("poll_duration", 30, DURATION_MS),
            *observation("poll_duration", 90_000, DURATION_MS),
        ]
    )
    found = await scrape(api)
    assert value(found, "relay_poll_requests_total", brand="openapitest", resource="orders", outcome="ok") == 4
    assert value(found, "relay_poll_duration_seconds_bucket", le="0.025") == 0
    assert value(found, "relay_poll_duration_seconds_bucket", le="0.05") == 1
    assert value(found, "relay_poll_duration_seconds_bucket", le="60.0") == 1
    assert value(found, "relay_poll_duration_seconds_bucket", le="+Inf") == 2
    assert value(found, "relay_poll_duration_seconds_sum") == pytest.approx(90.03)


async def test_a_subscription_has_no_more_series_than_the_page_says(api: Api) -> None:
    made = (await api.subscription())["id"]
    outcomes = ("delivered", "dead", "expired", "discarded")
    await Counters(api.relay.redis).add(
        [("attempts", (made, status.value), 1) for status in StatusClass]
        + [("deliveries", (made, outcome), 1) for outcome in outcomes]
    )
    text = (await api.nobody.get("/metrics")).text
    count = text.count(f'subscription="{made}"')
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"bounded: {count} for each subscription" in page


async def test_whatever_a_label_holds_is_read_back_as_it_was(api: Api) -> None:
    odd = 'a "quoted" \\ name\nover two lines, Bak\u0131'
    await Counters(api.relay.redis).add([("attempts", (odd, "2xx"), 10**17)])
    assert value(await scrape(api), "relay_delivery_attempts_total", subscription=odd, status_class="2xx") == 10**17


async def test_counters_of_a_deleted_brand_go(api: Api) -> None:
    await api.brand()
    await api.see(order(1))
    assert (await scrape(api))["relay_events_total"]
    await api.admin.delete("/v1/brands/openapitest")
    found = await scrape(api)
    assert not found.get("relay_events_total")
    assert not found.get("relay_quota_remaining")


async def test_the_oldest_event_that_waits_is_found_also_among_those_tried_before(api: Api) -> None:
    async def fail(_call: Call) -> web.StreamResponse:
        return web.Response(status=500)

    await api.brand()
    async with partner(fail) as endpoint:
        made = (await api.subscription(url=endpoint.url, retry_schedule="1h"))["id"]
        await api.see(order(1))
        await api.deliver()
        await api.relay.redis.set(keys.CLOCK, await api.services.log.last() + 5_000 * 2048)
        await api.see(order(2))
    found = await scrape(api)
    assert value(found, "relay_backlog_deliveries", subscription=made) == 2
    state = (await api.admin.get(f"/v1/subscriptions/{made}")).json()["state"]
    oldest = (await api.admin.get("/v1/events?order=asc&limit=1")).json()["data"][0]
    assert state["oldest_pending_at"] == oldest["timestamp"]
    assert 0 < value(found, "relay_backlog_oldest_seconds", subscription=made) < 60


async def test_an_event_in_hand_counts_as_waiting(api: Api) -> None:
    answering = asyncio.Event()
    arrived = asyncio.Event()

    async def slow(_call: Call) -> web.StreamResponse:
        arrived.set()
        await answering.wait()
        return web.Response(status=204)

    await api.brand()
    async with partner(slow) as endpoint:
        made = (await api.subscription(url=endpoint.url))["id"]
        await api.see(order(1))
        delivering = asyncio.create_task(api.deliver())
        await arrived.wait()
        await asyncio.sleep(0.02)
        found = await scrape(api)
        answering.set()
        await delivering
    assert value(found, "relay_backlog_deliveries", subscription=made) == 1
    assert value(found, "relay_backlog_oldest_seconds", subscription=made) > 0


async def test_a_scrape_with_a_thousand_subscriptions_takes_few_commands(api: Api) -> None:
    made = await api.subscription()
    stored = await api.services.subscriptions.get(made["id"])
    assert stored is not None
    for number in range(1000):
        copy: Subscription = replace(stored.value, id=f"sub_{number:020d}", name=None)
        await api.services.subscriptions.create(copy.id, Write(copy))
    await api.see(order(1))
    await scrape(api)
    commands_before = (await api.relay.redis.info("stats"))["total_commands_processed"]
    answer = await api.nobody.get("/metrics")
    commands = (await api.relay.redis.info("stats"))["total_commands_processed"] - commands_before
    assert f'relay_backlog_deliveries{{subscription="sub_{999:020d}"}} 1.0' in answer.text
    assert commands < 10_000  # those of the script count, and no command is made for each subscription from outside


async def test_the_query_string_changes_nothing_and_other_methods_are_refused(api: Api) -> None:
    assert (await api.nobody.get("/metrics?" + "name[]=a&" * 1000)).status_code == 200
    assert (await api.nobody.post("/metrics")).status_code == 405


async def test_with_a_token_set_only_its_bearer_may_scrape(redis_url: str) -> None:
    async with running_api(redis_url, metrics_token="scrape-token-0123456789") as api:
        for token in (None, "wrong"):
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            refused = await api.nobody.get("/metrics", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        allowed = await api.nobody.get("/metrics", headers={"authorization": "Bearer scrape-token-0123456789"})
        assert allowed.status_code == 200


async def test_a_delivery_that_was_opened_again_has_waited_since_then_and_not_since_its_event(api: Api) -> None:
    async with partner() as endpoint:
        await api.brand()
        made = (await api.subscription(url=endpoint.url))["id"]
        await api.see(order(1))
        await api.deliver()
        await endpoint.got(1)
        (event,) = (await api.admin.get("/v1/events")).json()["data"]
        (delivery,) = (await api.admin.get("/v1/deliveries")).json()["data"]
        before_ms = await redis_ms(api)
        assert datetime.fromisoformat(event["timestamp"]).timestamp() * 1000 < before_ms
        assert (await api.admin.post(f"/v1/deliveries/{delivery['id']}/retry")).status_code == 202
        waited_s = value(await scrape(api), "relay_backlog_oldest_seconds", subscription=made)
        assert waited_s * 1000 <= await redis_ms(api) - before_ms
        await api.deliver()
        assert value(await scrape(api), "relay_backlog_oldest_seconds", subscription=made) == 0


async def redis_ms(api: Api) -> int:
    """Redis' clock."""
    seconds, micros = await api.relay.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000
