from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from relay.store import keys
from relay.store.connection import Timeouts, open_redis
from relay.store.presence import Presence
from relay.store.scripts import Scripts
from relay.store.slots import DUE, KINDS, Slots, Taken

KIND = "deliver"


@pytest.fixture
async def slots(redis: Redis, redis_url: str) -> AsyncIterator[Slots]:
    blocking = open_redis(redis_url, timeouts=Timeouts(socket_s=30.0))
    yield Slots(redis, blocking, Scripts(redis))
    await blocking.aclose()


@pytest.fixture
def presence(redis: Redis) -> Presence:
    return Presence(redis)


async def make_due(redis: Redis, *, in_ms: int = 0, kind: str = KIND) -> None:
    seconds, micros = await redis.time()
    await redis.zadd(DUE[kind], {"thing": seconds * 1000 + micros // 1000 + in_ms})


async def let_lapse(redis: Redis, slot: str) -> None:
    """What twelve seconds without a sign of life do."""
    await redis.zadd(keys.slots(KIND), {slot: 1})


async def until_blocked(redis: Redis) -> None:
    """Wait until a client blocks in a pop."""
    while (await redis.info("clients"))["blocked_clients"] == 0:  # noqa: ASYNC110  Redis has no event for it
        await asyncio.sleep(0)


async def test_a_wake_without_workers_takes_no_slot(slots: Slots, redis: Redis) -> None:
    assert await slots.take(KIND, "s1") is Taken.NOBODY
    assert await redis.exists(keys.slots(KIND)) == 0


async def test_wakes_between_enqueueing_and_beginning_collapse_into_one(slots: Slots, presence: Presence) -> None:
    await presence.beat(KIND, "w1")
    await presence.beat(KIND, "w2")
    assert await slots.take(KIND, "s1") is Taken.ENQUEUE
    assert await slots.take(KIND, "s2") is Taken.COVERED
    assert await slots.start(KIND, "s1")
    assert await slots.take(KIND, "s3") is Taken.ENQUEUE


async def test_there_are_at_most_as_many_shifts_as_workers(slots: Slots, presence: Presence) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    for slot in ("s1", "s2"):
        assert await slots.take(KIND, slot) is Taken.ENQUEUE
        assert await slots.start(KIND, slot)
    assert await slots.take(KIND, "s3") is Taken.FULL
    assert await slots.census(KIND) == {"queued": 0, "busy": 2, "waiting": 0}


async def test_a_worker_that_left_or_died_does_not_count(slots: Slots, presence: Presence, redis: Redis) -> None:
    for name in ("w1", "left", "died"):
        await presence.beat(KIND, name)
    await presence.leave(KIND, "left")
    await redis.delete(f"{keys.workers(KIND)}:died")  # what its thirty seconds do
    assert await presence.count(KIND) == 1
    assert await slots.take(KIND, "s1") is Taken.ENQUEUE
    assert await slots.start(KIND, "s1")
    assert await slots.take(KIND, "s2") is Taken.FULL
    assert await redis.smembers(keys.workers(KIND)) == {b"w1"}


async def test_a_worker_that_was_taken_off_the_list_comes_back_with_its_next_beat(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    await presence.beat(KIND, "w1")
    await redis.flushall()
    await presence.beat(KIND, "w1")
    assert await slots.take(KIND, "s1") is Taken.ENQUEUE


async def test_kinds_do_not_share_slots(slots: Slots, presence: Presence) -> None:
    for kind in KINDS:
        await presence.beat(kind, "w")
        assert await slots.take(kind, "s") is Taken.ENQUEUE


async def test_a_slot_that_was_queued_and_never_begun_lapses(slots: Slots, presence: Presence, redis: Redis) -> None:
    await presence.beat(KIND, "w1")
    assert await slots.take(KIND, "s1") is Taken.ENQUEUE
    lapse_ms = await redis.zscore(keys.slots(KIND), "s1")
    seconds, _ = await redis.time()
    assert lapse_ms is not None
    assert seconds * 1000 < lapse_ms <= (seconds + 11) * 1000
    await let_lapse(redis, "s1")
    assert await slots.take(KIND, "s2") is Taken.ENQUEUE
    assert await redis.hkeys(f"{keys.slots(KIND)}:state") == [b"s2"]


async def test_a_late_job_begins_only_where_there_is_room(slots: Slots, presence: Presence, redis: Redis) -> None:
    await presence.beat(KIND, "w1")
    await slots.take(KIND, "s1")
    await let_lapse(redis, "s1")
    assert await slots.take(KIND, "s2") is Taken.ENQUEUE
    assert await slots.start(KIND, "s2")
    assert not await slots.start(KIND, "s1")
    await slots.release(KIND, "s2")
    assert await slots.start(KIND, "s1")


async def test_a_job_that_is_there_twice_runs_once(slots: Slots, presence: Presence) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    await slots.take(KIND, "s1")
    assert await slots.start(KIND, "s1")
    assert not await slots.start(KIND, "s1")


async def test_a_shift_that_was_stopped_and_goes_on_counts_again(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    await presence.beat(KIND, "w1")
    await slots.take(KIND, "s1")
    await slots.start(KIND, "s1")
    await let_lapse(redis, "s1")
    assert await slots.census(KIND) == {"queued": 0, "busy": 0, "waiting": 0}
    await slots.keep(KIND, "s1")
    assert await slots.take(KIND, "s2") is Taken.FULL


async def test_a_lingering_shift_is_woken_instead_of_enqueueing_another(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    await slots.take(KIND, "s1")
    await slots.start(KIND, "s1")
    lingering = asyncio.create_task(slots.linger(KIND, "s1", timeout_s=20))
    await until_blocked(redis)
    assert (await slots.census(KIND))["waiting"] == 1
    assert await slots.take(KIND, "s2") is Taken.PUSHED
    assert await lingering is True
    assert await slots.census(KIND) == {"queued": 0, "busy": 1, "waiting": 0}


async def test_a_lingering_shift_hears_what_is_meant_for_it_alone(slots: Slots, redis: Redis) -> None:
    lingering = asyncio.create_task(slots.linger(KIND, "s1", timeout_s=20))
    await until_blocked(redis)
    await redis.rpush(keys.wake(KIND, "s1"), "1")
    assert await lingering is True


async def test_a_lingering_shift_that_hears_nothing_ends(slots: Slots) -> None:
    assert await slots.linger(KIND, "s1", timeout_s=0.02) is False


async def test_a_shift_does_not_linger_while_something_is_due(slots: Slots, redis: Redis) -> None:
    await make_due(redis)
    assert await slots.linger(KIND, "s1", timeout_s=20) is True


async def test_a_lingering_shift_looks_again_when_something_becomes_due(slots: Slots, redis: Redis) -> None:
    await make_due(redis, in_ms=30)
    assert await slots.linger(KIND, "s1", timeout_s=20) is True
    assert await slots.is_due(KIND)


async def test_a_shift_that_was_killed_while_it_lingered_swallows_no_wake(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    await redis.zadd(keys.slots(KIND), {"killed": 1e15})
    await redis.hset(f"{keys.slots(KIND)}:state", "killed", "1")  # it meant to wait until then
    assert await slots.take(KIND, "s2") is Taken.ENQUEUE


async def test_giving_a_slot_back_tells_what_became_due_meanwhile(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    await presence.beat(KIND, "w1")
    await slots.take(KIND, "s1")
    await slots.start(KIND, "s1")
    await make_due(redis)
    assert await slots.take(KIND, "s2") is Taken.FULL
    due, next_ms = await slots.release(KIND, "s1")
    assert due
    assert next_ms is not None
    assert await redis.exists(keys.slots(KIND), f"{keys.slots(KIND)}:state") == 0


async def test_giving_a_slot_back_wakes_the_scheduler_for_what_is_due_before_it_looks(
    slots: Slots, redis: Redis
) -> None:
    await slots.sweep("scheduler", sleep_s=10)
    await make_due(redis, in_ms=60_000)
    assert (await slots.release(KIND, "s1"))[0] is False
    assert await redis.llen(keys.wake("scheduler")) == 0
    await make_due(redis, in_ms=5_000)
    await slots.release(KIND, "s1")
    await slots.release(KIND, "s1")
    assert await redis.llen(keys.wake("scheduler")) == 1
    assert await slots.nudged(timeout_s=5)


async def test_giving_a_slot_back_when_nothing_is_due_says_so(slots: Slots) -> None:
    assert await slots.release(KIND, "s1") == (False, None)


async def test_one_scheduler_sweeps_and_another_takes_over_when_it_leaves(slots: Slots, redis: Redis) -> None:
    await make_due(redis, kind="poll")
    await make_due(redis, in_ms=4_000, kind="maintain")
    first = await slots.sweep("a", sleep_s=10)
    assert first.mine
    assert first.due == ("poll",)
    assert 3_000 < first.sleep_ms <= 4_000
    second = await slots.sweep("b", sleep_s=10)
    assert not second.mine
    assert 15_000 < second.sleep_ms <= 20_000
    assert second.due == ()
    await slots.leave("b")
    assert not (await slots.sweep("b", sleep_s=10)).mine
    await slots.leave("a")
    assert (await slots.sweep("b", sleep_s=10)).mine


async def test_the_lease_of_a_killed_scheduler_ends_by_itself(slots: Slots, redis: Redis) -> None:
    await slots.sweep("a", sleep_s=10)
    assert 0 < await redis.pttl(keys.SCHEDULER_LEASE) <= 20_000


async def test_garbage_among_the_due_things_of_one_kind_stops_no_other(slots: Slots, redis: Redis) -> None:
    await redis.set(DUE["poll"], "garbage")
    await make_due(redis)
    assert (await slots.sweep("a", sleep_s=10)).due == (KIND,)


async def test_garbage_in_the_place_of_slots_is_discarded(slots: Slots, presence: Presence, redis: Redis) -> None:
    await presence.beat(KIND, "w1")
    await redis.set(keys.slots(KIND), "garbage")
    await redis.rpush(f"{keys.slots(KIND)}:state", "garbage")
    assert await slots.take(KIND, "s1") is Taken.ENQUEUE
    await redis.set(keys.slots(KIND), "garbage")
    await slots.keep(KIND, "s1")
    assert (await slots.census(KIND))["queued"] == 1


async def test_slots_end_by_themselves_when_everybody_is_gone(slots: Slots, presence: Presence, redis: Redis) -> None:
    await presence.beat(KIND, "w1")
    await slots.take(KIND, "s1")
    await slots.start(KIND, "s1")
    await slots.linger(KIND, "s1", timeout_s=0.01)
    for key in (keys.slots(KIND), f"{keys.slots(KIND)}:state"):
        assert 0 < await redis.pttl(key) <= 60_000


async def test_an_idle_worker_may_ask_whether_something_is_due(slots: Slots, redis: Redis) -> None:
    assert not await slots.is_due(KIND)
    await make_due(redis, in_ms=60_000)
    assert not await slots.is_due(KIND)
    await make_due(redis)
    assert await slots.is_due(KIND)
