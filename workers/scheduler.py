"""Who wakes the workers when something becomes due? One scheduler of however many run: the one with the lease.

It sleeps until the next thing is due, and is woken when something earlier is made due. It looks every few seconds all
the same: a wake that was lost is given again. What a worker that was killed had claimed is due when its lease ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from typing import Final

from relay import logs
from relay.bootstrap import Relay, new_slot, open_relay
from relay.settings import Settings
from relay.store.connection import RedisError, RedisUnusableError
from workers.health import Heartbeat
from workers.loop import comes, new_loop
from workers.post import WRONG_SETTINGS

BUSY_S: Final = 5.0
"""Longest sleep after something was due: it may not have been worked on."""
QUIET_S: Final = 15.0
"""Longest sleep otherwise."""
STANDBY_S: Final = 5.0
"""Longest sleep of a scheduler that has not got the lease."""
LOOK_S: Final = 10.0
"""Between two questions whether Redis has lost everything, or a list of what is due."""
SHORTEST_S: Final = 0.02
FIRST_RETRY_S: Final = 0.5
SLOWEST_RETRY_S: Final = 5.0


def run(settings: Settings) -> int:
    """Be a scheduler until SIGTERM or Ctrl-C; to be called in the main thread.

    Returns:
        exit code: 0 asked to stop, 2 this Redis cannot be used.
    """
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_run(settings))


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    heartbeat = Heartbeat("scheduler", data_dir=settings.data_dir, clock=time.monotonic)
    beating = asyncio.create_task(heartbeat.keep_beating())
    try:
        return await _keep_scheduling(settings, stop)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        heartbeat.end()


async def _keep_scheduling(settings: Settings, stop: asyncio.Event) -> int:
    """Schedule, and begin anew whenever Redis was away."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{new_slot()[:6]}"
    wait_s = FIRST_RETRY_S
    while not stop.is_set():
        began_s = time.monotonic()
        try:
            async with open_relay(settings) as relay:
                await schedule(relay, stop, owner=owner)
        except RedisUnusableError as error:
            logs.event("redis unusable", level="error", reason=str(error))
            return WRONG_SETTINGS
        except (RedisError, OSError) as error:
            wait_s = FIRST_RETRY_S if time.monotonic() - began_s > SLOWEST_RETRY_S else min(wait_s * 2, SLOWEST_RETRY_S)
            logs.event("redis away", level="warning", process="scheduler", exc=error, again_in_s=wait_s)
            await comes(stop, within_s=wait_s)
    return 0


async def schedule(relay: Relay, stop: asyncio.Event, *, owner: str) -> None:
    """Wake workers for what is due, until ``stop``.

    Args:
        relay: opened.
        stop: ends it.
        owner: name of this process as a holder of the lease; the same when it begins anew, or it would wait for itself.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    looked_s = -LOOK_S
    try:
        while not stop.is_set():
            if time.monotonic() - looked_s >= LOOK_S:
                looked_s = time.monotonic()
                if (await relay.installation.look()).since_ms:  # else there never was a brand, nor a subscription
                    await relay.due_lists.refill()
            sweep = await relay.slots.sweep(owner, sleep_s=QUIET_S)
            sleep_s = max(sweep.sleep_ms / 1000, SHORTEST_S)
            if not sweep.mine:
                await comes(stop, within_s=min(sleep_s, STANDBY_S))
                continue
            for kind in sweep.due:
                await relay.wake(kind)
            await _sleep_unless_nudged(relay, stop, min(sleep_s, BUSY_S) if sweep.due else sleep_s)
    finally:
        with contextlib.suppress(RedisError, OSError):
            await relay.slots.leave(owner)


async def _sleep_unless_nudged(relay: Relay, stop: asyncio.Event, timeout_s: float) -> None:
    stopped = asyncio.create_task(stop.wait())
    nudged = asyncio.create_task(relay.slots.nudged(timeout_s=timeout_s))
    try:
        await asyncio.wait({stopped, nudged}, return_when=asyncio.FIRST_COMPLETED)
        if nudged.done():
            nudged.result()  # raises what it met
    finally:
        for task in (stopped, nudged):
            task.cancel()
        await asyncio.gather(stopped, nudged, return_exceptions=True)
