from __future__ import annotations

import signal

from relay.store import keys
from tests.e2e.rigs import KIND, Rig, ended, until
from workers.scheduler import QUIET_S


async def test_what_a_killed_worker_had_in_hand_is_done_by_the_next_when_its_lease_ends(rig: Rig) -> None:
    await rig.scheduler()
    killed = await rig.worker()
    await rig.make_due("a:hang")
    await rig.wake()
    await rig.until_journal("begin a")
    killed.kill()
    await ended(killed)
    rig.start("worker", KIND, "25")
    await rig.until_journal("begin a", "begin a", timeout_s=QUIET_S + 10)


async def test_a_killed_worker_that_held_the_only_slot_holds_nobody_up(rig: Rig) -> None:
    killed = await rig.worker()
    await rig.make_due("a:hang")
    await rig.wake()
    await rig.until_journal("begin a")
    killed.kill()
    await ended(killed)
    await rig.redis.zrem("relay:lanes:due", "a:hang")
    await rig.worker()
    assert await rig.redis.zcard(f"{keys.slots(KIND)}:running") == 1
    await rig.make_due("b:", in_ms=-1_000)
    await rig.wake()
    await rig.until_journal("begin a", "begin b", "end b", timeout_s=8)


async def test_a_frozen_worker_does_not_hold_up_the_others(rig: Rig) -> None:
    await rig.scheduler()
    frozen = await rig.worker()
    await rig.make_due("a:until-stopped")
    await rig.wake()
    await rig.until_journal("begin a")
    frozen.send_signal(signal.SIGSTOP)
    await rig.redis.zrem("relay:lanes:due", "a:until-stopped")
    await rig.worker()
    await rig.make_due("b:")
    await rig.until_journal("begin a", "begin b", "end b", timeout_s=QUIET_S + 10)
    frozen.send_signal(signal.SIGCONT)
    frozen.terminate()
    assert await ended(frozen) == 0


async def test_jobs_of_killed_workers_do_not_stay_in_redis_for_ever(rig: Rig) -> None:
    killed = await rig.worker()
    await rig.make_due("a:hang")
    await rig.wake()
    await rig.until_journal("begin a")
    killed.kill()
    await ended(killed)

    async def every_job_ends() -> bool:
        jobs = await rig.redis.keys("rq:job:*")
        return bool(jobs) and all([await rig.redis.ttl(key) > 0 for key in jobs])

    await until(every_job_ends)


async def test_a_process_whose_loop_is_gone_ends_so_that_it_is_started_again(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.make_due("a:exit")
    await rig.wake()
    assert await ended(worker) != 0
