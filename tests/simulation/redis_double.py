"""How do faults reach Redis?  A client that loses commands, loses answers, freezes and dies, on a real server.

Commands go to the server one at a time, so that a seed always sees the same order. Scripts ask for the virtual time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from relay.store.scripts import Call, Scripts

if TYPE_CHECKING:
    from tests.simulation.process import Process

_CLOCK = """
local function virtual_time()
  local micros = tonumber(string.sub(KEYS[#KEYS], 9))
  return { string.format('%.0f', math.floor(micros / 1000000)), string.format('%.0f', micros % 1000000) }
end
"""


def virtual_sources(sources: dict[str, str]) -> dict[str, str]:
    """Make scripts ask for the time that their last key holds."""
    changed = {}
    for name, text in sources.items():
        first, rest = text.split("\n", 1)
        changed[name] = first + _CLOCK + re.sub(r"(redis\.)?call\('TIME'\)", "virtual_time()", rest)
    return changed


class VirtualScripts(Scripts):
    """The scripts, in virtual time."""

    def __init__(self, redis: SimulatedRedis, now_us: Callable[[], int]) -> None:
        super().__init__(redis)
        self._sources = virtual_sources(self._sources)
        self._sha = {
            name: sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self._sources.items()
        }
        self._now_us = now_us

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run several scripts, all at this moment."""
        clock = f"virtual:{self._now_us()}"
        return await super().run_all([(name, [*keys, clock], args) for name, keys, args in calls])


class SimulatedRedis(Redis):
    """A process' client."""

    process: Process

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command, if the faults let it."""
        if args[0] == "TIME":
            return self.process.redis_time()
        send: Any = super().execute_command
        return await self.process.ask(str(args[0]), lambda: send(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> SimulatedPipeline:  # noqa: FBT001, FBT002  (redis-py's signature)
        """Several commands; see ``SimulatedPipeline``."""
        made = SimulatedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.process = self.process
        return made

    async def time(self, **_: Any) -> tuple[int, int]:
        """Redis' clock, virtual."""
        return self.process.redis_time()


class SimulatedPipeline(Pipeline):
    """Several commands that are lost together."""

    process: Process

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002  (redis-py's signature)
        """Send them, if the faults let them."""
        clocks = [index for index, command in enumerate(self.command_stack) if command[0][0] == "TIME"]
        name = str(self.command_stack[0][0][0]) if self.command_stack else "nothing"
        replies = await self.process.ask(name, lambda: super(SimulatedPipeline, self).execute(raise_on_error))
        for index in clocks:
            replies[index] = self.process.redis_time()
        return list(replies)


class Pops:
    """Blocking pops in virtual time, by looking now and then."""

    def __init__(self, redis: SimulatedRedis) -> None:
        self._redis: Any = redis

    async def blpop(self, keys: Sequence[str], timeout: float) -> tuple[bytes, bytes] | None:  # noqa: ASYNC109  (redis-py's signature)
        """The first element of the first list that has one."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while True:
            for key in keys:
                popped = await self._redis.lpop(key)
                if popped is not None:
                    return key.encode(), popped
            if loop.time() >= until:
                return None
            await asyncio.sleep(0.25)


async def ask_real(lock: asyncio.Lock, awaited: Callable[[int], None], call: Callable[[], Awaitable[Any]]) -> Any:
    """One question to the real server, while virtual time stands still."""
    async with lock:
        awaited(1)
        try:
            return await call()
        finally:
            awaited(-1)


LOST_BEFORE = RedisConnectionError("the simulation lost the command")
LOST_AFTER = RedisTimeoutError("the simulation lost the answer")
