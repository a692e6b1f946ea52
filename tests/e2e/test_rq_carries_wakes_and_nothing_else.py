from __future__ import annotations

from relay.store.slots import QUEUED_MS
from tests.e2e.rigs import SOON_S, Rig


async def forget_rq(rig: Rig) -> None:
    for key in await rig.redis.keys("rq:*"):
        await rig.redis.delete(key)


async def test_all_keys_of_rq_deleted_while_a_shift_runs_lose_nothing(rig: Rig) -> None:
    await rig.worker()
    await rig.make_due("a:until-told")
    await rig.wake()
    await rig.until_journal("begin a")
    await forget_rq(rig)
    await rig.redis.rpush("told", "1")
    await rig.until_journal("begin a", "end a")
    await rig.make_due("b:")
    await rig.wake()
    await rig.until_journal("begin a", "end a", "begin b", "end b")


async def test_all_keys_of_rq_deleted_while_a_job_is_queued_are_made_up_for_by_the_sweep(rig: Rig) -> None:
    await rig.redis.set("relay:workers:deliver:somewhere", "1")
    await rig.redis.sadd("relay:workers:deliver", "somewhere")
    await rig.make_due("a:")
    await rig.wake()
    await forget_rq(rig)
    await rig.worker()
    await rig.scheduler()
    await rig.until_journal("begin a", "end a", timeout_s=QUEUED_MS / 1000 + 5)


async def test_all_keys_of_rq_deleted_while_workers_are_idle_change_nothing(rig: Rig) -> None:
    await rig.worker(pop_s=SOON_S)
    await forget_rq(rig)
    await rig.make_due("a:")
    await rig.wake()
    await rig.until_journal("begin a", "end a")
