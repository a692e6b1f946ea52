"""A Redis that would lose events is refused, or warned of; one that tells nothing of itself is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.store.connection import RedisUnusableError, check_server
from tests.conftest import RedisServer


@asynccontextmanager
async def says_it_is(info: str) -> AsyncIterator[Any]:
    """A client of something that answers as a server of this kind."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2].upper())
            text = info.encode()
            writer.write(b"$%d\r\n%b\r\n" % (len(text), text) if words[0] == b"INFO" else b"+OK\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = Redis(port=server.sockets[0].getsockname()[1], protocol=2)
        try:
            yield client
        finally:
            await client.aclose()


@pytest.mark.parametrize("info", ["redis_version:6.2.14\r\n", "redis_version:5.0.0\r\nrun_id:x\r\n"])
async def test_one_that_is_too_old_is_refused_with_what_is_needed(info: str) -> None:
    async with says_it_is(info) as client:
        with pytest.raises(RedisUnusableError, match=r"redis [56]\.\d\.\d+ is too old: the relay needs Redis 7\.0"):
            await check_server(client)


async def test_one_that_evicts_is_refused_with_what_to_set(own_redis: RedisServer) -> None:
    async with Redis.from_url(own_redis.url) as client:
        assert (await check_server(client)).warnings == ()
        await client.config_set("maxmemory-policy", "volatile-lru")
        with pytest.raises(RedisUnusableError, match="maxmemory-policy noeviction"):
            await check_server(client)


async def test_one_without_an_append_only_file_is_warned_of(own_redis: RedisServer) -> None:
    async with Redis.from_url(own_redis.url) as client:
        await client.config_set("appendonly", "no")
        (warning,) = (await check_server(client)).warnings
    assert "a restart loses events; set `appendonly yes`" in warning


async def test_one_that_does_not_tell_its_settings_is_believed(own_redis: RedisServer) -> None:
    async with Redis.from_url(own_redis.url) as client:
        await client.acl_setuser("default", enabled=True, nopass=True, commands=["-config"])
        facts = await check_server(client)
    assert facts.warnings == ()
