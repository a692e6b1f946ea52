from __future__ import annotations

import signal
import subprocess

import pytest

from relay.store import keys
from tests.e2e.rigs import KIND, Rig, ended
from workers.post import TWICE_S


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_an_idle_worker_ends_at_once(rig: Rig, number: signal.Signals) -> None:
    worker = await rig.worker()
    worker.send_signal(number)
    assert await ended(worker) == 0
    assert await rig.redis.keys(f"{keys.workers(KIND)}*") == []
    assert await rig.redis.smembers("rq:workers") == set()


async def test_a_shift_that_is_asked_to_stop_ends_what_is_in_flight_and_claims_nothing_more(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.make_due("a:until-stopped", "b:")
    await rig.wake()
    await rig.until_journal("begin a")
    worker.terminate()
    assert await ended(worker) == 0
    await rig.until_journal("begin a", "end a")
    assert await rig.redis.keys(f"{keys.slots(KIND)}*") == []


async def test_what_is_left_when_a_worker_stops_is_done_by_another_without_a_scheduler(rig: Rig) -> None:
    stopped = await rig.worker()
    await rig.make_due("a:give-back")
    await rig.wake()
    await rig.until_journal("begin a")
    await rig.worker()
    stopped.terminate()
    assert await ended(stopped) == 0
    await rig.until_journal("begin a", "end a", "begin a", "end a")


async def test_two_requests_in_a_row_are_one(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.make_due("a:until-stopped")
    await rig.wake()
    await rig.until_journal("begin a")
    worker.terminate()
    worker.terminate()
    assert await ended(worker) == 0
    await rig.until_journal("begin a", "end a")


async def test_a_second_request_cuts_off_what_does_not_end_and_the_next_worker_does_it_again(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.make_due("a:hang")
    await rig.wake()
    await rig.until_journal("begin a")

    worker.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        await ended(worker, timeout_s=TWICE_S + 0.1)
    worker.terminate()
    assert await ended(worker) == 0
    assert rig.logged("shift")[-1]["ended"] == "cut_off"
    assert await rig.redis.keys(f"{keys.slots(KIND)}*") == []
    rig.start("worker", KIND, "1")
    await rig.until_journal("begin a", "begin a")


async def test_a_worker_that_waits_for_redis_can_be_stopped(rig: Rig) -> None:
    worker = rig.start("worker", KIND, "25")
    await rig.redis.shutdown(nosave=True)
    worker.terminate()
    assert await ended(worker) in (0, -signal.SIGTERM)  # it may not have begun yet
