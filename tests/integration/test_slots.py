from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from relay.store import keys
from relay.store.connection import Timeouts, open_redis
from relay.store.presence import Presence
from relay.store.scripts import Scripts
from relay.store.slots import DUE, KINDS, LATE_MS, Slots, Taken

KIND = "deliver"
QUEUED, RUNNING = (f"{keys.slots(KIND)}:{state}" for state in ("queued", "running"))


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


async def make_late(redis: Redis) -> None:
    await make_due(redis, in_ms=-LATE_MS - 1)


async def let_lapse(redis: Redis, slot: str) -> None:
    """What twelve seconds without a sign of life do."""
    for key in (QUEUED, RUNNING):
        await redis.zadd(key, {slot: 1}, xx=True)


async def count(redis: Redis) -> dict[str, int]:
    """Shifts queued and running whose slots have not lapsed."""
    seconds, _ = await redis.time()
    return {
        name: await redis.zcount(key, seconds * 1000, "+inf")
        for name, key in (("queued", QUEUED), ("running", RUNNING))
    }


async def run_shift(slots: Slots, slot: str) -> None:
    assert await slots.take(KIND, slot) is Taken.ENQUEUE
    assert await slots.start(KIND, slot)


async def test_a_wake_without_workers_takes_no_slot(slots: Slots, redis: Redis) -> None:
    await make_due(redis)
    assert await slots.take(KIND, "s1") is Taken.NOBODY
    assert await redis.exists(QUEUED) == 0


async def test_a_wake_for_what_somebody_has_seen_to_enqueues_nothing(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    await presence.beat(KIND, "w1")
    assert await slots.take(KIND, "s1") is Taken.NOTHING
    await make_due(redis, in_ms=60_000)
    assert await slots.take(KIND, "s1") is Taken.NOTHING


async def test_wakes_between_enqueueing_and_beginning_collapse_into_one(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    await make_due(redis)
    assert await slots.take(KIND, "s1") is Taken.ENQUEUE
    await make_due(redis)
    assert await slots.take(KIND, "s2") is Taken.COVERED
    assert await count(redis) == {"queued": 1, "running": 0}


async def test_a_running_shift_is_told_instead_of_enqueueing_another(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    await make_due(redis)
    await run_shift(slots, "s1")
    await make_due(redis)
    assert await slots.take(KIND, "s2") is Taken.PUSHED
    await make_due(redis)
    assert await slots.take(KIND, "s3") is Taken.COVERED
    assert await redis.lrange(keys.wake(KIND), 0, -1) == [b"1"]
    assert 0 < await redis.pttl(keys.wake(KIND)) <= 60_000


async def test_shifts_that_do_not_keep_up_get_company_up_to_the_number_of_workers(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    await make_late(redis)
    await run_shift(slots, "s1")
    await run_shift(slots, "s2")
    assert await slots.take(KIND, "s3") is Taken.FULL
    assert await count(redis) == {"queued": 0, "running": 2}


async def test_a_worker_that_left_or_died_does_not_count(slots: Slots, presence: Presence, redis: Redis) -> None:
    for name in ("w1", "left", "died"):
        await presence.beat(KIND, name)
    await presence.leave(KIND, "left")
    await redis.delete(f"{keys.workers(KIND)}:died")  # what its thirty seconds do
    assert (await presence.look(KIND)).count == 1
    await make_late(redis)
    await run_shift(slots, "s1")
    assert await slots.take(KIND, "s2") is Taken.FULL
    assert await redis.smembers(keys.workers(KIND)) == {b"w1"}


async def test_a_worker_that_was_taken_off_the_list_comes_back_with_its_next_beat(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    await presence.beat(KIND, "w1")
    await redis.flushall()
    await presence.beat(KIND, "w1")
    await make_due(redis)
    assert await slots.take(KIND, "s1") is Taken.ENQUEUE


async def test_kinds_do_not_share_slots(slots: Slots, presence: Presence, redis: Redis) -> None:
    for kind in KINDS:
        await presence.beat(kind, "w")
        await make_due(redis, kind=kind)
        assert await slots.take(kind, "s") is Taken.ENQUEUE


async def test_a_slot_that_was_queued_and_never_begun_lapses(slots: Slots, presence: Presence, redis: Redis) -> None:
    await presence.beat(KIND, "w1")
    await make_due(redis)
    assert await slots.take(KIND, "s1") is Taken.ENQUEUE
    lapse_ms = await redis.zscore(QUEUED, "s1")
    seconds, _ = await redis.time()
    assert lapse_ms is not None
    assert seconds * 1000 < lapse_ms <= (seconds + 11) * 1000
    await let_lapse(redis, "s1")
    assert await slots.take(KIND, "s2") is Taken.ENQUEUE
    assert await redis.zrange(QUEUED, 0, -1) == [b"s2"]


async def test_a_job_that_was_lost_holds_nobody_up_who_could_run_another(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    await make_due(redis)
    assert await slots.take(KIND, "lost") is Taken.ENQUEUE
    await make_late(redis)
    assert await slots.take(KIND, "s2") is Taken.ENQUEUE


async def test_a_late_job_begins_only_where_there_is_room(slots: Slots, presence: Presence, redis: Redis) -> None:
    await presence.beat(KIND, "w1")
    await make_due(redis)
    assert await slots.take(KIND, "s1") is Taken.ENQUEUE
    await let_lapse(redis, "s1")
    await run_shift(slots, "s2")
    assert not await slots.start(KIND, "s1")
    await slots.release(KIND, "s2")
    assert await slots.start(KIND, "s1")


async def test_a_job_that_is_there_twice_runs_once(slots: Slots, presence: Presence, redis: Redis) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    await make_due(redis)
    await run_shift(slots, "s1")
    assert not await slots.start(KIND, "s1")


async def test_the_slot_of_a_killed_shift_lapses(slots: Slots, presence: Presence, redis: Redis) -> None:
    await presence.beat(KIND, "w1")
    await make_due(redis)
    await run_shift(slots, "killed")
    lapse_ms = await redis.zscore(RUNNING, "killed")
    seconds, _ = await redis.time()
    assert lapse_ms is not None
    assert lapse_ms <= (seconds + 13) * 1000
    await let_lapse(redis, "killed")
    assert await slots.take(KIND, "s2") is Taken.ENQUEUE


async def test_a_shift_that_was_stopped_and_goes_on_counts_again(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    await presence.beat(KIND, "w1")
    await make_late(redis)
    await run_shift(slots, "s1")
    await let_lapse(redis, "s1")
    assert await count(redis) == {"queued": 0, "running": 0}
    await slots.keep(KIND, "s1")
    assert await slots.take(KIND, "s2") is Taken.FULL


async def test_giving_a_slot_back_tells_what_became_due_meanwhile(
    slots: Slots, presence: Presence, redis: Redis
) -> None:
    await presence.beat(KIND, "w1")
    await make_due(redis)
    await run_shift(slots, "s1")
    due, next_ms = await slots.release(KIND, "s1")
    assert due
    assert next_ms is not None
    assert await redis.exists(QUEUED, RUNNING) == 0


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
    assert await slots.nudged(timeout_s=30)


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
    await make_due(redis)
    await redis.set(QUEUED, "garbage")
    await redis.set(keys.wake(KIND), "garbage")
    await run_shift(slots, "s1")
    await redis.set(RUNNING, "garbage")
    await slots.keep(KIND, "s1")
    assert await slots.take(KIND, "s2") is Taken.PUSHED


async def test_garbage_in_the_place_of_what_is_due_is_left_to_its_owner(slots: Slots, redis: Redis) -> None:
    await redis.set(DUE[KIND], "garbage")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await slots.take(KIND, "s1")
    assert await redis.get(DUE[KIND]) == b"garbage"


async def test_slots_end_by_themselves_when_everybody_is_gone(slots: Slots, presence: Presence, redis: Redis) -> None:
    for name in ("w1", "w2"):
        await presence.beat(KIND, name)
    await make_late(redis)
    await run_shift(slots, "s1")
    await slots.take(KIND, "s2")
    for key in (QUEUED, RUNNING):
        assert 0 < await redis.pttl(key) <= 60_000


async def test_something_is_due_from_its_time_on(slots: Slots, redis: Redis) -> None:
    assert not await slots.is_due(KIND)
    await make_due(redis, in_ms=60_000)
    assert not await slots.is_due(KIND)
    await make_due(redis)
    assert await slots.is_due(KIND)


async def test_what_is_due_is_attended_to_as_long_as_a_scheduler_lives(slots: Slots, redis: Redis) -> None:
    await make_due(redis)
    assert await slots.is_unattended(KIND)
    await slots.sweep("scheduler", sleep_s=10)
    assert not await slots.is_unattended(KIND)
    await slots.leave("scheduler")
    assert await slots.is_unattended(KIND)


async def test_background_tasks_that_redis_has_lost_count_as_due_and_no_scheduler_knows(slots: Slots) -> None:
    await slots.sweep("scheduler", sleep_s=10)
    assert await slots.is_due("maintain")
    assert await slots.is_unattended("maintain")
    assert not await slots.is_due("poll")
