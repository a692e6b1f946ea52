from pathlib import Path

import pytest
from redis import Redis as SyncRedis

from tests.conftest import RedisServer
from tests.e2e.machines import machine


@pytest.mark.parametrize("words", [["up"], ["api"], ["scheduler"], ["worker", "--queues", "poll"]])
def test_a_redis_that_evicts_is_refused_with_what_to_set(
    words: list[str], own_redis: RedisServer, tmp_path: Path
) -> None:
    with SyncRedis.from_url(own_redis.url) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
    with machine() as relay:
        keys = {"RELAY_SECRET_KEYS": "A" * 43 + "=", "RELAY_ADMIN_TOKEN": "t" * 32}
        done = relay.run(*words, folder=tmp_path, RELAY_REDIS_URL=own_redis.url, **keys)
        assert done.returncode == 2, done.stderr
        assert "maxmemory-policy noeviction" in done.stderr
        assert "Traceback" not in done.stderr
        assert relay.processes() == {}
