"""Real processes under traffic, and a Redis that dies, forgets, refuses, hangs and lies: nothing committed is lost."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import pytest_asyncio
from redis.exceptions import RedisError

from relay.store import keys
from tests.conftest import RedisServer
from tests.e2e.installations import Installation, Traffic, installation, open_client
from tests.e2e.rigs import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PER_S = 20.0


@dataclass
class Scene:
    """An installation, its Redis, and what the partner had received when the test began."""

    server: RedisServer
    redis: Any
    relay: Installation
    began: int = 0

    @contextlib.asynccontextmanager
    async def trouble(self, *, went_back: bool = False) -> AsyncIterator[None]:
        """Traffic before, during and after what is done to Redis; then quiet, and the verdict."""
        self.began = len(self.relay.partner.calls)
        async with Traffic(self.relay.clopos, per_s=PER_S):
            await self.relay.partner.got(self.began + 10, timeout_s=30)
            yield
            received = len(self.relay.partner.calls)
            await self.relay.partner.got(received + 10, timeout_s=60)
        await self.relay.quiet()
        self.relay.judge(went_back=went_back, since=self.began)
        assert all(process.popen.poll() is None for process in self.relay.processes.values()), self.relay.tail()

    async def unavailable(self, because: str, *, write: bool = False) -> None:
        """Wait until the API says that Redis is away, and why."""

        said = []

        async def says_so() -> bool:
            async with self.relay.api() as client:
                answer = await (
                    client.post("/v1/api-keys", json={"name": "x", "role": "viewer"})
                    if write
                    else client.get("/v1/brands")
                )
            said.append(answer.text)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return False
            assert "retry-after" in answer.headers
            assert answer.headers["content-type"] == "application/problem+json"
            return because in answer.json()["detail"]

        try:
            await until(says_so, timeout_s=30)
        except TimeoutError:
            raise AssertionError(f"not because of {because!r}: {said}") from None

    async def alive(self) -> None:
        """See that probes would restart nobody, and that a scrape is answered."""
        async with self.relay.api() as client:
            assert (await client.get("/livez")).status_code == httpx.codes.OK
            scraped = await client.get("/metrics")
        assert scraped.status_code == httpx.codes.OK
        assert "relay_redis_up 0.0" in scraped.text


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="scene")
async def _scene() -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="relay-e2e-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        redis = open_client(server.url)
        try:
            async with installation(server.url, Path(folder)) as relay:
                yield Scene(server, redis, relay)
        finally:
            await redis.aclose()
            server.kill()


async def test_it_is_killed_and_comes_back(scene: Scene) -> None:
    async with scene.trouble():
        scene.server.kill()
        try:
            await scene.unavailable("does not answer")
            await scene.alive()
            await until(lambda: noticed(scene, "scheduler", "poll", "deliver", "maintain"), timeout_s=20)
        finally:
            scene.server.start()


async def noticed(scene: Scene, *roles: str) -> bool:
    """Whether each of these processes has said that Redis is away."""
    return all(b'"error_class"' in scene.relay.processes[role].log.read_bytes() for role in roles)


async def test_it_loses_its_last_second(scene: Scene) -> None:
    """What a power cut costs where the file is written every second: the tail of the append-only file is cut off."""
    async with scene.trouble(went_back=True):
        files = sorted((scene.server.folder / "appendonlydir").glob("*.incr.aof"))
        await scene.redis.config_set("appendfsync", "always")  # so that what is cut is known
        size = files[-1].stat().st_size
        await asyncio.sleep(1.0)  # the second that will be lost
        scene.server.kill()
        with files[-1].open("r+b") as file:
            file.truncate(size)
        scene.server.start()


async def test_it_turns_read_only_without_a_failover(scene: Scene) -> None:
    async with scene.trouble():
        await scene.redis.replicaof("127.0.0.1", "1")
        try:
            await scene.unavailable("replica", write=True)
        finally:
            await scene.redis.replicaof("NO", "ONE")


async def test_it_is_out_of_memory(scene: Scene) -> None:
    async with scene.trouble():
        await scene.redis.config_set("maxmemory", "1")
        try:
            events = await scene.redis.xlen(keys.LOG)
            await until(lambda: nothing_pending(scene), timeout_s=20)
            await scene.unavailable("memory", write=True)
            assert await scene.redis.xlen(keys.LOG) == events  # commits are refused, whole
        finally:
            await scene.redis.config_set("maxmemory", "0")


async def nothing_pending(scene: Scene) -> bool:
    """Whether what was committed has been delivered, and recorded as such."""
    return not int(await scene.redis.hget(keys.lane(scene.relay.subscription), "pending") or 0)


async def test_its_disk_is_full(scene: Scene) -> None:
    """The append-only file may not grow: MISCONF, every write is refused."""
    async with scene.trouble():
        (file,) = sorted((scene.server.folder / "appendonlydir").glob("*.incr.aof"))[-1:]
        _, hard = resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE, (file.stat().st_size, hard))

        async def refuses() -> bool:
            try:
                await scene.redis.set("probe", "1")
            except RedisError as error:
                return "MISCONF" in str(error)
            return False

        try:
            await until(refuses, timeout_s=20)
            await scene.unavailable("disk", write=True)
        finally:
            resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE, (hard, hard))


async def test_a_script_keeps_it_busy(scene: Scene) -> None:
    async with scene.trouble():
        await scene.redis.config_set("busy-reply-threshold", "200")
        spin = "local t = redis.call('TIME')[1] + 4 while tonumber(redis.call('TIME')[1]) < t do end return 1"
        spinning = asyncio.create_task(scene.redis.eval(spin, 0))
        await scene.unavailable("busy")
        await spinning


async def test_it_hangs_for_longer_than_leases_last(scene: Scene) -> None:
    async with scene.trouble():
        scene.server.send(signal.SIGSTOP)
        try:
            stopped_s = time.monotonic()
            await scene.unavailable("does not answer")
            await scene.alive()
            while time.monotonic() - stopped_s < 20:
                await scene.unavailable("does not answer")
                await asyncio.sleep(2)
        finally:
            scene.server.send(signal.SIGCONT)


async def test_it_accepts_no_writes_for_three_seconds(scene: Scene) -> None:
    async with scene.trouble():
        await scene.redis.client_pause(3_000, all=False)


async def test_its_password_changes_under_way_and_is_put_right(scene: Scene) -> None:
    async with scene.trouble():
        await scene.redis.config_set("requirepass", "hunter2-of-the-tests")
        try:
            await scene.redis.client_kill_filter(_type="normal", skipme=True)
            await scene.unavailable("credentials")
        finally:
            await scene.redis.config_set("requirepass", "")
    assert all("hunter2" not in str(line) for line in scene.relay.logs())


async def test_its_access_list_forbids_scripts_for_a_while(scene: Scene) -> None:
    async with scene.trouble():
        await scene.redis.acl_setuser("default", enabled=True, nopass=True, commands=["-evalsha", "-script"])
        try:
            await scene.unavailable("credentials", write=True)
        finally:
            await scene.redis.acl_setuser("default", enabled=True, nopass=True, commands=["+evalsha", "+script"])


async def test_it_takes_no_more_clients(scene: Scene) -> None:
    async with scene.trouble():
        connected = len(await scene.redis.client_list())
        others = [open_client(scene.server.url) for _ in range(connected)]
        await scene.redis.config_set("maxclients", str(connected + 2))
        try:
            await scene.redis.client_kill_filter(_type="normal", skipme=True)
            await asyncio.gather(*(client.ping() for client in others), return_exceptions=True)  # they take the places
            await scene.unavailable("")
        finally:
            await asyncio.gather(*(client.aclose() for client in others))
            await scene.redis.config_set("maxclients", "10000")


GARBAGE = {
    "a subscription's document": ("relay:doc:subscription", "sub_garbage", "not json"),
    "a brand's document": ("relay:doc:brand", "garbage", "1 {}"),
    "another lane": ("relay:lane:{other}", None, "garbage"),
    "another lane's queue": ("relay:lane:{other}:ready", None, "garbage"),
    "another lane's records": ("relay:lane:{other}:dlv", None, "garbage"),
    "what polling found": ("relay:polls:openapitest:state", None, "garbage"),
    "the wake": ("relay:wake:deliver", None, "garbage"),
    "the clock": ("relay:clock", None, "garbage"),
    "RQ's queue": ("rq:queue:relay-deliver", None, "garbage"),
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_somebody_writes_garbage_into_it(scene: Scene, other: str, what: str) -> None:
    key, field, value = GARBAGE[what]
    key = key.format(other=other)
    async with scene.trouble():
        if field is None:
            await scene.redis.set(key, value)
        else:
            await scene.redis.hset(key, field, value)
            await scene.redis.incr(f"{key}:epoch")
        try:
            received = len(scene.relay.calls())
            await until(lambda: delivers(scene, received + 10), timeout_s=30)
            async with scene.relay.api() as client:
                for path in ("/v1/brands", "/v1/subscriptions", "/metrics"):
                    assert (await client.get(path)).status_code == httpx.codes.OK
        finally:
            if field is None:
                await scene.redis.delete(key)
            else:
                await scene.redis.hdel(key, field)
                await scene.redis.incr(f"{key}:epoch")


async def delivers(scene: Scene, count: int) -> bool:
    """Whether the partner has received so many requests."""
    return len(scene.relay.calls()) >= count


@pytest_asyncio.fixture(loop_scope="module")
async def other(scene: Scene) -> AsyncIterator[str]:
    """Another subscription."""
    async with scene.relay.api() as client:
        made = await client.post("/v1/subscriptions", json={"url": scene.relay.partner.url, "event_types": ["order.*"]})
        subscription: str = made.json()["id"]
        yield subscription
        await client.delete(f"/v1/subscriptions/{subscription}")


async def test_keys_of_rq_vanish_all_the_time(scene: Scene) -> None:
    async with scene.trouble():
        for _ in range(20):
            for key in await scene.redis.keys("rq:*"):
                await scene.redis.delete(key)
            await asyncio.sleep(0.1)
