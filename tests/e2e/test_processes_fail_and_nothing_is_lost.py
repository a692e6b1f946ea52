"""Real processes under traffic: replaced, killed, starved of descriptors, unread, far from Redis, wrong in time."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import select
import signal
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from standardwebhooks import Webhook

from tests.conftest import RedisServer
from tests.e2e.installations import HEALED_S, ROLES, Figures, Installation, Traffic, installation
from tests.e2e.rigs import until
from tests.integration.relays import SECRET, Call, Partner, ok, partner

pytestmark = pytest.mark.asyncio(loop_scope="module")

PER_S = 20.0
LEASE_S = 20.0
"""What is taken over from a process that gave nothing back is late by that much; less is a proper handing over."""

SPARE = 4
"""File descriptors beside those in use."""

PIPE_BYTES = 4096
LATE_S = 0.15
"""How long what is sent to Redis, and what comes back, takes on its way."""

DELAYS_S = (0.5, 1.0, 2.0, 3.0, 5.0)
"""The beginning of the installation's retry schedule."""


@dataclass
class Scene:
    """An installation and its Redis, for all tests of this file."""

    server: RedisServer
    relay: Installation
    longest_s: float = 0.0
    figures: Figures = field(default_factory=lambda: Figures(0, 0, 0))

    @contextlib.asynccontextmanager
    async def trouble(self, *, per_s: float = PER_S, clocks_differ: bool = False) -> AsyncIterator[None]:
        """Traffic before, during and after what is done; then quiet, and the verdict."""
        began = len(self.relay.partner.calls)
        async with Traffic(self.relay.clopos, per_s=per_s) as traffic:
            await self.relay.partner.got(began + 10)
            yield
            await self.more(10)
        await self.relay.quiet()
        self.figures = self.relay.judge(since=began, clocks_differ=clocks_differ)
        self.longest_s = traffic.delays_s(self.relay.calls(began))[-1]
        assert all(process.popen.poll() is None for process in self.relay.processes.values()), self.relay.tail()
        print(  # noqa: T201  the figures are what some of these tests are for
            f"events {self.figures.events}, lost 0, out of order 0, told again {self.figures.repeated}, of these in an "
            f"attempt that nobody recorded {self.figures.unrecorded}, longest delay {self.longest_s:.1f} s"
        )

    @contextlib.asynccontextmanager
    async def another(self, endpoint: Partner, **subscription: Any) -> AsyncIterator[None]:
        """Another subscription; in the end it has got all that it was to get."""
        fields = {"url": endpoint.url, "event_types": ["order.created"], **subscription}
        async with self.relay.api() as client:
            made = (await client.post("/v1/subscriptions", json=fields)).json()["id"]
            yield

            async def nothing_waits() -> bool:
                return bool((await client.get(f"/v1/subscriptions/{made}")).json()["state"]["pending"] == 0)

            await until(nothing_waits, timeout_s=HEALED_S)
            await client.delete(f"/v1/subscriptions/{made}")

    async def more(self, count: int) -> None:
        """Wait until the partner has received so many more requests."""
        await self.relay.partner.got(len(self.relay.partner.calls) + count, timeout_s=HEALED_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="scene")
async def _scene() -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="relay-e2e-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            async with installation(server.url, Path(folder)) as relay:
                yield Scene(server, relay)
        finally:
            server.kill()


async def slowly(_call: Call) -> web.Response:
    """Take a moment, so that something is always under way."""
    await asyncio.sleep(0.2)
    return web.Response(status=204)


async def test_every_role_is_replaced_under_load_and_nothing_is_lost_or_comes_late(scene: Scene) -> None:
    scene.relay.partner.answer = slowly
    try:
        async with scene.trouble():
            for role in ROLES:
                assert await scene.relay.replace(role) == 0
                await scene.more(10)
    finally:
        scene.relay.partner.answer = ok
    assert scene.figures.unrecorded == 0
    assert scene.longest_s < LEASE_S


async def test_a_secret_is_rotated_under_load_and_holders_of_either_verify(scene: Scene) -> None:
    began = len(scene.relay.partner.calls)
    async with scene.trouble():
        async with scene.relay.api() as client:
            path = f"/v1/subscriptions/{scene.relay.subscription}/rotate-secret"
            rotated = await client.post(path, json={"overlap": "48h"})  # the next test sets clocks a day ahead
        known = len(scene.relay.partner.calls)
        await scene.more(30)
    for call in scene.relay.calls(began):
        Webhook(SECRET).verify(call.body, call.headers)
    for call in scene.relay.calls(known + 20):  # what was under way then had been signed
        Webhook(rotated.json()["secret"]).verify(call.body, call.headers)


def highest_descriptor(pid: int) -> int:
    return max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir())


async def test_with_few_file_descriptors_it_waits_and_does_not_crash(scene: Scene) -> None:
    pids = [scene.relay.processes[role].popen.pid for role in ("api", "poll", "deliver")]
    _, hard = resource.prlimit(pids[0], resource.RLIMIT_NOFILE)
    async with partner(slowly) as slow, scene.another(slow, max_concurrency=100), scene.trouble():
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest_descriptor(pid) + 1 + SPARE, hard))
        for _ in range(200):
            scene.relay.clopos.world.place("openapitest", 1)
        await slow.got(200, timeout_s=HEALED_S)
        assert any("file descriptors" in str(line.get("error")) for line in scene.relay.logged("attempt"))
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


async def test_a_log_that_nobody_reads_holds_nobody_up(scene: Scene) -> None:
    unread, end = os.pipe()
    try:
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        async with scene.trouble():
            for role in ("poll", "deliver"):
                await scene.relay.replace(role, unread=end)
            await scene.more(100)
            assert select.select([], [end], [], 0)[1] == []  # it is full
            for role in ("poll", "deliver"):
                assert await scene.relay.replace(role) == 0
    finally:
        os.close(unread)
        os.close(end)
    assert scene.longest_s < LEASE_S


async def test_a_redis_far_away_makes_it_slower_and_nothing_twice(scene: Scene) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while sent := await reader.read(1 << 20):
                await asyncio.sleep(LATE_S)
                writer.write(sent)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_unix_connection(str(scene.server.socket))
        await asyncio.gather(carry(reader, requests), carry(answers, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as far:
        url = f"redis://127.0.0.1:{far.sockets[0].getsockname()[1]}/0?protocol=2"
        async with scene.trouble(per_s=5.0):
            for role in ("poll", "deliver"):
                await scene.relay.replace(role, environ={"RELAY_REDIS_URL": url})
            await scene.more(20)
            for role in ("poll", "deliver"):
                assert await scene.relay.replace(role) == 0
    assert scene.figures.unrecorded == 0


def clock(file: Path) -> dict[str, str]:
    """What gives a process the clock that a file tells."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("no libfaketime on this machine")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def test_clocks_that_differ_and_jump_move_no_lease_and_no_retry(scene: Scene, tmp_path: Path) -> None:
    ahead, behind = tmp_path / "ahead", tmp_path / "behind"
    ahead.write_text("+10m\n")
    behind.write_text("-10m\n")

    async def refuse(_call: Call) -> web.Response:
        return web.Response(status=500)

    async with partner(refuse) as failing, scene.another(failing), scene.trouble(clocks_differ=True):
        (second,) = scene.relay.start("deliver-2", environ=clock(behind))
        await scene.relay.at_work(second)
        for role, file in (("deliver", ahead), ("poll", behind), ("scheduler", ahead)):
            await scene.relay.replace(role, environ=clock(file))
        await scene.more(20)
        await failing.got(6)
        async with scene.relay.api() as client:
            metrics = (await client.get("/metrics")).text.splitlines()
            (skew,) = [line for line in metrics if line.startswith("relay_clock_skew_seconds")]
        assert float(skew.split()[1]) > 500
        ahead.write_text("+1d\n")
        behind.write_text("-1h\n")
        await scene.more(40)
        for role in ("scheduler", "poll", "deliver"):
            assert await scene.relay.replace(role) == 0
        await scene.relay.stop("deliver-2")
        failing.answer = ok
    assert scene.figures.unrecorded == 0
    attempts: dict[str, list[float]] = defaultdict(list)
    for call in failing.calls:
        attempts[call.id].append(call.at)
    early = [
        (number, after - before)
        for times in attempts.values()
        for number, ((before, after), delay_s) in enumerate(zip(pairwise(times[:-1]), DELAYS_S, strict=False), start=2)
        if after - before < delay_s * 0.9
    ]
    assert not early


async def test_all_are_killed_at_once_and_start_again(scene: Scene) -> None:
    async with scene.trouble():
        for process in scene.relay.processes.values():
            process.send(signal.SIGKILL)
        for process in scene.relay.processes.values():
            await process.ended()
        scene.relay.start(*ROLES)
        await scene.relay.ready()
