"""Which worker processes live?

A worker says so every ``BEAT_S`` with one plain command; what it said lapses ``TTL_S`` later, by Redis' clock.
"""

from __future__ import annotations

from typing import Final

from redis.asyncio import Redis

from relay.store import keys

BEAT_S: Final = 10.0
TTL_S: Final = 30


class Presence:
    """The living workers of each kind, in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def beat(self, kind: str, name: str, *, about: str = "") -> None:
        """Say that a worker lives.

        Args:
            kind: what it runs shifts of.
            name: its own, of no other process ever.
            about: where it is, for people: host and process id.
        """
        before = await self._redis.set(_key(kind, name), about, ex=TTL_S, get=True)
        if before is None:  # the first time, or it was away for long: it may have been taken off the list
            await self._redis.sadd(keys.workers(kind), name)

    async def leave(self, kind: str, name: str) -> None:
        """Say that a worker takes no more shifts."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(_key(kind, name))
            pipe.srem(keys.workers(kind), name)
            await pipe.execute()

    async def count(self, kind: str) -> int:
        """Count the kind's living workers."""
        names = await self._redis.smembers(keys.workers(kind))
        if not names:
            return 0
        return int(await self._redis.exists(*(_key(kind, _text(name)) for name in names)))


def _key(kind: str, name: str) -> str:
    return f"{keys.workers(kind)}:{name}"


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
