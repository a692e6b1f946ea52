"""While an update rolls, workers of two versions share one Redis: what the older one does not know it leaves alone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.core.normalize import NORMALIZER_VERSION
from relay.store import keys
from relay.store.documents import Write
from relay.store.presence import Presence
from tests.integration.polling import BRAND, rigged
from tests.integration.relays import Parts

ORDERS = f"/brands/{BRAND}/venues/1/orders"
HEADS = f"relay:snap:{BRAND}:1:orders:h"


def of_a_newer_normalizer(head: bytes) -> bytes:
    form, _, rest = head.split(b"|", 2)
    return b"|".join((form, b"%d" % (NORMALIZER_VERSION + 1), rest))


def of_a_newer_form(head: bytes) -> bytes:
    return head.replace(b"1|", b"2|new|", 1)


@pytest.mark.parametrize("newer", [of_a_newer_normalizer, of_a_newer_form])
async def test_an_order_that_a_newer_worker_has_taken_is_left_to_it(redis: Any, redis_url: str, newer: Any) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            await rig.looked(1)
        head = newer(await redis.hget(HEADS, "108"))
        await redis.hset(HEADS, "108", head)
        await rig.tell("POST", "/orders/108/accept")
        placed = await rig.tell("POST", ORDERS)
        async with rig.polling():
            events = await rig.got(1)
        assert [event["subject"] for event in events] == [f"order/{placed['id']}"]
        assert await redis.hget(HEADS, "108") == head


async def test_a_field_that_only_a_newer_version_knows_outlives_a_change_by_an_older_one(parts: Parts) -> None:
    made = await parts.subscribe("https://courier.example/")
    document = keys.document("subscription")
    version, _, text = (await parts.redis.hget(document, made.id)).partition(b" ")
    newer = {**json.loads(text), "colour": {"of": "the night"}}
    await parts.redis.hset(document, made.id, version + b" " + json.dumps(newer).encode())
    for description in ("a", "b"):
        await parts.subscriptions.update(
            made.id,
            lambda value, text=description: Write(replace(value, description=text)),  # type: ignore[misc]  # its own
            name_of=lambda value: value.name,
        )
    kept = json.loads((await parts.redis.hget(document, made.id)).partition(b" ")[2])
    assert (kept["colour"], kept["description"]) == ({"of": "the night"}, "b")
    stored = await parts.subscriptions.get(made.id)
    assert stored is not None
    assert stored.value.description == "b"


async def test_workers_of_either_version_are_counted(redis: Redis) -> None:
    presence = Presence(redis)
    await presence.beat("poll", "newer", wall_ms=0)
    await presence.beat("poll", "older")
    await redis.set(f"{keys.workers('poll')}:older", "relay-poll-1 4711")
    found = await presence.look("poll")
    assert found.count == 2
    assert found.skew_ms > 1_000_000_000


async def test_a_worker_tells_how_far_its_clock_is_off(redis: Any) -> None:
    presence = Presence(redis)
    seconds, micros = await redis.time()
    now_ms = seconds * 1000 + micros // 1000
    await asyncio.gather(*(presence.beat("poll", name, wall_ms=now_ms) for name in ("a", "b")))
    assert (await presence.look("poll")).skew_ms < 60_000
    assert await presence.beat("poll", "c", wall_ms=now_ms - 600_000) < -590_000
    assert 590_000 < (await presence.look("poll")).skew_ms < 660_000
