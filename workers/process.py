"""How does one worker process live? It opens the relay once, runs shifts of one kind, and ends without losing any."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType
from typing import Final

from rq.exceptions import StopRequested

from relay import logs
from relay.bootstrap import Relay, new_slot, open_relay
from relay.store.connection import RedisError, RedisUnusableError, SyncRedis, Timeouts, open_sync_redis
from relay.store.presence import BEAT_S
from workers import jobs
from workers.health import Heartbeat
from workers.loop import LoopThread, comes
from workers.post import CUT_S, TWICE_S, WRONG_SETTINGS, Post
from workers.rq_worker import REPLY_S, ShiftWorker, Stopping
from workers.shift import ShiftFunction, ShiftRunner

Table = Callable[[Relay, int], Mapping[str, ShiftFunction]]
"""Makes, of an opened relay and a concurrency, what shifts of each kind do."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STUCK_S: Final = 120.0
"""The main thread waits in steps that are all shorter: if it is silent for longer, the process is not well."""
SLOWEST_RETRY_S: Final = 5.0
CLOCK_OFF_MS: Final = 5_000
"""From this distance of its clock from Redis' on a worker says so: the times of signatures are its own."""


def work(post: Post, table: Table) -> int:
    """Be a worker until asked to stop, by SIGTERM, Ctrl-C or the end of the terminal; to be called in the main thread.

    A second request cuts the running shift off: what it has in flight is left to the next worker.

    Returns:
        exit code: 0 asked to stop, 2 this Redis cannot be used.
    """
    with LoopThread() as loop:
        process = _Process(post, table, loop)
        for number in SIGNALS:
            signal.signal(number, process.on_signal)
        try:
            code = loop.wait_for(process.open())
            if code is None:
                process.serve()
        finally:
            loop.wait_for(process.close())
    for number in SIGNALS:  # one more request, as Python is about to end, would turn the exit code into a signal's
        signal.signal(number, signal.SIG_IGN)
    return code or 0


class _Process:
    """One worker process: what its two threads share."""

    def __init__(self, post: Post, table: Table, loop: LoopThread) -> None:
        self._post = post
        self._table = table
        self._loop = loop
        self._name = f"{socket.gethostname()}-{os.getpid()}-{new_slot()[:6]}"
        self._stopping = Stopping()
        self._asked_s: float | None = None
        self._progress_s = time.monotonic()
        self._worker: ShiftWorker | None = None
        # Of the loop's thread:
        self._living: asyncio.Task[None]
        self._beating: asyncio.Task[None]
        self._present: list[asyncio.Task[None]] = []
        self._clock_off = False
        self._stop = asyncio.Event()
        self._end = asyncio.Event()
        self._opened: asyncio.Future[int | None]
        self._relay: Relay
        self._runner: ShiftRunner | None = None

    # ---- in the main thread ----

    def serve(self) -> None:
        """Run shifts until asked to stop; where RQ breaks, without it, and start it again."""
        jobs.bind(self._run_shift)
        timeouts = Timeouts(socket_s=self._post.look_s + REPLY_S)
        with contextlib.closing(open_sync_redis(self._post.settings.redis_url, timeouts=timeouts)) as connection:
            broken = 0
            # What became due while nobody was there; and the first shift of all makes known what there is to do.
            self._run_shift(self._post.kind, new_slot())
            for number in itertools.count():
                started_s = time.monotonic()
                self._run_rq(connection, number=number)
                if self._stopping.asked():
                    return
                # Redis is read-only or out of memory, or there was garbage. RQ is only a wake: work goes on without.
                broken = 1 if time.monotonic() - started_s > STUCK_S else broken + 1
                connection.connection_pool.disconnect()
                self._look()
                with contextlib.suppress(StopRequested), self._stopping.waiting():
                    time.sleep(min(0.5 * broken, SLOWEST_RETRY_S))

    def _run_rq(self, connection: SyncRedis, *, number: int) -> None:
        try:
            self._worker = ShiftWorker(
                self._post.kind,
                name=f"{self._name}-{number}",
                connection=connection,
                pop_s=self._post.look_s,
                stopping=self._stopping,
                idle=self._look_where_nobody_wakes,
                refused=self._refused,
                progressed=self._progressed,
            )
            self._worker.work(logging_level="ERROR")
        except StopRequested:
            pass
        except Exception as error:  # noqa: BLE001  RQ starts again, after a while
            logs.event("rq worker broke", level="warning", kind=self._post.kind, exc=error)
        finally:
            self._worker = None

    def _run_shift(self, kind: str, slot: str) -> None:
        if self._runner is not None:
            self._loop.wait_for(self._runner.run(kind, slot), tick=self._tick)

    def _look(self) -> None:
        """Run a shift if something is due, without RQ."""
        if not self._stopping.asked():
            self._loop.wait_for(self._run_if(self._relay.stores.slots.is_due), tick=self._tick)

    def _look_where_nobody_wakes(self) -> None:
        """Run a shift if something is due and there is no scheduler that would wake anybody for it."""
        if not self._stopping.asked():
            self._loop.wait_for(self._run_if(self._relay.stores.slots.is_unattended), tick=self._tick)

    def _tick(self) -> None:
        self._progressed()
        if self._worker is not None:
            self._worker.tick()

    def _progressed(self) -> None:
        self._progress_s = time.monotonic()

    def _refused(self, reason: str) -> None:
        level: logs.Level = "debug" if reason == "expired" else "warning"
        logs.event("job refused", level=level, kind=self._post.kind, reason=reason)
        self._loop.wait_for(self._add("jobs_refused", self._post.kind, reason))

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Stop in good order; at the second request, quickly."""
        now_s = time.monotonic()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to be stopped
            if self._asked_s is None:
                self._asked_s = now_s
                self._loop.tell(self._ask_to_stop)
            elif now_s - self._asked_s >= TWICE_S:
                self._loop.tell(self._cut_off)
        self._stopping.ask()  # last, as it may raise

    # ---- in the loop's thread ----

    async def open(self) -> int | None:
        """Open the relay, however long Redis is away.

        Returns:
            None: it is open. Else the process shall end with that code.
        """
        self._opened = asyncio.get_running_loop().create_future()
        heartbeat = Heartbeat("worker", data_dir=self._post.settings.data_dir, clock=time.monotonic)
        self._living = asyncio.create_task(self._live())
        self._beating = asyncio.create_task(self._beat(heartbeat))
        return await self._opened

    async def close(self) -> None:
        """Close what was opened."""
        self._stop.set()
        if self._present:
            await asyncio.wait(self._present, timeout=CUT_S)  # they take their leave
        self._end.set()
        for task in (*self._present, self._beating):
            task.cancel()
        for result in await asyncio.gather(self._living, *self._present, self._beating, return_exceptions=True):
            if isinstance(result, Exception):
                logs.event("close failed", level="warning", exc=result)

    async def _live(self) -> None:
        """Hold the relay open from ``open`` to ``close``, in one task."""
        wait_s = 0.5
        while not self._stop.is_set():
            try:
                async with open_relay(self._post.settings) as relay:
                    await self._say_present(relay)  # else the first shift would find no worker to run it
                    self._begin(relay)
                    await self._end.wait()
                    return
            except RedisUnusableError as error:
                logs.event("redis unusable", level="error", reason=str(error))
                self._opened.set_result(WRONG_SETTINGS)
                return
            except (RedisError, OSError) as error:
                logs.event("redis away", level="warning", kind=self._post.kind, exc=error, again_in_s=wait_s)
                await comes(self._stop, within_s=wait_s)
                wait_s = min(wait_s * 2, SLOWEST_RETRY_S)
            except Exception as error:  # noqa: BLE001  the main thread raises it
                self._opened.set_exception(error)
                return
        self._opened.set_result(0)

    def _begin(self, relay: Relay) -> None:
        self._relay = relay
        self._runner = ShiftRunner(
            relay.slots,
            self._table(relay, self._post.concurrency),
            wake=relay.wake,
            count=self._count_shift,
            clock=time.monotonic,
            drain_s=self._post.drain_s,
        )
        self._present.append(asyncio.create_task(self._be_present()))
        if self._stop.is_set():
            self._runner.ask_to_stop()
        self._opened.set_result(None)

    async def _be_present(self) -> None:
        """Be counted among the workers until asked to stop, and not a moment longer."""
        while not await comes(self._stop, within_s=BEAT_S):
            with contextlib.suppress(RedisError, OSError):
                await self._say_present(self._relay)
        with contextlib.suppress(RedisError, OSError):
            await self._relay.presence.leave(self._post.kind, self._name)

    async def _say_present(self, relay: Relay) -> None:
        about = f"{socket.gethostname()} {os.getpid()}"
        ahead_ms = await relay.presence.beat(self._post.kind, self._name, wall_ms=relay.chances.wall_ms(), about=about)
        was_off, self._clock_off = self._clock_off, abs(ahead_ms) > CLOCK_OFF_MS
        if self._clock_off and not was_off:
            logs.event("clock off", level="warning", kind=self._post.kind, ahead_ms=ahead_ms)

    async def _beat(self, heartbeat: Heartbeat) -> None:
        try:
            await heartbeat.keep_beating(lambda: time.monotonic() - self._progress_s < STUCK_S)
        finally:
            heartbeat.end()

    async def _count_shift(self, kind: str, ended: str) -> None:
        await self._add("shifts", kind, ended)

    async def _add(self, name: str, *labels: str) -> None:
        """Add one to a counter of the whole installation; where Redis is away, the log has it."""
        with contextlib.suppress(RedisError, OSError):
            await self._relay.stores.counters.add([(name, labels, 1)])

    async def _run_if(self, needed: Callable[[str], Awaitable[bool]]) -> None:
        kind = self._post.kind
        try:
            look = await needed(kind)
        except Exception as error:  # noqa: BLE001  the next look may succeed
            logs.event("look failed", level="debug", kind=kind, exc=error)
            return
        if look and self._runner is not None:
            await self._runner.run(kind, new_slot())

    def _ask_to_stop(self) -> None:
        self._stop.set()
        if self._runner is not None:
            self._runner.ask_to_stop()
        asyncio.get_running_loop().call_later(self._post.end_s, os._exit, 1)

    def _cut_off(self) -> None:
        if self._runner is not None:
            self._runner.cut_off()
