"""A primary, a replica that can be left behind, and three sentinels, all real; not a test."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from relay.store import keys
from relay.supervise.processes import dies_with_parent
from relay.supervise.redis_server import find_redis_server
from tests.e2e.machines import free_port
from tests.e2e.rigs import until

PASSWORD = "p@ss/of the servers"
WATCHWORD = "of the sentinels"
NAME = "relay"


@dataclass
class Server:
    """One server, on a port of its own."""

    folder: Path
    options: tuple[str, ...]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, on what it left behind."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(find_redis_server()), *self.options],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent(),  # noqa: PLW1509  it asks the kernel for one thing
            )

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=20)
            self.process = None

    def client(self, password: str = PASSWORD) -> Any:
        """A client of it."""
        return Redis(port=self.port, password=password, socket_timeout=2)


@dataclass
class Group:
    """All of them."""

    primary: Server
    replica: Server
    sentinels: tuple[Server, ...]

    @property
    def url(self) -> str:
        """As RELAY_REDIS_URL has it."""
        nodes = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:p%40ss%2Fof%20the%20servers@{nodes}/{NAME}/0?sentinel_password=of%20the%20sentinels"

    async def fail_over(self, *, lose_s: float) -> float:
        """Have the primary die with the writes of its last moments; seconds until the replica is the primary."""
        async with _opened(self.primary) as primary, _opened(self.replica) as replica:
            await replica.config_set("masterauth", "no longer the right one")
            await primary.client_kill_filter(_type="replica", skipme=False)
            await asyncio.sleep(lose_s)  # the writes that will be lost
            self.primary.kill()
            died_s = time.monotonic()
            await replica.config_set("masterauth", PASSWORD)
        await until(lambda: role_is(self.replica, "master"), timeout_s=60)
        return time.monotonic() - died_s


@contextlib.asynccontextmanager
async def _opened(server: Server, password: str = PASSWORD) -> AsyncIterator[Any]:
    client = server.client(password)
    try:
        yield client
    finally:
        await client.aclose()


async def role_is(server: Server, role: str) -> bool:
    """Whether it is a ``master`` or a ``slave`` at the moment."""
    async with _opened(server) as client:
        try:
            return bool((await client.info("replication"))["role"] == role)
        except RedisError:
            return False


async def clock_of(server: Server) -> int:
    """The last stamp that it knows."""
    async with _opened(server) as client:
        return int(await client.get(keys.CLOCK) or 0)


async def _synced(server: Server) -> bool:
    async with _opened(server) as client:
        try:
            found = await client.info("replication")
        except RedisError:
            return False
        return bool(found["role"] == "slave" and found["master_link_status"] == "up")


async def _knows_all(sentinel: Server) -> bool:
    async with _opened(sentinel, WATCHWORD) as client:
        try:
            found = await client.sentinel_master(NAME)
        except RedisError:
            return False
        return bool(found["num-other-sentinels"] == 2 and found["num-slaves"] == 1)


@contextlib.asynccontextmanager
async def sentinels(folder: Path) -> AsyncIterator[Group]:
    """A group that is up, its replica in step."""
    common = ("--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0")
    secret = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    async with contextlib.AsyncExitStack() as stack:
        primary = Server(folder / "primary", ())
        primary.options = ("--port", str(primary.port), *common, *secret)
        replica = Server(folder / "replica", ())
        replica.options = ("--port", str(replica.port), *common, *secret, "--replicaof", f"127.0.0.1 {primary.port}")
        watchers = tuple(_sentinel(folder / f"sentinel-{number}", primary.port) for number in range(3))
        for server in (primary, replica, *watchers):
            server.start()
            stack.callback(server.kill)
        await until(lambda: _synced(replica), timeout_s=30)
        for watcher in watchers:
            await until(lambda watcher=watcher: _knows_all(watcher), timeout_s=30)  # type: ignore[misc]  # a default of its own
        yield Group(primary, replica, watchers)


def _sentinel(folder: Path, primary_port: int) -> Server:
    server = Server(folder, ("sentinel.conf", "--sentinel"))
    folder.mkdir()
    (folder / "sentinel.conf").write_text(
        f"port {server.port}\n"
        "bind 127.0.0.1\n"
        f'requirepass "{WATCHWORD}"\n'
        f'sentinel sentinel-pass "{WATCHWORD}"\n'
        f"sentinel monitor {NAME} 127.0.0.1 {primary_port} 2\n"
        f'sentinel auth-pass {NAME} "{PASSWORD}"\n'
        f"sentinel down-after-milliseconds {NAME} 1500\n"
        f"sentinel failover-timeout {NAME} 3000\n"
    )
    return server
