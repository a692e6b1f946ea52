"""How are the Lua scripts loaded and called?"""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ReadOnlyError

Argument = str | bytes | int | float
Call = tuple[str, Sequence[str], Sequence[Argument]]


class Scripts:
    """The scripts of ``store/lua``, called by name.

    A server that has forgotten them (a restart, a failover) answers NOSCRIPT before it runs anything; they are loaded
    then, and the call repeated. Nothing else is repeated here.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._sources = _sources()
        self._sha = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self._sources.items()
        }

    async def run(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run one script; the reply is as Redis gives it (bytes, ints, lists)."""
        (reply,) = await self.run_all([(name, keys, args)])
        return reply

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run several scripts in one round trip, in order; each is atomic, the whole is not.

        Raises:
            redis.exceptions.RedisError: the first failure, once every reply was read.
        """
        replies = await self._send(calls)
        missing = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            await self.load()
            again = await self._send([calls[index] for index in missing])
            for index, reply in zip(missing, again, strict=True):
                replies[index] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                if isinstance(reply, ReadOnlyError):
                    # The server was demoted: the next call must look for the primary again.
                    await self._redis.connection_pool.disconnect()
                raise reply
        return replies

    async def load(self) -> None:
        """Load every script into the server."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for text in self._sources.values():
                pipe.script_load(text)
            await pipe.execute()

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        if len(calls) == 1:
            name, keys, args = calls[0]
            try:
                return [await self._redis.execute_command("EVALSHA", self._sha[name], len(keys), *keys, *args)]
            except (NoScriptError, ReadOnlyError) as error:
                return [error]
        async with self._redis.pipeline(transaction=False) as pipe:
            for name, keys, args in calls:
                pipe.execute_command("EVALSHA", self._sha[name], len(keys), *keys, *args)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies


def _sources() -> dict[str, str]:
    folder = resources.files("relay.store") / "lua"
    return {
        entry.name.removesuffix(".lua"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".lua")
    }
