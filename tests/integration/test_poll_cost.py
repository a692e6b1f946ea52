"""What a look costs where nothing happened: one request, a handful of commands, no write but its own note."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from relay.store.scripts import Scripts
from tests.integration.polling import BRAND, rigged

ORDERS = f"/brands/{BRAND}/venues/1/orders"
SHIFTS_OWN = {"poll_claim"}
"""What a shift does once a second, however many looks it takes."""


async def commands_of(redis: Redis, redis_url: str, *, looks: int) -> tuple[list[str], list[str]]:
    """Commands sent from outside, and those within scripts, while so many looks are noted."""
    watcher = Redis.from_url(redis_url)
    names = {sha: name for name, sha in Scripts(redis)._sha.items()}  # noqa: SLF001  to name what is seen
    sent: list[str] = []
    within: list[str] = []
    noted = 0
    within_claim = False
    async with watcher.monitor() as monitor:
        async for seen in monitor.listen():
            words = str(seen["command"]).split(" ")
            if seen["client_type"] == "lua":
                if not within_claim and noted:
                    within.append(words[0].upper())
                continue
            name = names.get(words[1], words[1]) if words[0].upper() == "EVALSHA" else words[0].upper()
            within_claim = name in SHIFTS_OWN
            if noted and name not in {"BLPOP", *SHIFTS_OWN}:
                sent.append(name)
            if name == "poll_note":
                noted += 1
                if noted > looks:
                    break
    await watcher.aclose()
    return sent, within


async def test_an_idle_look_is_one_request_and_at_most_eight_commands(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, interval_ms=300) as rig:
        await rig.tell("POST", f"{ORDERS}/bulk", count=200)
        await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            await rig.looked(1)
            await asyncio.sleep(1)  # the look that follows a first look at once
            await rig.tell("DELETE", "/journal")
            sent, within = await commands_of(redis, redis_url, looks=5)
            journal: Any = await rig.tell("GET", "/journal")
        assert len(sent) / 5 <= 8, sent
        assert sent.count("quota_acquire") == 5  # no request goes without
        assert set(sent) == {"quota_acquire", "TIME", "GET", "HMGET", "poll_note"}
        assert sent.count("HMGET") == 5
        # Of the writes, none is of what was read: the quota's count, the state with the watermark, the lease, counters.
        assert not {"XADD", "RPUSH", "ZREM", "DEL"} & set(within)
        assert {request["path"].rpartition("/")[2] for request in journal["requests"]} == {"orders"}


async def test_two_hundred_unchanged_rows_cost_one_read_of_snapshots_and_no_write(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, interval_ms=200, per_minute=6000) as rig:
        await rig.tell("POST", f"{ORDERS}/bulk", count=200)
        await rig.brand(venues=(1,), poll_stations=False, poll_venues=False)
        async with rig.polling():
            await rig.looked(1)
            before = await redis.hgetall(f"relay:snap:{BRAND}:1:orders:h")
            await asyncio.sleep(1)
            assert await redis.hgetall(f"relay:snap:{BRAND}:1:orders:h") == before
        assert len(before) == 204
