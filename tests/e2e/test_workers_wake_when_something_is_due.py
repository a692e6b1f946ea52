from __future__ import annotations

from tests.e2e.rigs import SOON_S, Rig, until


async def test_a_wake_has_a_waiting_worker_do_what_is_due(rig: Rig) -> None:
    await rig.worker()
    await rig.make_due("a:")
    await rig.wake()
    await rig.until_journal("begin a", "end a")


async def test_a_shift_does_all_that_is_due_and_its_job_leaves_nothing_in_redis(rig: Rig) -> None:
    await rig.worker()
    await rig.make_due("a:", "b:", "c:")
    await rig.wake()
    await rig.until_journal("begin a", "end a", "begin b", "end b", "begin c", "end c")

    async def only_the_worker() -> bool:
        left = {key.decode() for key in await rig.redis.keys("rq:*")}
        return {key for key in left if not key.startswith("rq:worker")} <= {"rq:queues"}

    await until(only_the_worker)
    assert await rig.redis.keys("relay:slots:*") == []


async def test_the_scheduler_wakes_workers_when_something_becomes_due(rig: Rig) -> None:
    await rig.worker()
    await rig.make_due("a:", in_ms=300)
    await rig.scheduler()
    await rig.until_journal("begin a", "end a")


async def test_a_shift_that_ends_tells_the_scheduler_of_what_becomes_due_before_it_looks(rig: Rig) -> None:
    await rig.scheduler()
    await rig.worker()
    await rig.make_due("a:")
    await rig.make_due("b:", in_ms=1_500)
    await rig.wake()
    await rig.until_journal("begin a", "end a", "begin b", "end b", timeout_s=9)


async def test_what_became_due_while_no_worker_was_there_is_done_by_the_first_that_comes(rig: Rig) -> None:
    await rig.make_due("a:")
    await rig.wake()
    rig.start("worker", "deliver", "25")
    await rig.until_journal("begin a", "end a")


async def test_without_a_scheduler_and_without_a_wake_an_idle_worker_looks_for_itself(rig: Rig) -> None:
    await rig.worker(pop_s=SOON_S)
    await rig.make_due("a:")
    await rig.until_journal("begin a", "end a")


async def test_a_shift_that_fails_is_logged_without_its_message_and_the_next_one_runs(rig: Rig) -> None:
    await rig.worker()
    await rig.make_due("secret-thing:fail")
    await rig.wake()
    await rig.until_journal("begin secret-thing")
    await until(lambda: _logged(rig, "shift failed"))
    (line,) = rig.logged("shift failed")
    assert line["error_class"] == "ValueError"
    assert "secret-thing" not in str(line)
    await rig.make_due("a:")
    await rig.wake()
    await rig.until_journal("begin secret-thing", "begin a", "end a")


async def _logged(rig: Rig, event: str) -> bool:
    return bool(rig.logged(event))
