"""How do RQ, which blocks, and the rest, which is async, live in one process? The event loop has a thread of its own.

RQ's worker stays in the main thread, where signals arrive. The loop lives as long as the process, so that HTTP sessions
and the heartbeat go on between jobs. uvloop leaves signals alone in a thread that is not the main one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from relay import logs

new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with contextlib.suppress(ImportError):  # there is none for Windows and PyPy
    import uvloop

    new_loop = uvloop.new_event_loop

_T = TypeVar("_T")


async def comes(event: asyncio.Event, *, within_s: float) -> bool:
    """Wait for an event; whether it came in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()


TICK_S: Final = 5.0


class LoopThread:
    """An event loop in a thread, from ``with`` to the end of it."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = new_loop()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def wait_for(self, work: Coroutine[Any, Any, _T], *, tick: Callable[[], None] = lambda: None) -> _T:
        """Run a coroutine on the loop and wait for it.

        Args:
            work: what to run.
            tick: called by the waiting thread every ``TICK_S``.
        """
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        while True:
            try:
                return future.result(timeout=TICK_S)
            except TimeoutError:
                if future.done():
                    raise  # it is the coroutine's own
                tick()

    def tell(self, callback: Callable[[], object]) -> None:
        """Have the loop call something soon; may be called from a signal handler."""
        self.loop.call_soon_threadsafe(callback)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            if not self._ending:  # SystemExit, or worse: the main thread would wait for ever
                logs.event("loop ended", level="error", exc=sys.exc_info()[1])
                logs.flush()
                os._exit(1)
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=TICK_S))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
