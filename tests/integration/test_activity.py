from __future__ import annotations

from typing import Any

from relay.store import keys
from relay.store.activity import MANY, Activity
from relay.store.lane_states import STAT_SLOT_MS

NOW_MS = 1_000 * STAT_SLOT_MS + 7


async def count(redis: Any, name: str, slot: int, **amounts: int) -> None:
    await redis.hset(f"{keys.lane(name)}:stat:{slot}", mapping=amounts)


async def test_attempts_are_added_up_by_stretch(redis: Any) -> None:
    await count(redis, "sub_a", 1000, ok=3, failed=1)
    await count(redis, "sub_b", 1000, ok=2)
    await count(redis, "sub_b", 998, failed=4, l3=4)
    await count(redis, "sub_b", 900, ok=9)
    found = await Activity(redis).attempts(["sub_a", "sub_b"], now_ms=NOW_MS, slots=4)
    assert [(each.succeeded, each.failed) for each in found] == [(0, 0), (0, 4), (0, 0), (5, 1)]
    assert [each.starts_ms // STAT_SLOT_MS for each in found] == [997, 998, 999, 1000]
    assert len(await Activity(redis).attempts([], now_ms=NOW_MS, slots=4)) == 4


async def test_of_many_only_the_present_stretch_is_read_again(redis: Any) -> None:
    names = [f"sub_{number}" for number in range(MANY + 1)]
    activity = Activity(redis)
    await count(redis, "sub_1", 999, ok=1)
    await activity.attempts(names, now_ms=NOW_MS, slots=3)
    await count(redis, "sub_1", 1000, ok=5)
    before = int((await redis.info("commandstats"))["cmdstat_hmget"]["calls"])
    found = await activity.attempts(names, now_ms=NOW_MS + 1000, slots=3)
    assert [each.succeeded for each in found] == [0, 1, 5]
    assert int((await redis.info("commandstats"))["cmdstat_hmget"]["calls"]) - before == len(names)
    later = await activity.attempts(names, now_ms=NOW_MS + STAT_SLOT_MS, slots=3)
    assert [each.succeeded for each in later] == [1, 5, 0]


async def test_the_dead_come_last_first_page_by_page(redis: Any) -> None:
    await redis.zadd(f"{keys.lane('sub_a')}:dead", {"1": 100, "2": 300, "3": 500})
    await redis.zadd(f"{keys.lane('sub_b')}:dead", {"4": 200, "5": 400})
    activity = Activity(redis)
    names = ["sub_a", "sub_b"]
    assert [each.position for each in await activity.dead(names, limit=3)] == [3, 5, 2]
    assert [each.position for each in await activity.dead(names, limit=3, skip=3)] == [4, 1]
    assert await activity.dead([], limit=3) == []


async def test_what_is_being_retried_tells_why_a_subscription_fails(redis: Any) -> None:
    lane = keys.lane("sub_a")
    await redis.zadd(f"{lane}:retry", {"order/1": 100, "order/2": 200})
    await redis.rpush(f"{lane}:q:order/1", 7, 8)
    assert await Activity(redis).retried(["sub_a", "sub_b"]) == [("sub_a", 7)]
