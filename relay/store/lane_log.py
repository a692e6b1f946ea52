"""What was a subscription told, in the order of the log?  For those that pull."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from relay.store import keys
from relay.store.numbers import number
from relay.store.positions import LARGEST, first_at, from_stream_id, stream_id

CLOCK_MAY_GO_BACK_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Told:
    """One entry: ``made`` is its place in this list, ``position`` its event's in the log."""

    made: int
    position: int
    brand: str | None


class LaneLog:
    """Reads the lists that commit, replay and the past of a new subscription append to."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes

    async def after(self, subscription_id: str, made: int, *, limit: int) -> tuple[int, list[Told]]:
        """The next entries after a place, and a place that no later entry will be before.

        That one is the last stamp that was given out, or an hour ago, where nothing happened for that long: Redis'
        clock may go back a little, at a failover.
        """
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.time()
            pipe.get(keys.CLOCK)
            pipe.xrange(_key(subscription_id), stream_id(made + 1), stream_id(LARGEST), count=limit)
            (seconds, _), last, entries = await pipe.execute()
        told = []
        for entry_id, fields in entries:
            at = from_stream_id(entry_id)
            told.append(Told(at, int(fields.get(b"p") or at), fields.get(b"b", b"").decode() or None))
        return max(number(last), first_at((seconds - CLOCK_MAY_GO_BACK_S) * 1000)), told

    async def grown(self, places: Mapping[str, int]) -> set[str]:
        """Those subscriptions that have entries after their place; one command for all."""
        if not places:
            return set()
        streams = {_key(subscription_id): stream_id(made) for subscription_id, made in places.items()}
        found = await self._redis.xread(streams, count=1)
        names = {key.decode() for key, _ in found}
        return {subscription_id for subscription_id in places if _key(subscription_id) in names}


def _key(subscription_id: str) -> str:
    return keys.lane(subscription_id) + ":log"
