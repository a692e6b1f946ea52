"""How do faults reach Redis?  A client that loses commands, loses answers, freezes and dies, on a real server.

A process hands its commands over, and the server's answer is there at once: between two steps of the loop, one process
at a time, in virtual time. So a seed always sees the same order of things, and the same clock.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from relay.store.scripts import Call, Scripts
from tests.simulation.bugs import Bug
from tests.simulation.journal import AUDITED, Journal

if TYPE_CHECKING:
    from tests.simulation.process import Process


def lost_before() -> RedisConnectionError:
    """The command never arrived."""
    return RedisConnectionError("the simulation lost the command")


def lost_after() -> RedisTimeoutError:
    """The command was run, its answer never arrived."""
    return RedisTimeoutError("the simulation lost the answer")


Command = tuple[tuple[Any, ...], dict[str, Any]]

_VIRTUAL = (Path(__file__).parent / "virtual.lua").read_text()
_ONE = f"#!lua\n{_VIRTUAL}\nreturn virtual_call(unpack(ARGV))\n"
_AS_IT_IS = frozenset({"EVALSHA", "SCRIPT", "CONFIG", "CLIENT"})
"""Commands that a script cannot give, or that are scripts already."""


def virtual_source(text: str) -> str:
    """Make a script ask for the time that its last key holds."""
    first, rest = text.split("\n", 1)
    return f"{first}\n{_VIRTUAL}" + re.sub(r"\bredis\.(p?call)\b", r"virtual_\1", rest)


class Server:
    """The one server of a run."""

    def __init__(self, socket: str, *, now_us: Callable[[], int], journal: Journal) -> None:
        """Connect, and begin with nothing.

        Args:
            socket: path of the real server's.
            now_us: its clock, virtual, Unix microseconds.
            journal: every command is noted there.
        """
        self.direct: Any = SyncRedis(unix_socket_path=socket, protocol=2)
        self.direct.flushall()
        self.direct.script_flush()
        self._one = self.direct.script_load(_ONE)
        self._callbacks: Any = self.direct.response_callbacks
        self._now_us = now_us
        self._journal = journal
        self._names: dict[str, str] = {}

    @property
    def clock(self) -> str:
        """The key that tells a script the time."""
        return f"virtual:{self._now_us()}"

    def know(self, name: str, sha: str) -> None:
        """Remember what a script is called."""
        self._names[sha] = name

    def run(self, commands: Sequence[Command], *, process: str) -> list[Any]:
        """Run commands one after the other; an error takes the place of its command's answer."""
        with self.direct.pipeline(transaction=False) as pipe:
            for args, _ in commands:
                words = (*str(args[0]).upper().split(), *args[1:])
                if words[0] == "EVALSHA":
                    at = 2 + int(words[2])
                    assert words[at] == CLOCK, "every script is told the time"
                    pipe.execute_command(*words[:at], self.clock, *words[at + 1 :])
                elif words[0] in _AS_IT_IS:
                    pipe.execute_command(*words)
                else:
                    pipe.execute_command("EVALSHA", self._one, 1, self.clock, *words)
            replies = pipe.execute(raise_on_error=False)
        for index, (args, options) in enumerate(commands):
            self._note(process, args, replies[index])
            known = self._callbacks.get(args[0])
            if known is not None and not isinstance(replies[index], Exception):
                replies[index] = known(replies[index], **{k: v for k, v in options.items() if k != "keys"})
        return list(replies)

    def _note(self, process: str, args: tuple[Any, ...], reply: Any) -> None:
        if args[0] != "EVALSHA":
            shown = args[:1] if args[0] == "SCRIPT LOAD" else args[:3]
            self._journal.note(f"{process} {' '.join(map(str, shown))[:80]} {_size(reply)}")
            return
        name, split = self._names[args[1]], 2 + int(args[2])
        self._journal.note(f"{process} {name} {' '.join(map(str, args[3:split]))[-160:]} {_size(reply)}")
        if name in AUDITED and not isinstance(reply, Exception):
            self._journal.audit(process, name, args[3:split], args[split + 1 :], reply)

    def keep(self) -> list[tuple[bytes, bytes]]:
        """All there is, to come back to."""
        names = sorted(self.direct.keys("*"))
        with self.direct.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.dump(name)
            return list(zip(names, pipe.execute(), strict=True))

    def restore(self, kept: list[tuple[bytes, bytes]]) -> None:
        """Go back to what was kept."""
        with self.direct.pipeline(transaction=False) as pipe:
            for name in self.direct.keys("*"):
                pipe.delete(name)
            for name, value in kept:
                pipe.restore(name, 0, value)
            pipe.execute()

    def close(self) -> None:
        """Leave the server."""
        self.direct.close()


def _size(reply: Any) -> str:
    """What a journal says of an answer: numbers as they are; else the length, as secrets are sealed anew each run."""
    match reply:
        case Exception():
            return type(reply).__name__
        case bytes() | str():
            return f"{len(reply)}b"
        case list() | tuple():
            return "[" + " ".join(map(_size, reply[:20])) + "]"
        case _:
            return str(reply)


class VirtualScripts(Scripts):
    """The scripts, in virtual time, with a bug if there shall be one."""

    def __init__(self, redis: SimulatedRedis, server: Server, bug: Bug) -> None:
        super().__init__(redis)
        self._server = server
        self._halves = bug.halves
        self._sources = {name: virtual_source(text) for name, text in bug.scripts(self._sources).items()}
        self._sha = {
            name: sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self._sources.items()
        }
        for name, sha in self._sha.items():
            server.know(name, sha)

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run several scripts."""
        if self._halves is not None:
            return await self._halves(super().run_all, [self._dated(call) for call in calls])
        return await super().run_all([self._dated(call) for call in calls])

    def _dated(self, call: Call) -> Call:
        name, keys, args = call
        return name, [*keys, CLOCK], args


CLOCK = "virtual:now"
"""Stands for the time at which a script comes to be run."""


class SimulatedRedis(Redis):
    """A process' client."""

    process: Process

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command, if the faults let it."""
        (reply,) = await self.process.ask([(args, options)], whole=True)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> SimulatedPipeline:  # noqa: FBT001, FBT002  (redis-py's signature)
        """Several commands; see ``SimulatedPipeline``."""
        made = SimulatedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.process = self.process
        return made


class SimulatedPipeline(Pipeline):
    """Several commands that are lost together, or, unless they are one transaction, from some point on."""

    process: Process

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002  (redis-py's signature)
        """Send them, if the faults let them."""
        commands: Any = list(self.command_stack)
        self.command_stack = []
        if not commands:
            return []
        replies = await self.process.ask(commands, whole=bool(self.is_transaction))
        for reply in replies if raise_on_error else ():
            if isinstance(reply, Exception):
                raise reply
        return replies


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
