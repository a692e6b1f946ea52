"""How is something taken out of the log?  A stream's entries cannot be changed: it is copied without, and swapped."""

from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis

from relay.store import keys
from relay.store.scripts import Scripts

PART: Final = 500
MOST_IN_SWAP: Final = 200
"""Entries that the last step may copy itself: it holds Redis up."""

COPY_TTL_MS: Final = 120_000
"""A copy whose process was killed is gone by then; so is the lock."""


class Rewriting:
    """Copies the log entry by entry, one rewriting at a time. Readers and writers of the log go on meanwhile."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._scripts = scripts

    async def run(self, change: Callable[[bytes], bytes | None], *, owner: str) -> int | None:
        """Rewrite the log.

        Args:
            change: from the static part of an event to the one it is to have; None leaves it as it is.
            owner: a name that no caller has had before.

        Returns:
            how many entries were changed; None when another rewriting is under way.
        """
        locked = await self._redis.set(keys.LOG_REWRITING, owner, nx=True, px=COPY_TTL_MS)
        if not locked:
            return None
        try:
            return await self._rewrite(change, owner)
        finally:
            await self._scripts.run("drop_copy", [keys.LOG_COPY, keys.LOG_REWRITING], [owner])

    async def _rewrite(self, change: Callable[[bytes], bytes | None], owner: str) -> int | None:
        await self._redis.delete(keys.LOG_COPY)
        changed = 0
        last = b"0-0"
        while True:
            entries = await self._redis.xrange(keys.LOG, b"(" + last, "+", count=PART)
            if entries:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for entry_id, fields in entries:
                        static = change(fields[b"s"]) if b"s" in fields else None
                        if static is not None:
                            changed += 1
                            fields = {**fields, b"s": static}  # noqa: PLW2901  (the entry as it is to be)
                        pipe.xadd(keys.LOG_COPY, fields, id=entry_id)
                    pipe.pexpire(keys.LOG_COPY, COPY_TTL_MS)
                    pipe.pexpire(keys.LOG_REWRITING, COPY_TTL_MS)
                    await pipe.execute()
                last = entries[-1][0]
            if len(entries) == PART:
                continue
            if not changed:
                return 0
            swapped = await self._scripts.run(
                "swap_log", [keys.LOG, keys.LOG_COPY, keys.LOG_REWRITING], [owner, last, MOST_IN_SWAP]
            )
            if swapped:
                return changed if swapped == 1 else None
