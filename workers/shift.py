"""How does a shift run: with a slot, a budget, and an end that loses nothing?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from relay import logs
from relay.pipeline.stop import ShiftReport, Stop
from relay.store.slots import KEEP_S, Slots
from workers.post import CUT_S

ShiftFunction = Callable[[str, Stop], Awaitable[ShiftReport]]
"""What a shift of a kind does: given its name as an owner of leases, and when to stop."""

BUDGET_S: Final = 900.0
"""How long a shift claims work. Long, since while it ends it waits for its slowest attempt and claims nothing new."""


class ShiftRunner:
    """Runs the shifts of one worker process, one at a time, on its event loop."""

    def __init__(
        self,
        slots: Slots,
        table: Mapping[str, ShiftFunction],
        *,
        wake: Callable[[str], Awaitable[None]],
        count: Callable[[str, str], Awaitable[None]],
        clock: Callable[[], float],
        drain_s: float,
    ) -> None:
        """Prepare.

        Args:
            slots: where shifts are counted.
            table: kind -> what its shifts do.
            wake: wakes somebody for more work of a kind.
            count: counts a shift: its kind, and how it ended.
            clock: monotonic seconds.
            drain_s: how long a shift that was asked to stop may go on with what is in flight; then it is cut off.
        """
        self._slots = slots
        self._table = table
        self._wake = wake
        self._count = count
        self._clock = clock
        self._drain_s = drain_s
        self._stopping = False
        self._stop: Stop | None = None
        self._work: asyncio.Task[ShiftReport] | None = None
        self._owed: list[tuple[str, str]] = []  # slots that could not be given back, as Redis was away

    def ask_to_stop(self) -> None:
        """Have the running shift end in good order, and run no other."""
        self._stopping = True
        if self._stop is not None:
            self._stop.ask()

    def cut_off(self) -> None:
        """Have the running shift end now: what is in flight is left to whoever claims it next."""
        self.ask_to_stop()
        if self._work is not None:
            self._work.cancel()

    async def run(self, kind: str, slot: str) -> None:
        """Run one shift, if its slot lets it; never raises but for cancellation."""
        if self._stopping:  # it came as this process was about to end: leave it to another
            await self._release(kind, slot, again=True)
            return
        try:
            while self._owed:
                await self._slots.release(*self._owed[-1])
                self._owed.pop()
            begun = await self._slots.start(kind, slot)
        except Exception as error:  # noqa: BLE001  Redis is away: the slot lapses, and the sweep wakes again
            logs.event("shift not begun", level="warning", kind=kind, exc=error)
            return
        if begun:
            await self._run(kind, slot)

    async def _run(self, kind: str, slot: str) -> None:
        started_s = self._clock()
        stop = self._stop = Stop(self._clock, BUDGET_S)
        if self._stopping:
            stop.ask()
        keeper = asyncio.create_task(self._keep(kind, slot))
        work = self._work = asyncio.ensure_future(self._table[kind](slot, stop))
        try:
            await self._until_ended(work, stop)
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            self._stop = self._work = None
        report = ShiftReport(0)
        if not work.done():
            ended = "hung"
        elif work.cancelled():
            ended = "cut_off"
        elif (error := work.exception()) is not None:
            ended = "failed"
            logs.event("shift failed", level="error", kind=kind, owner=slot, exc=error)
        else:
            report = work.result()
            ended = "quiet" if not stop.asked else "stopped" if self._stopping else "budget"
        logs.event(
            "shift",
            level="debug" if ended == "quiet" and not report.items else "info",
            kind=kind,
            owner=slot,
            ended=ended,
            items=report.items,
            duration_s=round(self._clock() - started_s, 3),
        )
        await self._count(kind, ended)
        # What is due and could not be worked on is left to the next sweep: waking at once would go round in circles.
        await self._release(kind, slot, again=report.items > 0 or stop.asked)

    async def _until_ended(self, work: asyncio.Task[ShiftReport], stop: Stop) -> None:
        """Wait for the shift; once it was asked to stop, only as long as it may drain."""
        asked = asyncio.create_task(self._asked(stop))
        try:
            await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait({work}, timeout=self._drain_s)
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            if not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=CUT_S)

    async def _asked(self, stop: Stop) -> None:
        while not await stop.wait(BUDGET_S):
            pass

    async def _keep(self, kind: str, slot: str) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            try:
                await self._slots.keep(kind, slot)
            except Exception as error:  # noqa: BLE001  the next one may succeed; the shift sees for itself that Redis is away
                logs.event("slot not kept", level="debug", kind=kind, exc=error)

    async def _release(self, kind: str, slot: str, *, again: bool) -> None:
        try:
            due, _ = await self._slots.release(kind, slot)
        except Exception as error:  # noqa: BLE001  it is given back before the next shift, or lapses
            logs.event("slot not given back", level="debug", kind=kind, exc=error)
            self._owed.append((kind, slot))
            return
        if due and again:
            await self._wake(kind)
