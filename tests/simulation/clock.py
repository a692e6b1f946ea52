"""How does a run of minutes take a second?  A loop whose clock jumps to the next timer when nothing is left to do now.

Nothing here waits for anything real: Redis is asked and answers between two steps. So what happens next never depends
on how fast this machine is; and sets of tasks and futures, which Python orders by their addresses, are ordered by the
number of their birth.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Generator
from itertools import count
from typing import Any, Self

EPOCH_S = 1_770_100_000.0
"""Unix time at which every run begins."""


class _Numbered:
    """Hashes by the number of its birth in this loop."""

    number: int

    def __hash__(self) -> int:
        return self.number


class _Task(_Numbered, asyncio.Task[Any]):
    def __init__(self, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **options: Any) -> None:
        self.number = options["loop"].next_number()
        options["name"] = options.get("name") or f"task {self.number}"
        super().__init__(coroutine, **options)


class _Future(_Numbered, asyncio.Future[Any]):
    def __init__(self, *, loop: VirtualLoop) -> None:
        self.number = loop.next_number()
        super().__init__(loop=loop)


class _Selector(selectors.DefaultSelector):
    """Lets the loop's time jump."""

    jumped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again: the simulation is stuck")
        self.jumped_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        self._numbers = count(1)
        super().__init__(self._virtual)
        self.set_task_factory(lambda loop, coroutine, **options: _Task(coroutine, loop=loop, **options))

    def next_number(self) -> int:
        """A number that nothing in this loop has yet."""
        return next(self._numbers)

    def create_future(self) -> asyncio.Future[Any]:
        """A future that sets keep in the order of birth."""
        return _Future(loop=self)

    def time(self) -> float:
        """Seconds since the run began."""
        return self._virtual.jumped_s

    def wall_s(self) -> float:
        """Unix time, virtual."""
        return EPOCH_S + self._virtual.jumped_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
