"""Which worker processes live, and do their clocks go right?

A worker says so every ``BEAT_S``; what it said lapses ``TTL_S`` later, by Redis' clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from relay.store import keys
from relay.store.numbers import number

BEAT_S: Final = 10.0
TTL_S: Final = 30
CLOCK_EVERY: Final = 6
"""Of so many beats one compares the clocks: they drift slowly, and each question is a command."""


@dataclass(frozen=True, slots=True)
class Present:
    """The living workers of one kind.

    Attributes:
        skew_ms: by how much the clock of one of them is off Redis' at most.
    """

    count: int
    skew_ms: int


class Presence:
    """The living workers of each kind, in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._clocks: dict[str, tuple[int, int]] = {}

    async def beat(self, kind: str, name: str, *, wall_ms: int | None = None, about: str = "") -> int:
        """Say that a worker lives.

        Args:
            kind: what it runs shifts of.
            name: its own, of no other process ever.
            wall_ms: its clock; None where that does not matter.
            about: where it is, for people: host and process id.

        Returns:
            By how many ms its clock is ahead of Redis', as of the last time that was looked at; behind: less than 0.
        """
        ahead_ms = 0
        if wall_ms is not None:
            beats, ahead_ms = self._clocks.get(name, (0, 0))
            if beats % CLOCK_EVERY == 0:
                seconds, micros = await self._redis.time()
                ahead_ms = wall_ms - (seconds * 1000 + micros // 1000)
            self._clocks[name] = (beats + 1, ahead_ms)
        before = await self._redis.set(_key(kind, name), f"{ahead_ms} {about}", ex=TTL_S, get=True)
        if before is None:  # the first time, or it was away for long: it may have been taken off the list
            await self._redis.sadd(keys.workers(kind), name)
        return ahead_ms

    async def leave(self, kind: str, name: str) -> None:
        """Say that a worker takes no more shifts."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(_key(kind, name))
            pipe.srem(keys.workers(kind), name)
            await pipe.execute()

    async def look(self, kind: str) -> Present:
        """Look who is there."""
        names = await self._redis.smembers(keys.workers(kind))
        if not names:
            return Present(0, 0)
        found = await self._redis.mget([_key(kind, name.decode()) for name in names])
        said = [value.partition(b" ")[0] for value in found if value is not None]
        return Present(len(said), max((abs(number(ahead_ms)) for ahead_ms in said), default=0))


def _key(kind: str, name: str) -> str:
    return f"{keys.workers(kind)}:{name}"
