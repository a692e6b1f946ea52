from __future__ import annotations

import signal

import pytest

from relay.store import keys
from tests.conftest import RedisServer
from tests.e2e.rigs import KIND, SOON_S, Rig, ended, until


async def test_a_redis_that_is_killed_and_comes_back_finds_the_same_processes_at_work(
    rig: Rig, own_redis: RedisServer
) -> None:
    worker, scheduler = await rig.worker(), await rig.scheduler()
    own_redis.kill()
    await until(lambda: _logged(rig, "redis away", times=2))
    own_redis.start()
    await rig.make_due("a:")
    await rig.until_journal("begin a", "end a")
    assert worker.poll() is None
    assert scheduler.poll() is None


async def test_a_redis_that_is_killed_while_a_shift_runs_costs_no_work(rig: Rig, own_redis: RedisServer) -> None:
    await rig.worker(pop_s=SOON_S)
    await rig.make_due("a:until-told")
    await rig.wake()
    await rig.until_journal("begin a")
    own_redis.kill()
    await until(lambda: _logged(rig, "shift failed"))
    own_redis.start()
    await rig.redis.rpush("told", "1")
    await rig.until_journal("begin a", "begin a", "end a")


async def test_processes_that_start_before_redis_wait_for_it(rig: Rig, own_redis: RedisServer) -> None:
    own_redis.kill()
    rig.start("worker", KIND, str(SOON_S))
    rig.start("scheduler")
    await until(lambda: _logged(rig, "redis away", times=2))
    own_redis.start()
    await rig.make_due("a:")
    await rig.until_journal("begin a", "end a")


async def test_a_redis_that_refuses_to_write_for_a_while_ends_no_process(rig: Rig) -> None:
    worker, scheduler = await rig.worker(pop_s=SOON_S), await rig.scheduler()
    await rig.redis.replicaof("127.0.0.1", "1")  # demoted: it answers READONLY
    await until(lambda: _logged(rig, "rq worker broke", "redis away"))
    await rig.redis.replicaof("NO", "ONE")
    await rig.make_due("a:")
    await rig.until_journal("begin a", "end a")
    assert worker.poll() is None
    assert scheduler.poll() is None


async def test_above_the_memory_limit_rq_cannot_work_and_shifts_run_without_it(rig: Rig) -> None:
    worker = await rig.worker(pop_s=SOON_S)
    await rig.make_due("a:full", "b:full")
    await rig.redis.zadd("relay:lanes:due", {"c:full": 0})
    await rig.redis.config_set("maxmemory", "1")

    async def drained() -> bool:
        return int(await rig.redis.zcard("relay:lanes:due")) == 0

    await until(drained)
    await rig.redis.config_set("maxmemory", "0")
    await rig.make_due("d:")
    await rig.wake()
    await rig.until_journal("begin d", "end d")
    assert worker.poll() is None


async def test_a_redis_that_hangs_and_goes_on_finds_the_same_processes_at_work(
    rig: Rig, own_redis: RedisServer
) -> None:
    worker = await rig.worker(pop_s=SOON_S)
    own_redis.send(signal.SIGSTOP)
    await until(lambda: _logged(rig, "redis away"), timeout_s=20)
    own_redis.send(signal.SIGCONT)
    await rig.make_due("a:")
    await rig.until_journal("begin a", "end a")
    assert worker.poll() is None


@pytest.mark.parametrize("role", [("worker", KIND, "25"), ("scheduler",)], ids=["worker", "scheduler"])
async def test_a_redis_that_evicts_is_refused_and_no_restart_is_asked_for(rig: Rig, role: tuple[str, ...]) -> None:
    await rig.redis.config_set("maxmemory-policy", "allkeys-lru")
    assert await ended(rig.start(*role)) == 2
    (line,) = rig.logged("redis unusable")
    assert "maxmemory-policy noeviction" in line["reason"]


async def test_a_worker_that_redis_has_forgotten_is_counted_again(rig: Rig) -> None:
    await rig.worker()
    await rig.redis.flushall()
    await until(lambda: rig.redis.exists(keys.workers(KIND)))
    await rig.make_due("a:")
    await rig.wake()
    await rig.until_journal("begin a", "end a")


async def _logged(rig: Rig, *events: str, times: int = 1) -> bool:
    return sum(len(rig.logged(event)) for event in events) >= times
