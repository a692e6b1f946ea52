"""What one client may cost, and how the server starts and ends: B53, F76, F77, SIGTERM. Raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import httpx2 as httpx
import pytest

from relay.api import limits
from relay.api.serve import DONE, FAILED, UNUSABLE, serve
from tests.conftest import RedisServer
from tests.integration.apis import ADMIN, SUBSCRIPTION, settings_for

AUTHORIZED = f"host: x\r\nauthorization: Bearer {ADMIN}\r\n".encode()


@dataclass
class Served:
    url: str
    stop: asyncio.Event
    task: asyncio.Task[int]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    async def raw(self, sent: bytes, *, timeout_s: float = 5) -> bytes:
        """Send bytes, read until the server closes, or says nothing more for a moment."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(sent)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(timeout_s):
                while chunk := await reader.read(65_536):
                    received += chunk
                    if b"\r\n\r\n" in received:
                        break
        writer.close()
        return received


async def answers(client: httpx.AsyncClient, path: str) -> None:
    """Wait until a path is answered with 200."""
    async with asyncio.timeout(10):
        while True:
            if (await client.get(path)).status_code == 200:
                return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def serving(redis_url: str) -> AsyncIterator[Served]:
    stop, up = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(replace(settings_for(redis_url), port=0), stop=stop, up=up.set_result))
    await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
    served = Served(await up, stop, task)
    try:
        async with httpx.AsyncClient(base_url=served.url) as client:
            await answers(client, "/readyz")
        yield served
    finally:
        stop.set()
        assert await asyncio.wait_for(task, 15) == DONE


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


NOT_HTTP = (
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nhost: x\r\nbad name: y\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nhost: x\r\nx-a: b\r\n c\r\n\r\n", 400),
    (b"POST /v1/brands HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400),
    (b"POST /v1/brands HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\nhello", 400),
    (b"POST /v1/brands HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /v1/brands HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    (b"POST /v1/brands HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
    (b"GET /livez HTTP/1.1\r\nhost: x\r\n" + b"".join(b"x-%d: a\r\n" % n for n in range(1000)) + b"\r\n", 431),
    (b"get /v1/brands HTTP/1.1\r\nhost: x\r\n\r\n", 405),
    (b"CONNECT relay:80 HTTP/1.1\r\nhost: x\r\n\r\n", 404),
    (b"GET http://evil.example/livez HTTP/1.1\r\nhost: x\r\n\r\n", 404),
    (b"GET /livez HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", 200),
)  # fmt: skip
"""What is sent, and the status it is answered with."""


async def test_what_is_not_plain_http_is_refused_as_a_problem(redis_url: str) -> None:
    async with serving(redis_url) as served:
        for sent, status in NOT_HTTP:
            answer = await served.raw(sent)
            assert status_of(answer) == status, (sent[:100], answer)
            if status in (400, 431):
                assert b"application/problem+json" in answer
                assert b"connection: close" in answer


async def test_head_comes_without_a_body_on_the_wire(redis_url: str) -> None:
    async with serving(redis_url) as served:
        answer = await served.raw(b"HEAD /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert status_of(answer) == 200
        assert answer.endswith(b"\r\n\r\n")


async def test_slow_clients_are_ended_and_others_are_served_meanwhile(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUEST_DEADLINE_S", 1.0)
    async with serving(redis_url) as served:

        async def drip(first: bytes, byte: bytes) -> None:
            """Send a byte now and then, for as long as the server bears with it."""
            reader, writer = await asyncio.open_connection(*served.address)
            with contextlib.suppress(ConnectionError):
                writer.write(first)
                while True:
                    try:
                        async with asyncio.timeout(0.1):
                            if await reader.read(1024) == b"":
                                break
                    except TimeoutError:
                        writer.write(byte)
            writer.close()

        post = (
            b"POST /v1/brands HTTP/1.1\r\n"
            + AUTHORIZED
            + b"content-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        )
        drips = [
            asyncio.create_task(drip(b"", b"")),
            asyncio.create_task(drip(b"GET /livez HTTP/1.1\r\n", b"a")),
            asyncio.create_task(drip(post, b" ")),
            asyncio.create_task(drip(b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n", b" ")),
        ]
        await asyncio.sleep(0.1)
        assert status_of(await served.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")) == 200
        await asyncio.gather(*drips)


async def test_a_client_that_does_not_read_is_ended(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WRITE_DEADLINE_S", 0.5)
    async with serving(redis_url) as served:
        reader, writer = await asyncio.open_connection(*served.address, limit=1024)
        writer.write(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 2000)
        await asyncio.sleep(3)
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while await reader.read(65_536):
                    continue
        assert reader.at_eof() or reader.exception() is not None
        writer.close()


async def test_beyond_the_cap_idle_connections_make_room(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 20)
    async with serving(redis_url) as served:
        hoard = [await asyncio.open_connection(*served.address) for _ in range(40)]
        for _ in range(5):
            assert status_of(await served.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")) == 200
        for _, writer in hoard:
            writer.close()


async def test_a_huge_body_is_refused_at_once_and_kept_nowhere(redis_url: str) -> None:
    async with serving(redis_url) as served:
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        head = b"POST /v1/brands HTTP/1.1\r\n" + AUTHORIZED + b"content-type: application/json\r\n"
        declared = await served.raw(head + b"content-length: 314572800\r\n\r\n" + b"x" * 65_536)
        assert status_of(declared) == 413
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(head + b"transfer-encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 300 * 1_048_576 and not reader.at_eof():
                writer.write(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
                await writer.drain()
                sent += 0x100000
                if sent >= 4 * 0x100000:
                    break
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = await reader.read(1000)
        assert status_of(answer) in (0, 413)  # 0: the connection was closed before the answer could be read
        writer.close()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024


async def test_it_listens_before_redis_is_there_and_serves_as_soon_as_it_is(own_redis: RedisServer) -> None:
    own_redis.kill()
    stop, up = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(replace(settings_for(own_redis.url), port=0), stop=stop, up=up.set_result))
    async with httpx.AsyncClient(base_url=await up, headers={"authorization": f"Bearer {ADMIN}"}) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/v1/brands")).headers["retry-after"]
        assert "relay_redis_up 0.0" in (await client.get("/metrics")).text
        own_redis.start()
        await answers(client, "/v1/brands")
    stop.set()
    assert await task == DONE


async def test_a_redis_that_evicts_is_refused_and_a_taken_address_is_told(own_redis: RedisServer) -> None:
    async with serving(own_redis.url) as served:
        taken = replace(settings_for(own_redis.url), port=served.address[1])
        assert await serve(taken, stop=asyncio.Event()) == FAILED
    own_redis.stop()
    own_redis.start("--maxmemory-policy", "allkeys-lru")
    assert await serve(replace(settings_for(own_redis.url), port=0), stop=asyncio.Event()) == UNUSABLE


async def test_told_to_stop_it_ends_what_it_began_and_lets_those_go_who_wait(redis_url: str) -> None:
    async with serving(redis_url) as served:
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=90) as client:
            made = (await client.post("/v1/subscriptions", json={**SUBSCRIPTION, "url": None})).json()
            waiting = asyncio.create_task(client.get(f"/v1/subscriptions/{made['id']}/events?wait=60s"))
            await asyncio.sleep(0.3)
            served.stop.set()
            async with asyncio.timeout(30):  # half of what it would wait for nothing
                assert (await waiting).status_code == 200
                assert await served.task == DONE


async def test_sigterm_ends_the_process_with_exit_code_0(redis_url: str) -> None:
    script = (
        "import asyncio, os, sys; from dataclasses import replace; from relay.api.serve import serve;"
        "from relay.settings import load_settings, Role;"
        "settings = replace(load_settings(os.environ, role=Role.API), port=0);"
        "sys.exit(asyncio.run(serve(settings, up=lambda url: print(url, flush=True))))"
    )
    environ = {
        "RELAY_REDIS_URL": redis_url,
        "RELAY_ADMIN_TOKEN": ADMIN,
        "RELAY_SECRET_KEYS": settings_for(redis_url).secret_keys[0],
        "PATH": "/usr/bin:/bin",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
    async with httpx.AsyncClient(base_url=url) as client:
        await answers(client, "/readyz")
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
