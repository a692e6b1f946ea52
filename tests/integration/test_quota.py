"""The count of requests to Clopos: one for all workers, exact on Redis' clock."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
from redis.asyncio import Redis

from relay.store.quota import Account, Granted, Purpose, QuotaStore, Said, Tier, WaitUntil
from relay.store.scripts import Scripts

ACCOUNT = Account("demo-integrator", "openapitest")
KEY = "relay:quota:demo-integrator:openapitest"
ADDRESS = "relay:quota-address"


def opened(redis: Redis, per_minute: int = 300) -> QuotaStore:
    return QuotaStore(redis, Scripts(redis), per_minute=per_minute)


async def now_ms(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def window_of(redis: Any, key: str) -> list[float]:
    return msgspec.msgpack.decode(await redis.get(key), type=list[float], strict=False)


async def shift(redis: Redis, key: str, by_ms: int) -> None:
    """Let time pass: everything the window holds happened earlier."""
    if not await redis.exists(key):
        return
    window = await window_of(redis, key)
    blocked, arrival, others, until = window[:4]
    moved = [blocked and blocked - by_ms, arrival and arrival - by_ms, others, until and until - by_ms]
    for at in range(4, len(window), 4):
        moved += [window[at] - by_ms // 250, *window[at + 1 : at + 4]]
    await redis.set(key, msgspec.msgpack.encode([int(value) for value in moved]))


async def grants(quota: QuotaStore, purpose: Purpose, most: int = 1000) -> tuple[int, WaitUntil]:
    for count in range(most):
        asked = await quota.acquire(ACCOUNT, purpose)
        if isinstance(asked, WaitUntil):
            return count, asked
    raise AssertionError(f"{most} granted")


async def test_commands_may_use_the_whole_window_and_not_one_more(redis: Redis) -> None:
    quota = opened(redis)
    assert (await grants(quota, Purpose.COMMAND))[0] == 300
    assert (await quota.state(ACCOUNT)).remaining == 0


async def test_the_window_slides_and_no_sixty_seconds_hold_more_than_the_limit(redis: Redis) -> None:
    quota = opened(redis, per_minute=20)
    assert (await grants(quota, Purpose.COMMAND))[0] == 20
    await shift(redis, KEY, 60_000)
    assert (await grants(quota, Purpose.COMMAND))[0] == 0
    await shift(redis, KEY, 1_000)
    assert (await grants(quota, Purpose.COMMAND))[0] == 20


async def test_polling_is_spread_evenly_from_the_start(redis: Redis) -> None:
    quota = opened(redis)
    count, asked = await grants(quota, Purpose.POLL)
    assert count <= 6
    assert asked.reason == "pace"
    assert asked.wait_ms <= 226


async def test_polling_leaves_the_shares_of_commands_and_of_the_rest(redis: Redis) -> None:
    quota = opened(redis)
    polled = 0
    for _ in range(300):
        asked = await quota.acquire(ACCOUNT, Purpose.POLL)
        if isinstance(asked, Granted):
            polled += 1
        elif asked.reason == "window":
            break
        # 225 ms later, but the window is not to slide: only the pace goes on.
        window = await window_of(redis, KEY)
        await redis.set(KEY, msgspec.msgpack.encode([int(value) for value in [window[0], 0, *window[2:]]]))
    assert polled == 270
    assert (await grants(quota, Purpose.REST))[0] == 15
    assert (await grants(quota, Purpose.COMMAND))[0] == 15


async def test_the_share_of_commands_stays_also_where_others_use_up_the_account(redis: Redis) -> None:
    quota = opened(redis)
    await quota.report(ACCOUNT, Said(remaining_of=Tier.BRAND, remaining=16, reset_s=60))
    assert isinstance(await quota.acquire(ACCOUNT, Purpose.POLL), Granted)
    for purpose in (Purpose.POLL, Purpose.REST):
        asked = await quota.acquire(ACCOUNT, purpose)
        assert isinstance(asked, WaitUntil)
        assert asked.reason == "window"
    assert (await grants(quota, Purpose.COMMAND))[0] == 15


async def test_the_rest_gets_half_of_what_polling_leaves(redis: Redis) -> None:
    quota = opened(redis)
    assert (await grants(quota, Purpose.REST))[0] == 15 + 270 // 2


async def test_many_workers_at_once_get_no_more_than_one(redis: Redis) -> None:
    quotas = [opened(redis, per_minute=50) for _ in range(4)]
    asked = await asyncio.gather(*(quota.acquire(ACCOUNT, Purpose.COMMAND) for quota in quotas for _ in range(20)))
    assert sum(isinstance(one, Granted) for one in asked) == 50


async def test_a_429_stops_the_whole_fleet_until_its_reset_and_polling_goes_on_at_its_pace(redis: Redis) -> None:
    quota, other = opened(redis), opened(redis)
    await quota.report(ACCOUNT, Said(failed=True, blocked=Tier.BRAND, block_s=37))
    asked = await other.acquire(ACCOUNT, Purpose.COMMAND)
    assert isinstance(asked, WaitUntil)
    assert asked.reason == "blocked"
    assert 36_000 < asked.wait_ms <= 37_000
    state = await other.state(ACCOUNT)
    assert (state.remaining, math.isclose(state.resets_in_s, 37, abs_tol=1)) == (0, True)
    assert isinstance(await other.acquire(Account("demo-integrator", "another"), Purpose.POLL), Granted)
    await shift(redis, KEY, 37_000)
    count, _ = await grants(quota, Purpose.POLL)
    assert count <= 1


async def test_a_block_never_lasts_longer_than_five_minutes(redis: Redis) -> None:
    quota = opened(redis)
    await quota.report(ACCOUNT, Said(failed=True, blocked=Tier.BRAND, block_s=1e9))
    asked = await quota.acquire(ACCOUNT, Purpose.COMMAND)
    assert isinstance(asked, WaitUntil)
    assert asked.wait_ms <= 300_000


async def test_a_429_of_the_address_stops_every_brand_and_they_come_back_one_after_another(redis: Redis) -> None:
    quota = opened(redis)
    await quota.report(ACCOUNT, Said(failed=True, blocked=Tier.ADDRESS, block_s=30))
    brands = [Account("demo-integrator", f"brand-{number}") for number in range(5)]
    for brand in brands:
        asked = await quota.acquire(brand, Purpose.POLL)
        assert isinstance(asked, WaitUntil)
        assert asked.reason == "address"
    await shift(redis, ADDRESS, 30_000)
    waits = []
    for brand in brands:
        await shift(redis, f"relay:quota:demo-integrator:{brand.brand}", 30_000)
        asked = await quota.acquire(brand, Purpose.POLL)
        waits.append(asked.wait_ms if isinstance(asked, WaitUntil) else 0)
    assert len(set(waits)) == len(brands)
    assert max(waits) <= 5_000


async def test_clopos_own_count_is_believed_where_it_is_lower_and_forgotten_when_it_resets(redis: Redis) -> None:
    quota = opened(redis)
    await quota.report(ACCOUNT, Said(remaining_of=Tier.BRAND, remaining=100, reset_s=10))
    assert (await grants(quota, Purpose.COMMAND))[0] == 100
    await shift(redis, KEY, 10_000)
    assert (await grants(quota, Purpose.COMMAND))[0] == 200


async def test_a_higher_count_of_clopos_changes_nothing(redis: Redis) -> None:
    quota = opened(redis, per_minute=10)
    await quota.report(ACCOUNT, Said(remaining_of=Tier.BRAND, remaining=290, reset_s=10))
    assert (await grants(quota, Purpose.COMMAND))[0] == 10


async def test_failed_requests_of_all_brands_leave_some_of_the_addresss_budget(redis: Redis) -> None:
    quota = opened(redis)
    for number in range(480):
        await quota.report(Account("demo-integrator", f"brand-{number % 7}"), Said(failed=True))
    asked = await quota.acquire(ACCOUNT, Purpose.POLL)
    assert isinstance(asked, WaitUntil)
    assert asked.reason == "failures"
    assert isinstance(await quota.acquire(ACCOUNT, Purpose.COMMAND), Granted)


async def test_sign_ins_are_counted_for_the_address(redis: Redis) -> None:
    quota = opened(redis)
    asked = [await quota.acquire_sign_in() for _ in range(51)]
    assert sum(isinstance(one, Granted) for one in asked) == 50
    assert isinstance(asked[-1], WaitUntil)
    assert asked[-1].reason == "sign_in"
    await shift(redis, ADDRESS, 61_000)
    await quota.report(ACCOUNT, Said(failed=True, blocked=Tier.SIGN_IN, block_s=20))
    blocked = await quota.acquire_sign_in()
    assert isinstance(blocked, WaitUntil)
    assert blocked.reason == "address"
    assert isinstance(await quota.acquire(ACCOUNT, Purpose.POLL), Granted)


async def test_looking_at_the_quota_uses_none(redis: Redis) -> None:
    quota = opened(redis)
    full = await quota.state(ACCOUNT)
    assert (full.limit, full.remaining, full.resets_in_s) == (300, 300, 0)
    await quota.acquire(ACCOUNT, Purpose.COMMAND)
    used = await quota.state(ACCOUNT)
    assert used.remaining == 299
    assert 59 <= used.resets_in_s <= 61


async def test_a_window_is_gone_when_nobody_asks_any_more(redis: Redis) -> None:
    quota = opened(redis)
    await quota.acquire(ACCOUNT, Purpose.POLL)
    assert 0 < await redis.pttl(KEY) <= 600_000


async def test_the_least_limit_still_lets_each_purpose_go(redis: Redis) -> None:
    quota = opened(redis, per_minute=3)
    assert isinstance(await quota.acquire(ACCOUNT, Purpose.POLL), Granted)
    assert isinstance(await quota.acquire(ACCOUNT, Purpose.REST), Granted)
    assert isinstance(await quota.acquire(ACCOUNT, Purpose.COMMAND), Granted)
    assert await now_ms(redis) > 0
