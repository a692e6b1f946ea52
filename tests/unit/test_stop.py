from __future__ import annotations

import asyncio

import pytest

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


async def test_what_is_awaited_is_given_back_when_it_comes_first() -> None:
    stop = Stop(Clock(), budget_s=3600)
    assert await stop.race(asyncio.sleep(0, "popped")) == "popped"


async def test_what_is_awaited_is_cancelled_when_the_stop_comes_first() -> None:
    stop = Stop(Clock(), budget_s=3600)
    cancelled = asyncio.Event()

    async def forever() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "never"

    racing = asyncio.create_task(stop.race(forever()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stop.ask()
    assert await racing is None
    assert cancelled.is_set()


async def test_what_is_awaited_may_fail() -> None:
    async def broken() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  the very exception that was raised
        await Stop(Clock(), budget_s=3600).race(broken())


async def test_cancelling_a_race_cancels_what_it_awaits() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    racing = asyncio.create_task(Stop(Clock(), budget_s=3600).race(forever()))
    await started.wait()
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert cancelled.is_set()
