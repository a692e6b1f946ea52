from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from relay.pipeline.stop import ShiftReport, Stop
from relay.store import keys
from relay.store.connection import open_redis
from relay.store.presence import Presence
from relay.store.scripts import Scripts
from relay.store.slots import DUE, Slots
from workers.shift import BUDGET_S, ShiftFunction, ShiftRunner

KIND = "deliver"
RUNNING = f"{keys.slots(KIND)}:running"


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A runner, and what it wakes."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.clock = Clock()
        self.woken: list[str] = []
        self.ended: list[str] = []

    async def wake(self, kind: str) -> None:
        self.woken.append(kind)

    async def count(self, _kind: str, ended: str) -> None:
        self.ended.append(ended)

    def runner(self, work: ShiftFunction, *, drain_s: float = 5) -> ShiftRunner:
        return ShiftRunner(
            self.slots, {KIND: work}, wake=self.wake, count=self.count, clock=self.clock, drain_s=drain_s
        )


@pytest.fixture
async def bench(redis: Redis, redis_url: str) -> AsyncIterator[Bench]:
    client = open_redis(redis_url)
    await Presence(redis).beat(KIND, "w1")
    await redis.zadd(DUE[KIND], {"thing": 1})
    yield Bench(Slots(client, client, Scripts(client)))
    await client.aclose()


def reporting(items: int) -> ShiftFunction:
    async def work(_owner: str, _stop: Stop) -> ShiftReport:
        return ShiftReport(items)

    return work


async def test_a_shift_owns_by_its_slot_and_gives_it_back(bench: Bench, redis: Redis) -> None:
    owners = []

    async def work(owner: str, _stop: Stop) -> ShiftReport:
        owners.append(owner)
        assert await redis.zscore(RUNNING, owner) is not None
        return ShiftReport(1)

    await bench.runner(work).run(KIND, "slot-1")
    assert owners == ["slot-1"]
    assert bench.ended == ["quiet"]
    assert await redis.zcard(RUNNING) == 0


async def test_a_shift_whose_slot_is_refused_does_nothing(bench: Bench, redis: Redis) -> None:
    await redis.zadd(RUNNING, {"another": 1e15})
    worked = []

    async def work(owner: str, _stop: Stop) -> ShiftReport:
        worked.append(owner)
        return ShiftReport(0)

    await bench.runner(work).run(KIND, "slot-1")
    assert worked == []


async def test_what_is_still_due_after_a_shift_that_did_something_wakes_another(bench: Bench) -> None:
    await bench.runner(reporting(3)).run(KIND, "slot-1")
    assert bench.woken == [KIND]


async def test_what_could_not_be_worked_on_is_left_to_the_sweep(bench: Bench) -> None:
    await bench.runner(reporting(0)).run(KIND, "slot-1")
    assert bench.woken == []


async def test_when_nothing_is_due_nobody_is_woken(bench: Bench, redis: Redis) -> None:
    await redis.delete(DUE[KIND])
    await bench.runner(reporting(3)).run(KIND, "slot-1")
    assert bench.woken == []


async def test_a_shift_that_raises_gives_its_slot_back_and_goes_no_further(bench: Bench, redis: Redis) -> None:
    async def work(_owner: str, _stop: Stop) -> ShiftReport:
        raise RecursionError

    await bench.runner(work).run(KIND, "slot-1")
    assert await redis.zcard(RUNNING) == 0
    assert bench.woken == []
    assert bench.ended == ["failed"]


async def test_a_budget_that_is_used_up_asks_the_shift_to_stop(bench: Bench) -> None:
    async def work(_owner: str, stop: Stop) -> ShiftReport:
        asked.append(stop.asked)
        bench.clock.now_s += BUDGET_S
        asked.append(stop.asked)
        return ShiftReport(0)

    asked: list[bool] = []
    await bench.runner(work).run(KIND, "slot-1")
    assert asked == [False, True]
    assert bench.ended == ["budget"]
    assert bench.woken == [KIND]


async def test_a_shift_that_does_not_end_is_cut_off_when_it_has_drained_long_enough(bench: Bench, redis: Redis) -> None:
    begun, cut = asyncio.Event(), asyncio.Event()

    async def work(_owner: str, _stop: Stop) -> ShiftReport:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()
        return ShiftReport(0)

    runner = bench.runner(work, drain_s=0.05)
    running = asyncio.create_task(runner.run(KIND, "slot-1"))
    await begun.wait()
    runner.ask_to_stop()
    await running
    assert cut.is_set()
    assert bench.ended == ["cut_off"]
    assert await redis.zcard(RUNNING) == 0
    assert bench.woken == [KIND]


async def test_cutting_off_does_not_wait_for_the_drain(bench: Bench) -> None:
    begun = asyncio.Event()

    async def work(_owner: str, _stop: Stop) -> ShiftReport:
        begun.set()
        await asyncio.Event().wait()
        return ShiftReport(0)

    runner = bench.runner(work, drain_s=3600)
    running = asyncio.create_task(runner.run(KIND, "slot-1"))
    await begun.wait()
    runner.cut_off()
    await running


async def test_a_job_that_comes_after_the_request_to_stop_is_left_to_another_worker(bench: Bench, redis: Redis) -> None:
    worked = []

    async def work(owner: str, _stop: Stop) -> ShiftReport:
        worked.append(owner)
        return ShiftReport(0)

    await redis.zadd(f"{keys.slots(KIND)}:queued", {"slot-1": 1e15})
    runner = bench.runner(work)
    runner.ask_to_stop()
    await runner.run(KIND, "slot-1")
    assert worked == []
    assert bench.woken == [KIND]
    assert await redis.zcard(f"{keys.slots(KIND)}:queued") == 0


async def test_a_slot_that_could_not_be_given_back_is_given_back_before_the_next_shift(
    bench: Bench, redis: Redis
) -> None:
    seen = []

    async def work(owner: str, _stop: Stop) -> ShiftReport:
        seen.append(owner)
        if owner == "slot-1":
            await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await redis.config_set("maxclients", "1")
        return ShiftReport(0)

    runner = bench.runner(work)
    try:
        await runner.run(KIND, "slot-1")
        assert await redis.zcard(RUNNING) == 1
    finally:
        await redis.config_set("maxclients", "10000")
    await runner.run(KIND, "slot-2")
    assert seen == ["slot-1", "slot-2"]
    assert await redis.zcard(RUNNING) == 0


async def test_a_running_shift_keeps_its_slot(bench: Bench, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.shift.KEEP_S", 0.01)

    async def work(owner: str, _stop: Stop) -> ShiftReport:
        first_ms = await redis.zscore(RUNNING, owner)
        await redis.zadd(RUNNING, {owner: 1})
        async with asyncio.timeout(10):
            while await redis.zscore(RUNNING, owner) == 1:  # noqa: ASYNC110  Redis sets no event of ours
                await asyncio.sleep(0)
        assert (await redis.zscore(RUNNING, owner) or 0) >= (first_ms or 0)
        return ShiftReport(1)

    await bench.runner(work).run(KIND, "slot-1")
    assert bench.woken == [KIND]
