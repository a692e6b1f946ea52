"""How does a run of minutes take a second?  A loop whose clock jumps to the next timer when nothing is under way."""

from __future__ import annotations

import asyncio
import selectors
from typing import Self

EPOCH_S = 1_770_000_000.0
"""Unix time at which every run begins."""


class _Selector(selectors.DefaultSelector):
    """Waits for real answers while any are awaited; else lets the loop's time jump."""

    awaited = 0
    jumped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.awaited:
            return super().select(5.0)
        if timeout is None:
            raise RuntimeError("nothing will ever happen again: the simulation is stuck")
        self.jumped_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self) -> None:
        self.virtual = _Selector()
        super().__init__(self.virtual)

    def time(self) -> float:
        """Seconds since the run began."""
        return self.virtual.jumped_s

    def wall_s(self) -> float:
        """Unix time, virtual."""
        return EPOCH_S + self.virtual.jumped_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
