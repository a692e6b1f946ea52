"""Starts, asks and reads the processes of `worker_rig.py`; not a test itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from relay.bootstrap import open_relay
from relay.store import keys
from relay.store.slots import DUE
from relay.supervise.processes import dies_with_parent
from tests.e2e.worker_rig import JOURNAL, KEY, rig_settings

RIG = Path(__file__).with_name("worker_rig.py")
KIND = "deliver"
NEVER_S = 25
"""How long a worker's pop waits where a test means to show a wake."""
SOON_S = 1


class Rig:
    """Processes that share one Redis, and what they say."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.redis: Any = Redis.from_url(url, retry=Retry(NoBackoff(), 3))  # some tests kill it
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a process of the rig, without waiting for it."""
        role, *more = words
        return self._start([sys.executable, "-P", str(RIG), role, self.url, str(self.folder), *more], {})

    def relay(self, *words: str) -> subprocess.Popen[bytes]:
        """Start one of the relay's own commands on the rig's Redis, partners on loopback allowed."""
        settings = {
            "RELAY_REDIS_URL": self.url,
            "RELAY_DATA_DIR": str(self.folder),
            "RELAY_SECRET_KEYS": KEY,
            "RELAY_ALLOW_NETWORKS": "127.0.0.0/8",
            "RELAY_LOG_FORMAT": "json",
        }
        return self._start([sys.executable, "-P", "-m", "relay.cli", *words], settings)

    def _start(self, command: list[str], settings: dict[str, str]) -> subprocess.Popen[bytes]:
        log = self.folder / f"log-{len(self._processes)}"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **settings},
                preexec_fn=dies_with_parent(signal.SIGKILL),  # noqa: PLW1509  no threads that hold locks are running
            )
        self._processes.append(process)
        return process

    async def worker(self, kind: str = KIND, *, pop_s: int = NEVER_S) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it waits for jobs."""
        before = await self.waiting_for_jobs()
        process = self.start("worker", kind, str(pop_s))
        await until(lambda: self._more_wait(before))
        return process

    async def _more_wait(self, before: int) -> bool:
        return await self.waiting_for_jobs() > before

    async def waiting_for_jobs(self) -> int:
        """How many workers block in RQ's pop."""
        return sum(client["cmd"] == "blmove" for client in await self.redis.client_list())

    async def scheduler(self) -> subprocess.Popen[bytes]:
        """Start a scheduler and wait until it has the lease."""
        process = self.start("scheduler")
        await until(lambda: self.redis.exists(keys.SCHEDULER_LEASE))
        return process

    async def make_due(self, *things: str, kind: str = KIND, in_ms: int = 0) -> None:
        """Make things due, and wake nobody."""
        seconds, micros = await self.redis.time()
        now_ms = seconds * 1000 + micros // 1000
        await self.redis.zadd(DUE[kind], dict.fromkeys(things, now_ms + in_ms))

    async def wake(self, kind: str = KIND) -> None:
        """Wake somebody, as a commit does."""
        async with open_relay(rig_settings(self.url, self.folder)) as relay:
            await relay.wake(kind)

    async def journal(self) -> list[str]:
        """What shifts have begun and ended, without their owners."""
        return [line.decode().rpartition(" ")[0] for line in await self.redis.lrange(JOURNAL, 0, -1)]

    async def until_journal(self, *lines: str, timeout_s: float = 15) -> None:
        """Wait until shifts have done this, and nothing else."""

        async def done() -> bool:
            return await self.journal() == [*lines]

        try:
            await until(done, timeout_s=timeout_s)
        except TimeoutError:
            raise AssertionError(f"{await self.journal()}, not {list(lines)}; logs: {self.logs()}") from None

    def logs(self) -> list[dict[str, Any]]:
        """Every line that any process has logged."""
        lines = [line for path in sorted(self.folder.glob("log-*")) for line in path.read_text().splitlines()]
        return [json.loads(line) if line.startswith("{") else {"event": line} for line in lines]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines of one name."""
        return [line for line in self.logs() if line["event"] == event]

    async def close(self) -> None:
        """End every process."""
        for process in self._processes:
            process.kill()
            process.wait(timeout=10)
        await self.redis.aclose()


async def until(condition: Callable[[], Awaitable[Any]], *, timeout_s: float = 15) -> None:
    """Wait for a condition that other processes bring about."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110  other processes set no event of ours
            await asyncio.sleep(0.02)


async def ended(process: subprocess.Popen[bytes], *, timeout_s: float = 15) -> int:
    """Wait for the end of a process; its exit code."""
    return await asyncio.to_thread(process.wait, timeout_s)


@contextlib.asynccontextmanager
async def rigged(url: str, folder: Path) -> AsyncIterator[Rig]:
    """A rig that leaves no process behind."""
    rig = Rig(url, folder)
    try:
        yield rig
    finally:
        await rig.close()
