from __future__ import annotations

from relay.store import keys
from tests.e2e.rigs import Rig, ended, until


async def test_of_two_schedulers_one_works_and_the_other_takes_over_when_it_stops(rig: Rig) -> None:
    first = await rig.scheduler()
    owner = await rig.redis.get(keys.SCHEDULER_LEASE)
    rig.start("scheduler")
    await rig.make_due("a:", in_ms=2_000)
    first.terminate()
    assert await ended(first) == 0

    async def taken_over() -> bool:
        return await rig.redis.get(keys.SCHEDULER_LEASE) not in (None, owner)

    await until(taken_over)
    await rig.worker()
    await rig.until_journal("begin a", "end a")


async def test_the_lease_of_a_killed_scheduler_passes_on_when_it_ends(rig: Rig) -> None:
    killed = await rig.scheduler()
    owner = await rig.redis.get(keys.SCHEDULER_LEASE)
    killed.kill()
    await ended(killed)
    await rig.redis.pexpire(keys.SCHEDULER_LEASE, 500)  # what twenty seconds do
    rig.start("scheduler")

    async def taken_over() -> bool:
        return await rig.redis.get(keys.SCHEDULER_LEASE) not in (None, owner)

    await until(taken_over)


async def test_a_scheduler_whose_workers_cannot_keep_up_does_not_spin(rig: Rig) -> None:
    await rig.make_due("a:", "b:", in_ms=-60_000)
    await rig.redis.config_resetstat()
    await rig.scheduler()
    await rig.make_due("c:", in_ms=1_000)

    async def looked_again() -> bool:
        return int((await rig.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]) >= 4

    await until(looked_again)
    assert (await rig.redis.info("commandstats"))["cmdstat_evalsha"]["calls"] <= 8
