"""Real worker processes whose shifts do something simple and checkable; not a test itself.

A *thing* of a kind is due at a time in the kind's sorted set. A shift claims what is due by moving it to the end of a
lease, "works" as long as the thing says, and takes it off: `journal` holds one line for each beginning and each end.
Run as a program, it is a worker or a scheduler.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from relay import logs
from relay.bootstrap import Relay
from relay.pipeline.stop import ShiftReport, Stop
from relay.settings import Settings
from relay.store import keys
from relay.store.slots import DUE
from workers import process, scheduler
from workers.post import Post
from workers.shift import ShiftFunction

JOURNAL = "journal"
KEY = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
LEASE_MS = 5_000
KEEP = """#!lua
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return redis.call('ZADD', KEYS[1], 'XX', now_ms + tonumber(ARGV[1]), ARGV[2])
"""
CLAIM = """#!lua flags=allow-oom
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local thing = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, 1)[1]
if thing then redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[1]), thing) end
return thing
"""
LINGER_S = 0.3


def table(relay: Relay, concurrency: int) -> Mapping[str, ShiftFunction]:
    """What the rig's shifts do."""
    del concurrency
    return {kind: Shifts(relay, kind).run for kind in DUE}


class Shifts:
    """Shifts of one kind."""

    def __init__(self, relay: Relay, kind: str) -> None:
        self.relay = relay
        self.redis: Any = relay.redis
        self.due = DUE[kind]
        self.wakes = keys.wake(kind)

    async def run(self, owner: str, stop: Stop) -> ShiftReport:
        """One shift."""
        claim = self.redis.register_script(CLAIM)
        done = 0
        idle_since_s = time.monotonic()
        while not stop.asked and time.monotonic() - idle_since_s < LINGER_S:
            thing = await claim(keys=[self.due], args=[LEASE_MS])
            if thing is None:
                await self.wait_for_a_wake()
            else:
                keeper = asyncio.create_task(self.keep(thing))
                try:
                    await self.work(thing.decode(), owner, stop)
                finally:
                    keeper.cancel()
                done += 1
                idle_since_s = time.monotonic()
        return ShiftReport(done)

    async def keep(self, thing: bytes) -> None:
        """Renew the lease of what is worked on."""
        keep = self.redis.register_script(KEEP)
        while True:
            await asyncio.sleep(LEASE_MS / 3000)
            await keep(keys=[self.due], args=[LEASE_MS, thing])

    async def wait_for_a_wake(self) -> None:
        """Linger."""
        blocking: Any = self.relay.blocking
        await blocking.blpop([self.wakes], timeout=LINGER_S)

    async def work(self, thing: str, owner: str, stop: Stop) -> None:
        """Do what the thing says behind its name."""
        name, _, behaviour = thing.partition(":")
        if behaviour != "full":  # else Redis takes nothing more
            await self.redis.rpush(JOURNAL, f"begin {name} {owner}")
        if behaviour == "fail":
            await self.redis.zrem(self.due, thing)
            raise ValueError(name)
        if behaviour == "hang":
            await asyncio.Event().wait()
        if behaviour == "exit":
            raise SystemExit(3)
        if behaviour == "until-told":
            blocking: Any = self.relay.blocking
            await blocking.blpop(["told"], timeout=20)
        if behaviour in ("until-stopped", "give-back"):
            while not await stop.wait(60):
                pass
        if behaviour == "give-back":
            await self.redis.zadd(self.due, {f"{name}:": 0})
        await self.redis.zrem(self.due, thing)
        if behaviour != "full":
            await self.redis.rpush(JOURNAL, f"end {name} {owner}")


def main() -> int:
    """Be what the arguments say."""
    role, url, data_dir, *more = sys.argv[1:]
    logs.configure("json", process=role)
    if role == "scheduler":
        return scheduler.run(rig_settings(url, Path(data_dir)))
    kind, look_s = more
    settings = rig_settings(url, Path(data_dir))
    return process.work(Post(settings=settings, kind=kind, concurrency=1, look_s=int(look_s)), table)


def rig_settings(url: str, data_dir: Path) -> Settings:
    """Settings of every process of the rig."""
    return replace(Settings(), redis_url=url, data_dir=data_dir, secret_keys=(KEY,))


if __name__ == "__main__":
    sys.exit(main())
