"""Who waits for events of a subscription, and when is there one?"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from relay.api.problems import ProblemError
from relay.store.away import STORE_ERRORS
from relay.store.lane_log import LaneLog

LOOK_S: Final = 0.15
"""How often those who wait are looked after: one command for all of them."""

MOST_WAITING: Final = 500


class Waiting:
    """Those who wait for events of their subscriptions, in this process."""

    def __init__(self, lane_log: LaneLog) -> None:
        self._lane_log = lane_log
        self._waiting: dict[str, list[tuple[int, asyncio.Event]]] = {}
        self._count = 0
        self._closed = False
        self._looking: asyncio.Task[None] | None = None

    async def until_more(self, subscription_id: str, made: int, *, timeout_s: float) -> None:
        """Wait until there is something after a place, the time is up, or this process ends.

        Raises:
            ProblemError: 429: too many wait already.
        """
        if self._closed:
            return
        if self._count >= MOST_WAITING:
            raise ProblemError(
                "too_many_requests", "Too many requests are waiting for events.", headers={"retry-after": "5"}
            )
        with self._listed(subscription_id, made) as woken, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await woken.wait()

    def close(self) -> None:
        """Let everybody go, and nobody wait any more."""
        self._closed = True
        self._wake(list(self._waiting))

    @contextlib.contextmanager
    def _listed(self, subscription_id: str, made: int) -> Iterator[asyncio.Event]:
        woken = asyncio.Event()
        entry = (made, woken)
        self._waiting.setdefault(subscription_id, []).append(entry)
        self._count += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield woken
        finally:
            self._count -= 1
            entries = self._waiting[subscription_id]
            entries.remove(entry)
            if not entries:
                del self._waiting[subscription_id]

    async def _look(self) -> None:
        while self._waiting and not self._closed:
            places = {name: min(made for made, _ in entries) for name, entries in self._waiting.items()}
            try:
                grown = await self._lane_log.grown(places)
            except STORE_ERRORS:
                grown = set(places)  # each asks for itself, and meets the same
            self._wake(grown)
            await asyncio.sleep(LOOK_S)

    def _wake(self, names: list[str] | set[str]) -> None:
        for name in names:
            for _, woken in self._waiting.get(name, []):
                woken.set()
