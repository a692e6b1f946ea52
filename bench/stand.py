"""What do benches stand on?  A Redis of their own, a partner in a process of its own, and the relay's processes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

from redis import Redis as SyncRedis

from relay.store.connection import Redis, open_redis
from relay.store.vault import Vault
from relay.supervise.processes import dies_with_parent
from tests.conftest import RedisServer
from tests.integration.relays import Parts

HERE = Path(__file__).parent
KEY = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
TOKEN = "made-up-token-of-a-bench-0000000"
READY_S = 30


def start(command: list[str], settings: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that does not outlive this one."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(
        command,
        env={**os.environ, **(settings or {})},
        preexec_fn=dies_with_parent(),  # noqa: PLW1509  no threads that hold locks are running
        **{**quiet, **options},
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process in good order, or at all."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis of its own, as the relay embeds it: append-only file, one socket; its URL."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server.url
        finally:
            server.kill()


@contextmanager
def sink() -> Iterator[str]:
    """A partner in a process of its own; the URL without a path: ``sink.py`` says what each path does."""
    process = start([sys.executable, str(HERE / "sink.py")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of this machine that nobody listens at: nobody else's scrapes come there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def roles(
    redis_url: str, *commands: tuple[str, ...], port: int | None = None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The relay's own processes, as an operator runs them; the API at that port, or at any that is free."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        settings = {
            "RELAY_REDIS_URL": redis_url,
            "RELAY_DATA_DIR": folder,
            "RELAY_PORT": str(port or free_port()),
            "RELAY_SECRET_KEYS": KEY,
            "RELAY_ADMIN_TOKEN": TOKEN,
            "RELAY_ALLOW_NETWORKS": "127.0.0.0/8",
        }
        running: list[subprocess.Popen[bytes]] = []
        try:
            running += [start([sys.executable, "-P", "-m", "relay.cli", *command], settings) for command in commands]
            yield running
        finally:
            for process in reversed(running):
                end(process)


def all_wait(redis_url: str, *, processes: int) -> None:
    """Wait until so many processes wait for something in Redis: workers and schedulers that have nothing to do."""
    redis = SyncRedis.from_url(redis_url)
    deadline_s = time.monotonic() + READY_S
    while int(redis.info("clients")["blocked_clients"]) < processes:
        if time.monotonic() > deadline_s:
            raise TimeoutError("the relay's processes did not get ready")
        time.sleep(0.05)
    redis.close()


@asynccontextmanager
async def parts_on(redis_url: str) -> AsyncIterator[Parts]:
    """Everything between a change and a partner, on an empty Redis, with one brand."""
    redis, pop = open_redis(redis_url), open_redis(redis_url)
    await redis.flushall()
    parts = Parts(redis, pop)
    parts.vault = Vault([KEY])
    await parts.brand()
    try:
        yield parts
    finally:
        await redis.aclose()
        await pop.aclose()


async def redis_cpu_s(redis: Redis) -> float:
    """What Redis has used of its processor so far."""
    info = await redis.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def redis_memory_bytes(redis: Redis) -> int:
    """What Redis holds."""
    return int((await redis.info("memory"))["used_memory"])


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError("the kernel does not say")


class Deliverer:
    """One process that delivers, or posts as the bare client does; see ``deliverer.py``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def open(cls, redis_url: str, name: str = "bench") -> AsyncIterator[Self]:
        """Start it, and wait until it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "deliverer.py"),
            redis_url,
            name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=1 << 20,
            preexec_fn=dies_with_parent(),
        )
        made = cls(process)
        try:
            await made._answer()
            yield made
        finally:
            process.kill()
            await process.wait()

    async def do(self, what: str, **details: Any) -> dict[str, Any]:
        """Have it do something, and wait until it is done; what it says of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **details}).encode() + b"\n")
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that delivers has ended")
        found: dict[str, Any] = json.loads(line)
        return found
