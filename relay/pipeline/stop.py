"""When does a shift end, and what does it say of itself then?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShiftReport:
    """What a shift leaves behind.

    Attributes:
        items: looks taken, attempts settled, tasks run: 0 says that what is due could not be worked on, so that nobody
            is woken for it at once.
        next_due_ms: when the next work of the kind is due (Redis' clock), None when nothing is or nobody looked.
    """

    items: int
    next_due_ms: int | None = None


class Stop:
    """One answer to both "the process shall end" and "this shift has lasted long enough".

    A shift that is asked to stop claims nothing more, ends what is in flight, gives its leases back and returns.
    Belongs to one event loop; other threads ask by ``loop.call_soon_threadsafe(stop.ask)``.
    """

    def __init__(self, clock: Callable[[], float], budget_s: float) -> None:
        """Start the budget.

        Args:
            clock: monotonic seconds.
            budget_s: how long the shift may claim work, from now.
        """
        self._clock = clock
        self._ends_s = clock() + budget_s
        self._event = asyncio.Event()

    @property
    def asked(self) -> bool:
        """True once ``ask`` was called or the budget is used up."""
        return self._event.is_set() or self._clock() >= self._ends_s

    @property
    def told(self) -> bool:
        """True once ``ask`` was called: somebody waits. Where only the budget is used up, nobody does."""
        return self._event.is_set()

    def ask(self) -> None:
        """Ask the shift to stop; asking again changes nothing."""
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Sleep ``timeout_s``, or less if the stop is asked for meanwhile; returns ``asked``."""
        left_s = min(timeout_s, self._ends_s - self._clock())
        if left_s > 0 and not self._event.is_set():
            try:
                async with asyncio.timeout(left_s):
                    await self._event.wait()
            except TimeoutError:
                pass
        else:
            await asyncio.sleep(0)
        return self.asked


def end_if_cancelled(error: Exception) -> None:
    """End a task that was cancelled, where a client made an error of its connection of that.

    For loops that go on after such errors: whoever cancelled waits for the end.

    Raises:
        asyncio.CancelledError: the task was cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error
