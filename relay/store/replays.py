"""What is kept of a replay, and where?"""

from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from relay.store import keys
from relay.store.documents import Documents
from relay.store.scripts import Scripts


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One request to send again what a subscription was, or should have been, told.

    Attributes:
        deliveries: how many positions were selected.
        status: running until all are queued.
        created_at: RFC 3339, UTC.
    """

    id: str
    subscription_id: str
    deliveries: int
    status: Literal["running", "done", "stopped"] = "running"
    created_at: str
    ended_at: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is: positions yet to queue, positions queued."""

    todo: int
    queued: int


class ReplayStore(Documents[Replay]):
    """Every replay, and the positions each has yet to queue."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        super().__init__(redis, scripts, kind="replay", model=Replay)
        self._client: Any = redis  # redis-py's annotations cannot say that replies are bytes

    async def plan(self, replay_id: str, positions: list[int], *, keep_s: int) -> None:
        """Keep what is to be queued, in order; before the document that tells of it."""
        todo, _ = keys.replay(replay_id)
        for start in range(0, len(positions), 1000):
            await self._client.rpush(todo, *positions[start : start + 1000])
        await self._client.expire(todo, keep_s)

    async def todo(self, replay_id: str, *, limit: int) -> list[int]:
        """The next positions to queue."""
        return [int(position) for position in await self._client.lrange(keys.replay(replay_id)[0], 0, limit - 1)]

    async def queued(self, replay_id: str, *, start: int, limit: int) -> list[int]:
        """Positions that were queued, in order."""
        found = await self._client.lrange(keys.replay(replay_id)[1], start, start + limit - 1)
        return [int(position) for position in found]

    async def keep_queued(self, replay_id: str, *, keep_s: int) -> None:
        """Let the list of what was queued end by itself."""
        await self._client.expire(keys.replay(replay_id)[1], keep_s)

    async def progress(self, replay_id: str) -> Progress:
        """How far it is."""
        todo, queued = keys.replay(replay_id)
        return Progress(await self._client.llen(todo), await self._client.llen(queued))

    async def forget_todo(self, replay_id: str) -> None:
        """Queue no more of it."""
        await self._client.delete(keys.replay(replay_id)[0])
