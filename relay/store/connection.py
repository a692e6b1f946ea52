"""How is Redis opened, and which server is good enough?"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis import BlockingConnectionPool as SyncBlockingConnectionPool
from redis import Redis as SyncRedis
from redis import Sentinel as SyncSentinel
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry as SyncRetry

__all__ = [
    "OLDEST",
    "Redis",
    "RedisError",
    "RedisUnusableError",
    "ServerFacts",
    "SyncRedis",
    "Timeouts",
    "check_server",
    "open_redis",
    "open_sync_redis",
]
"""What is above the store takes the client's type and its errors from here, and speaks no Redis itself."""

OLDEST = (7, 0)
"""The first version whose scripts know ``#!lua``."""


class RedisUnusableError(Exception):
    """The server answers but must not be used; the message says what to set."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of one client.

    Attributes:
        connect_s: for connecting, the handshake included.
        socket_s: for every reply; must exceed the wait of a blocking pop.
        pool_s: for a free connection of the pool.
    """

    connect_s: float = 3.0
    socket_s: float = 8.0
    pool_s: float = 8.0


def open_redis(url: str, *, timeouts: Timeouts | None = None, max_connections: int = 64) -> Redis:
    """Open a client that never repeats a command by itself.

    redis-py repeats a command whose reply was lost up to ten times; here every write is a compare-and-set that its
    caller repeats knowingly, so the client must not.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or
            ``redis+sentinel://[[user]:password@]host:port,host:port/NAME/DB``.
        timeouts: deadlines; the default suits workers.
        max_connections: callers beyond that many wait for a free one.

    Raises:
        ValueError: the address is of no known form (the message never holds the password).
    """
    limits = timeouts or Timeouts()
    options = {**_options(limits), "retry": Retry(NoBackoff(), 0)}
    if urlsplit(url).scheme == "redis+sentinel":
        primary = _primary(url)
        sentinel = Sentinel(list(primary.nodes), sentinel_kwargs=_sentinel_options(limits))
        client: Redis = sentinel.master_for(primary.name, **primary.sign_in, **options)
        return client
    _check_scheme(url)
    pool = BlockingConnectionPool.from_url(url, max_connections=max_connections, timeout=limits.pool_s, **options)
    return Redis.from_pool(pool)


def open_sync_redis(url: str, *, timeouts: Timeouts | None = None, max_connections: int = 8) -> SyncRedis:
    """Open a client without asyncio, for RQ, which knows no other; like ``open_redis`` in all else."""
    limits = timeouts or Timeouts()
    options = {**_options(limits), "retry": SyncRetry(NoBackoff(), 0)}
    if urlsplit(url).scheme == "redis+sentinel":
        primary = _primary(url)
        sentinel = SyncSentinel(list(primary.nodes), sentinel_kwargs=_sentinel_options(limits))
        client: SyncRedis = sentinel.master_for(primary.name, **primary.sign_in, **options)
        return client
    _check_scheme(url)
    pool = SyncBlockingConnectionPool.from_url(url, max_connections=max_connections, timeout=limits.pool_s, **options)
    return SyncRedis.from_pool(pool)


def _options(limits: Timeouts) -> dict[str, Any]:
    return {"socket_connect_timeout": limits.connect_s, "socket_timeout": limits.socket_s, "protocol": 2}


def _sentinel_options(limits: Timeouts) -> dict[str, Any]:
    return {"socket_connect_timeout": limits.connect_s, "socket_timeout": limits.socket_s}


def _check_scheme(url: str) -> None:
    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must start with redis://, rediss://, unix:// or redis+sentinel://")


@dataclass(frozen=True, slots=True)
class _Primary:
    """What a ``redis+sentinel://`` address says."""

    nodes: tuple[tuple[str, int], ...]
    name: str
    sign_in: dict[str, Any]


def _primary(url: str) -> _Primary:
    credentials, _, rest = url.removeprefix("redis+sentinel://").rpartition("@")
    hosts, _, path = rest.partition("/")
    name, _, db = path.partition("/")
    if not hosts or not name:
        raise ValueError("redis+sentinel:// needs hosts and a name: redis+sentinel://host:26379,host:26379/NAME/0")
    user, _, password = credentials.partition(":")
    nodes = []
    for node in hosts.split(","):
        host, _, port = node.rpartition(":") if ":" in node else (node, "", "26379")
        nodes.append((host or "127.0.0.1", int(port or 26379)))
    sign_in = {"db": int(db or 0), "username": unquote(user) or None, "password": unquote(password) or None}
    return _Primary(tuple(nodes), name, sign_in)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a usable server said of itself.

    Attributes:
        flavour: ``redis`` or ``valkey``.
        warnings: sentences for the log; the server may be used all the same.
    """

    flavour: str
    version: tuple[int, ...]
    run_id: str
    warnings: tuple[str, ...]


async def check_server(redis: Redis) -> ServerFacts:
    """Refuse a server that is too old or that evicts; warn of one without an append-only file.

    Raises:
        RedisUnusableError: with the sentence that says what to set.
        redis.exceptions.RedisError: it could not be asked.
    """
    info = await redis.info("server")
    flavour = "valkey" if "valkey_version" in info else "redis"
    version = tuple(int(part) for part in str(info.get("valkey_version", info["redis_version"])).split(".")[:3])
    if version < OLDEST:
        raise RedisUnusableError(
            f"{flavour} {'.'.join(map(str, version))} is too old: the relay needs Redis 7.0 or later, or Valkey"
        )
    policy = await _config(redis, "maxmemory-policy")
    if policy is not None and policy != "noeviction":
        raise RedisUnusableError(
            f"Redis evicts ({policy}) and would lose events: set `maxmemory-policy noeviction` in its configuration"
        )
    warnings = []
    if await _config(redis, "appendonly") == "no":
        warnings.append("Redis keeps no append-only file: a restart loses events; set `appendonly yes`")
    return ServerFacts(flavour, version, str(info.get("run_id", "")), tuple(warnings))


async def _config(redis: Redis, name: str) -> str | None:
    """One setting, or None where a managed server hides its configuration."""
    try:
        found = await redis.config_get(name)
    except ResponseError:
        return None
    value = found.get(name)
    return value.decode() if isinstance(value, bytes) else value
