"""What is one simulated worker process?  An assembled relay, tasks that run shifts, and a death that asks nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from relay import logs
from relay.bootstrap import Chances, Opened, Relay, assemble, make_stores
from relay.pipeline.deliver import deliver_shift
from relay.pipeline.poll import poll_shift
from relay.pipeline.stop import Stop
from relay.pipeline.sweep import maintain_shift
from relay.settings import Settings
from tests.simulation.bugs import Bug
from tests.simulation.clock import VirtualLoop
from tests.simulation.outside import Faults, Outside
from tests.simulation.redis_double import (
    Command,
    Pops,
    Server,
    SimulatedRedis,
    VirtualScripts,
    lost_after,
    lost_before,
)

LATENCY_S = 0.002
"""Of one way to Redis, at most; half of that on average."""

SLOWEST_ANSWER_S = 6.0
"""The relay's client waits longer."""


class Process:
    """One process. Nothing of it outlives ``kill`` but what is in Redis."""

    def __init__(
        self, name: str, *, loop: VirtualLoop, settings: Settings, outside: Outside, server: Server, bug: Bug
    ) -> None:
        self.name = name
        self._loop = loop
        self._server = server
        self._outside = outside
        self._faults: Faults = outside.faults
        self.random = Random(f"{outside.seed}/{name}/{loop.time()}")
        self.dead = False
        self.awake = asyncio.Event()
        self.awake.set()
        self._tasks: list[asyncio.Task[None]] = []
        self.redis = SimulatedRedis(unix_socket_path="nowhere", protocol=2, single_connection_client=False)
        self.redis.process = self
        pops: Any = Pops(self.redis)
        sender: Any = outside.sender(self)
        transport: Any = outside.transport(self)
        scripts = VirtualScripts(self.redis, server, bug)
        skew_s = self._faults.clock_skew_s()
        self.relay: Relay = assemble(
            Opened(
                settings=settings,
                chances=Chances(lambda: loop.wall_s() + skew_s, loop.time, self.random.random),
                redis=self.redis,
                blocking=pops,
                scripts=scripts,
                stores=make_stores(settings, self.redis, pops, scripts),
                wake=_nobody,
                sender=sender,
                transport=transport,
            )
        )

    async def ask(self, commands: Sequence[Command], *, whole: bool) -> list[Any]:
        """Give Redis commands, if this process lives, is awake, and the faults let it.

        Args:
            commands: for one round trip.
            whole: they are one command, or one transaction; else a connection may end after some of them.
        """
        await self.step()
        await asyncio.sleep(self.random.random() * LATENCY_S)
        if self.dead:
            raise asyncio.CancelledError
        fault = self._faults.of_redis()
        if fault == "before":
            await asyncio.sleep(0.05)
            raise lost_before()
        if fault == "slow":
            await asyncio.sleep(self.random.random() * 2)
        executed = commands[: self.random.randrange(len(commands))] if fault == "part" and not whole else commands
        replies = self._server.run(executed, process=self.name)
        await asyncio.sleep(self.random.random() * (SLOWEST_ANSWER_S if fault == "late" else LATENCY_S))
        await self.step()
        if fault in ("after", "part"):
            await asyncio.sleep(0.5)
            raise lost_after()
        return replies

    async def step(self) -> None:
        """A point at which this process may find itself frozen or dead."""
        if self.dead:
            raise asyncio.CancelledError
        await self.awake.wait()
        self._faults.strike_process(self)
        if self.dead:
            raise asyncio.CancelledError

    def start(self, kinds: tuple[str, ...]) -> None:
        """Run shifts of some kinds, one after the other, as a worker would."""
        for kind in kinds:
            self._tasks.append(self._loop.create_task(self._work(kind), name=f"{self.name}/{kind}"))

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something else in this process."""
        self._tasks.append(self._loop.create_task(work))

    async def _work(self, kind: str) -> None:
        owner = f"{self.name}-{kind}"
        while True:
            stop = Stop(self._loop.time, 20 + self.random.random() * 40)
            try:
                match kind:
                    case "poll":
                        await poll_shift(self.relay.poll_context(), owner=owner, stop=stop, concurrency=4)
                    case "deliver":
                        context = replace(self.relay.deliver_context(), linger_s=0.5)
                        await deliver_shift(context, owner=owner, stop=stop, concurrency=16)
                    case _:
                        await maintain_shift(self.relay.maintain_context(), owner=owner, stop=stop)
            except Exception as error:  # noqa: BLE001  (as a worker's edge does: the next shift starts anew)
                logs.event("simulated shift failed", level="warning", exc=error, process=self.name)
            await asyncio.sleep(0.2 + self.random.random())

    def state(self) -> str:
        """Whether it can do anything."""
        return f"{'dead' if self.dead else 'alive'}, {'awake' if self.awake.is_set() else 'frozen'}"

    def kill(self) -> None:
        """Die at once: no clean-up reaches Redis or anybody else."""
        self.dead = True
        self.awake.set()
        for task in self._tasks:
            task.cancel()

    async def bury(self) -> None:
        """Wait until every task of a dead process has ended."""
        for _ in range(200):
            alive = [task for task in self._tasks if not task.done()]
            if not alive:
                break
            for task in alive:
                task.cancel()
            await asyncio.sleep(0.01)


def waiting_at(task: asyncio.Task[Any]) -> str:
    """Where a task stands, from the outside in."""
    places: list[str] = []
    coroutine: Any = task.get_coro()
    while coroutine is not None and len(places) < 30:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            places.append(repr(coroutine)[:120])
            break
        places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return " > ".join(places) or "ended"


async def _nobody(_kind: str) -> None:
    """Wake nobody: shifts follow one another here, RQ carries nothing but wakes."""
