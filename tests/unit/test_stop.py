from __future__ import annotations

import asyncio

from relay.pipeline.stop import Stop


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_shift_goes_on_until_it_is_asked_to_stop() -> None:
    stop = Stop(Clock(), budget_s=60)
    assert not stop.asked
    stop.ask()
    stop.ask()
    assert stop.asked


async def test_a_used_up_budget_is_a_request_to_stop() -> None:
    clock = Clock()
    stop = Stop(clock, budget_s=60)
    clock.now_s += 60
    assert stop.asked
    assert await stop.wait(3600) is True


async def test_waiting_ends_at_once_when_the_stop_is_asked_for() -> None:
    stop = Stop(Clock(), budget_s=3600)
    waiter = asyncio.create_task(stop.wait(3600))
    await asyncio.sleep(0)
    stop.ask()
    assert await waiter is True


async def test_waiting_without_a_stop_lasts_as_long_as_was_said() -> None:
    stop = Stop(Clock(), budget_s=3600)
    assert await stop.wait(0.01) is False
