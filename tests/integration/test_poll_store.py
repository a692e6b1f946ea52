"""Who looks at a brand, and what is written down of it: claims, notes, releases, requests."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from relay.store import keys
from relay.store.findings import VenueState, encode, venue_field
from relay.store.scripts import Scripts
from relay.store.venues import BAD_ROWS_KEPT, PollStore

BRAND = "openapitest"


def opened(redis: Redis) -> PollStore:
    return PollStore(redis, Scripts(redis), brands_epoch_key="relay:doc:brand:epoch")


async def everything(redis: Any) -> dict[bytes, Any]:
    """All that lies in Redis, to see that nothing was written."""
    found: dict[bytes, Any] = {}
    for key in await redis.keys("*"):
        kind = await redis.type(key)
        read = {b"hash": redis.hgetall, b"string": redis.get, b"list": lambda k: redis.lrange(k, 0, -1)}
        found[key] = await (redis.zrange(key, 0, -1, withscores=True) if kind == b"zset" else read[kind](key))
    return found


async def test_a_brand_belongs_to_one_worker_until_its_lease_ends(redis: Redis) -> None:
    polls, other = opened(redis), opened(redis)
    await polls.ensure_due([BRAND])
    (claim,) = (await polls.claim("one", most=5)).taken
    assert (await other.claim("two", most=5)).taken == ()
    await redis.zadd(keys.POLLS_DUE, {BRAND: 0})
    (taken_over,) = (await other.claim("two", most=5)).taken
    assert taken_over.fence.number == claim.fence.number + 1


async def test_who_lost_a_brand_writes_nothing_and_gives_nothing_back(redis: Redis) -> None:
    polls = opened(redis)
    await polls.ensure_due([BRAND])
    (old,) = (await polls.claim("one", most=1)).taken
    await redis.zadd(keys.POLLS_DUE, {BRAND: 0})
    await polls.claim("two", most=1)
    before = await everything(redis)
    fields = {venue_field(1): encode(VenueState(open_orders=9))}
    assert await polls.note(old, fields=fields, bad={"orders:1:7": b"{}"}, counters=[("poll_requests|x", 1)]) is None
    await polls.release(old, due_in_ms=0)
    await polls.release(old, due_in_ms=None)
    assert await everything(redis) == before


async def test_a_note_renews_the_lease_writes_and_counts(redis: Redis) -> None:
    polls = opened(redis)
    await polls.ensure_due([BRAND])
    (claim,) = (await polls.claim("one", most=1)).taken
    await redis.zadd(keys.POLLS_DUE, {BRAND: 1})
    await redis.set("relay:doc:brand:epoch", 7)
    noted = await polls.note(
        claim,
        fields={venue_field(1): encode(VenueState(open_orders=9))},
        bad={},
        counters=[("poll_requests|openapitest|orders|ok", 2)],
    )
    assert noted is not None
    assert (noted.brands_epoch, noted.asked, noted.first, noted.went_back) == (7, False, True, False)
    score = await redis.zscore(keys.POLLS_DUE, BRAND)
    assert score is not None
    assert score == noted.now_ms + 20_000
    assert (await polls.found(BRAND, generation="")).venues[1].open_orders == 9
    assert await redis.hget(keys.COUNTERS, "poll_requests|openapitest|orders|ok") == b"2"


async def test_a_process_notices_that_redis_went_back_in_time_or_lost_all(redis: Redis) -> None:
    polls = opened(redis)
    await polls.ensure_due([BRAND])
    (claim,) = (await polls.claim("one", most=1)).taken
    notes = [await polls.note(claim, fields={}, bad={}, counters=[]) for _ in range(3)]
    assert [note.went_back for note in notes if note is not None] == [False, False, False]
    await redis.hset(keys.poll_lease(BRAND), "notes", "1")
    note = await polls.note(claim, fields={}, bad={}, counters=[])
    assert note is not None
    assert note.went_back


@pytest.mark.parametrize("due_in_ms", [60_000, None])
async def test_who_asks_while_a_brand_is_being_given_back_gets_a_look_at_once(
    redis: Redis, due_in_ms: int | None
) -> None:
    polls = opened(redis)
    await polls.ensure_due([BRAND])
    (claim,) = (await polls.claim("one", most=1)).taken
    assert not await polls.request(BRAND)
    await polls.release(claim, due_in_ms=due_in_ms)
    (again,) = (await polls.claim("one", most=1)).taken
    assert again.asked
    await polls.release(again, due_in_ms=due_in_ms)
    assert (await polls.claim("one", most=1)).taken == ()


async def test_what_an_owner_was_asked_and_did_not_do_is_left_to_the_next(redis: Redis) -> None:
    polls = opened(redis)
    await polls.ensure_due([BRAND])
    (claim,) = (await polls.claim("one", most=1)).taken
    await polls.request(BRAND)
    asked = await polls.note(claim, fields={}, bad={}, counters=[])
    then = await polls.note(claim, fields={}, bad={}, counters=[])
    assert asked is not None
    assert then is not None
    assert (asked.asked, asked.first, then.asked, then.first) == (True, True, False, False)
    both = then.after(asked)
    assert (both.asked, both.first, both.now_ms) == (True, True, then.now_ms)
    await polls.release(claim, due_in_ms=60_000, asked=both.asked)
    (again,) = (await polls.claim("two", most=1)).taken
    assert again.asked


async def test_a_released_brand_is_due_when_it_says(redis: Redis) -> None:
    polls = opened(redis)
    await polls.ensure_due([BRAND])
    claims = await polls.claim("one", most=1)
    await polls.release(claims.taken[0], due_in_ms=5_000)
    score = await redis.zscore(keys.POLLS_DUE, BRAND)
    assert score is not None
    assert 4_000 < score - claims.now_ms < 7_000
    await redis.zadd(keys.POLLS_DUE, {BRAND: 0})
    (claim,) = (await polls.claim("one", most=1)).taken
    await polls.release(claim, due_in_ms=None)
    assert await redis.zscore(keys.POLLS_DUE, BRAND) is None


async def test_a_look_asked_for_reaches_the_owner_or_wakes_a_worker(redis: Redis) -> None:
    polls = opened(redis)
    assert await polls.request(BRAND)
    assert await redis.lrange(keys.wake("poll"), 0, -1) == [BRAND.encode()]
    (claim,) = (await polls.claim("one", most=1)).taken
    assert claim.asked
    assert not await polls.request(BRAND)
    assert await redis.lrange(keys.wake("poll", "one"), 0, -1) == [BRAND.encode()]
    noted = [await polls.note(claim, fields={}, bad={}, counters=[]) for _ in range(2)]
    assert [note.asked for note in noted if note is not None] == [True, False]


async def test_rows_set_aside_are_bounded_and_what_is_known_may_change(redis: Redis) -> None:
    polls = opened(redis)
    await polls.ensure_due([BRAND])
    (claim,) = (await polls.claim("one", most=1)).taken
    many = {f"orders:1:{number}": b"{}" for number in range(BAD_ROWS_KEPT + 50)}
    await polls.note(claim, fields={}, bad=many, counters=[])
    assert await redis.hlen(keys.bad_rows(BRAND)) == BAD_ROWS_KEPT
    await polls.note(claim, fields={}, bad={"orders:1:0": b"[]", "orders:1:1": b""}, counters=[])
    assert await redis.hget(keys.bad_rows(BRAND), "orders:1:0") == b"[]"
    assert await redis.hlen(keys.bad_rows(BRAND)) == BAD_ROWS_KEPT - 1


async def test_a_brand_that_is_gone_leaves_nothing_but_its_fence(redis: Redis) -> None:
    polls = opened(redis)
    await polls.ensure_due([BRAND])
    (claim,) = (await polls.claim("one", most=1)).taken
    await polls.note(claim, fields={"b": b"{}"}, bad={"x": b"{}"}, counters=[])
    await redis.hset(keys.token(BRAND), "sealed", "x")
    await polls.forget(BRAND)
    left = set(await redis.keys("*")) - {keys.POLLS_DUE.encode()}
    assert left == {keys.poll_lease(BRAND).encode()}
    assert await redis.ttl(keys.poll_lease(BRAND)) > 0
    assert await polls.note(claim, fields={"b": b"{}"}, bad={}, counters=[]) is None


async def test_what_was_found_for_another_brand_of_the_same_name_is_not_this_ones(redis: Redis) -> None:
    polls = opened(redis)
    await polls.ensure_due([BRAND])
    (claim,) = (await polls.claim("one", most=1)).taken
    old = (await polls.found(BRAND, generation="old")).brand
    fields = {"b": encode(old), venue_field(1): encode(VenueState(open_orders=9))}
    await polls.note(claim, fields=fields, bad={}, counters=[])
    assert set((await polls.found(BRAND, generation="old")).venues) == {1}
    assert (await polls.found(BRAND, generation="new")).venues == {}
