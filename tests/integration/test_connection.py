"""How Redis is opened: over TLS, through sentinels, and away from a server that was demoted."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from relay.store.away import explain
from relay.store.connection import Redis, RedisError, Timeouts, open_redis, open_sync_redis
from tests.conftest import RedisServer

QUICK = Timeouts(connect_s=2.0, socket_s=2.0, pool_s=2.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """One whom nobody else knows, and its certificate as a file."""
    ca = trustme.CA()
    file = tmp_path_factory.mktemp("ca") / "ca.crt"
    ca.cert_pem.write_to_path(str(file))
    return ca, file


@contextlib.asynccontextmanager
async def tls_before(unix_socket: Path, ca: trustme.CA, *, name: str = "localhost") -> AsyncIterator[int]:
    """TLS before a server that knows none; the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name).configure_cert(context)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(str(unix_socket))
        try:
            await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
        finally:
            there_writer.transport.abort()

    async with listening(serve, context) as port:
        yield port


@contextlib.asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    context: ssl.SSLContext | None,
) -> AsyncIterator[int]:
    """A server that ends whatever it serves with itself; its port."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda _: writer.transport.abort())

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class StandIn:
    """Answers as a sentinel does who knows one primary, and notes what it is asked."""

    def __init__(self, primary: tuple[str, int]) -> None:
        self.primary = primary
        self.asked: list[list[str]] = []
        self.port = 0

    @contextlib.asynccontextmanager
    async def up(self, ca: trustme.CA | None = None) -> AsyncIterator[int]:
        """Listen, over TLS where there is an authority."""
        context = None
        if ca is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            ca.issue_cert("localhost").configure_cert(context)
        async with listening(self._serve, context) as port:
            yield port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2].decode())
                self.asked.append(words)
                writer.write(self._masters() if words[0] == "SENTINEL" else b"+OK\r\n")
                await writer.drain()

    def _masters(self) -> bytes:
        host, port = self.primary
        facts = {"name": "relay", "ip": host, "port": str(port), "flags": "master", "num-other-sentinels": "2"}
        words = [word for pair in facts.items() for word in pair]
        return b"*1\r\n*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w.encode()) for w in words)


async def test_tls_to_a_server_whose_authority_is_named_in_the_url(
    own_redis: RedisServer, authority: tuple[trustme.CA, Path]
) -> None:
    ca, file = authority
    async with tls_before(own_redis.socket, ca) as port:
        redis = open_redis(f"rediss://localhost:{port}/0?ssl_ca_certs={file}", timeouts=QUICK)
        assert await redis.ping()
        await redis.aclose()


@pytest.mark.parametrize("name", ["localhost", "elsewhere.example"])
async def test_an_authority_nobody_knows_and_another_name_are_refused(
    own_redis: RedisServer, authority: tuple[trustme.CA, Path], name: str
) -> None:
    ca, file = authority
    known = f"?ssl_ca_certs={file}" if name != "localhost" else ""
    async with tls_before(own_redis.socket, ca, name=name) as port:
        redis = open_redis(f"rediss://:hunter2@localhost:{port}/0{known}", timeouts=QUICK)
        with pytest.raises(RedisError) as refused:
            await redis.ping()
        assert "hunter2" not in str(refused.value)
        await redis.aclose()


async def test_tls_and_credentials_of_sentinels_and_servers(
    own_redis: RedisServer, authority: tuple[trustme.CA, Path]
) -> None:
    ca, file = authority
    admin = Redis.from_url(own_redis.url)
    await admin.acl_setuser("app", enabled=True, passwords=["+of the server"], commands=["+@all"], keys=["*"])
    await admin.aclose()
    async with tls_before(own_redis.socket, ca) as port:
        sentinel = StandIn(("localhost", port))
        async with sentinel.up(ca) as sentinel_port:
            url = (
                f"redis+sentinel://app:of%20the%20server@localhost:{sentinel_port}/relay/0"
                f"?ssl=true&ssl_ca_certs={file}&sentinel_username=watch&sentinel_password=of%20the%20sentinels"
            )
            redis = open_redis(url, timeouts=QUICK)
            assert await redis.acl_whoami() == "app"
            await redis.aclose()
            sync = await asyncio.to_thread(open_sync_redis, url, timeouts=QUICK)
            assert await asyncio.to_thread(sync.acl_whoami) == "app"
            await asyncio.to_thread(sync.close)
    assert ["AUTH", "watch", "of the sentinels"] in sentinel.asked
    assert sum(words[:2] == ["SENTINEL", "MASTERS"] for words in sentinel.asked) == 2


async def test_a_client_follows_what_the_sentinels_say(own_redis: RedisServer) -> None:
    host_port = await _tcp(own_redis)
    sentinel = StandIn(("127.0.0.1", 1))  # nobody is there
    async with sentinel.up() as sentinel_port:
        redis = open_redis(f"redis+sentinel://127.0.0.1:{sentinel_port}/relay/0", timeouts=QUICK)
        with pytest.raises(RedisError):
            await redis.ping()
        sentinel.primary = ("127.0.0.1", host_port)
        assert await redis.ping()
        await redis.aclose()


@pytest.mark.parametrize("sentinels", [False, True])
async def test_a_connection_to_a_server_that_was_demoted_is_left_and_made_anew(
    own_redis: RedisServer, *, sentinels: bool
) -> None:
    port = await _tcp(own_redis)
    sentinel = StandIn(("127.0.0.1", port))
    admin: Any = Redis.from_url(own_redis.url)
    async with sentinel.up() as sentinel_port:
        url = f"redis+sentinel://127.0.0.1:{sentinel_port}/relay/0" if sentinels else f"redis://127.0.0.1:{port}/0"
        redis = open_redis(url, timeouts=QUICK)
        sync = open_sync_redis(url, timeouts=QUICK)
        before = await redis.client_id()
        sync_before = await asyncio.to_thread(sync.client_id)
        await admin.replicaof("127.0.0.1", "1")
        with pytest.raises(RedisError) as refused:
            await redis.set("x", "1")
        found = explain(refused.value)
        assert found is not None
        assert found.reason in ("readonly", "away")
        with pytest.raises(RedisError):
            await asyncio.to_thread(sync.set, "x", "1")
        await admin.replicaof("NO", "ONE")
        assert await redis.set("x", "1")
        assert await asyncio.to_thread(sync.set, "x", "1")
        assert await redis.client_id() != before
        assert await asyncio.to_thread(sync.client_id) != sync_before
        await redis.aclose()
        await asyncio.to_thread(sync.close)
    await admin.aclose()


async def test_a_pop_that_is_cancelled_at_whatever_moment_ends(redis_url: str) -> None:
    for moments in range(60):  # the connection is made, said hello over, and the command sent and waited for meanwhile
        redis = open_redis(redis_url, timeouts=QUICK)
        pop = asyncio.create_task(cast("Any", redis.blpop)(["nothing"], timeout=1.5))
        for _ in range(moments):
            await asyncio.sleep(0)
        pop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pop
        await redis.aclose()


async def test_callers_beyond_the_pool_wait_for_a_free_connection_also_with_sentinels(own_redis: RedisServer) -> None:
    sentinel = StandIn(("127.0.0.1", await _tcp(own_redis)))
    async with sentinel.up() as sentinel_port:
        redis = open_redis(f"redis+sentinel://127.0.0.1:{sentinel_port}/relay/0", timeouts=QUICK, max_connections=2)
        assert await asyncio.gather(*(redis.ping() for _ in range(50))) == [True] * 50
        assert len(await redis.client_list()) <= 2
        await redis.aclose()


async def _tcp(server: RedisServer) -> int:
    """Have it listen on a port, too."""
    admin: Any = Redis.from_url(server.url)
    reserved = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port: int = reserved.sockets[0].getsockname()[1]
    reserved.close()
    await reserved.wait_closed()
    await admin.config_set("port", port)
    await admin.aclose()
    return port
