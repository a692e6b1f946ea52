"""How is Redis opened, and which server is good enough?"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from redis import BlockingConnectionPool as SyncBlockingConnectionPool
from redis import Connection as SyncConnection
from redis import ConnectionPool as SyncConnectionPool
from redis import Redis as SyncRedis
from redis import SSLConnection as SyncSSLConnection
from redis import UnixDomainSocketConnection as SyncUnixDomainSocketConnection
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.connection import parse_url as sync_parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry as SyncRetry
from redis.sentinel import Sentinel as SyncSentinel
from redis.sentinel import SentinelConnectionPool as SyncSentinelConnectionPool

from relay.core.redis_urls import Sentinels, check_redis_url, parse_sentinels

__all__ = [
    "OLDEST",
    "Redis",
    "RedisError",
    "RedisUnusableError",
    "ResponseError",
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


SENTINEL_S: Final = 3.0
"""Longest wait for one sentinel: there are others to ask."""


def open_redis(url: str, *, timeouts: Timeouts | None = None, max_connections: int = 64) -> Redis:
    """Open a client that never repeats a command by itself.

    redis-py repeats a command whose reply was lost up to ten times; here every write is a compare-and-set that its
    caller repeats knowingly, so the client must not. A connection whose server says READONLY is dropped: the server
    was demoted, and the next connection finds the primary, by its name or through the sentinels.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://``, as ``core.redis_urls`` reads it.
        timeouts: deadlines; the default suits workers.
        max_connections: callers beyond that many wait for a free one.

    Raises:
        ValueError: the address is of no known form (the message never holds the password).
    """
    limits = timeouts or Timeouts()
    options = {**_options(limits), "max_connections": max_connections, "retry": Retry(NoBackoff(), 0)}
    sentinels = parse_sentinels(url)
    if sentinels is not None:
        ask: Any = _Sentinels  # redis-py has no types there
        connect: Any = _SentinelPool
        nodes = ask(list(sentinels.nodes), sentinel_kwargs=_of_sentinels(sentinels, limits))
        found: Any = _FoundTlsConnection if sentinels.tls else _FoundConnection
        options["connection_class"] = found
        return Redis.from_pool(connect(sentinels.name, nodes, **options, **_of_servers(sentinels)))
    check_redis_url(url)
    classes = {"unix": _UnixConnection, "rediss": _TlsConnection}
    options = {**options, **parse_url(url), "connection_class": classes.get(urlsplit(url).scheme, _Connection)}
    return Redis.from_pool(BlockingConnectionPool(**options))


def open_sync_redis(url: str, *, timeouts: Timeouts | None = None, max_connections: int = 8) -> SyncRedis:
    """Open a client without asyncio, for RQ, which knows no other; like ``open_redis`` in all else."""
    limits = timeouts or Timeouts()
    options = {**_options(limits), "max_connections": max_connections, "retry": SyncRetry(NoBackoff(), 0)}
    sentinels = parse_sentinels(url)
    pool: SyncConnectionPool
    if sentinels is not None:
        ask: Any = _SyncSentinels  # redis-py has no types there
        connect: Any = _SyncSentinelPool
        nodes = ask(list(sentinels.nodes), sentinel_kwargs=_of_sentinels(sentinels, limits))
        pool = connect(sentinels.name, nodes, **options, **_of_servers(sentinels))
    else:
        check_redis_url(url)
        classes = {"unix": _SyncUnixConnection, "rediss": _SyncTlsConnection}
        chosen = classes.get(urlsplit(url).scheme, _SyncConnection)
        pool = SyncBlockingConnectionPool(**{**options, **sync_parse_url(url), "connection_class": chosen})
    return SyncRedis.from_pool(pool)


def _options(limits: Timeouts) -> dict[str, Any]:
    return {
        "socket_connect_timeout": limits.connect_s,
        "socket_timeout": limits.socket_s,
        "timeout": limits.pool_s,
        "protocol": 2,
    }


def _of_servers(sentinels: Sentinels) -> dict[str, Any]:
    sign_in = {"db": sentinels.db, "username": sentinels.username, "password": sentinels.password}
    return {**sign_in, "ssl": True, **dict(sentinels.tls_options)} if sentinels.tls else sign_in


def _of_sentinels(sentinels: Sentinels, limits: Timeouts) -> dict[str, Any]:
    options = {
        "socket_connect_timeout": min(limits.connect_s, SENTINEL_S),
        "socket_timeout": min(limits.socket_s, SENTINEL_S),
        "username": sentinels.sentinel_username,
        "password": sentinels.sentinel_password,
        "protocol": 2,
    }
    return {**options, "ssl": True, **dict(sentinels.tls_options)} if sentinels.sentinel_tls else options


class _LeavesReplicas:
    """A connection that ends when its server turns out to be a replica."""

    async def read_response(self, *args: Any, **options: Any) -> Any:
        parent: Any = super()
        try:
            return await parent.read_response(*args, **options)
        except ReadOnlyError:
            await self.disconnect()  # type: ignore[attr-defined]  # the class it is mixed into has it
            raise


class _MayBeCancelled:
    """A connection whose send hears a cancellation.

    redis-py sends under ``asyncio.wait_for``, which before Python 3.12 loses a cancellation that comes in the moment
    the send is done: whoever cancelled a blocking pop then waits for it as long as it blocks.
    """

    async def send_packed_command(self, command: str | bytes | Iterable[bytes], check_health: bool = True) -> None:  # noqa: FBT001, FBT002
        connection: Any = self  # one of redis-py's, by the class it is mixed into
        if not connection.is_connected:
            await connection.connect_check_health(check_health=False)
        if check_health:
            await connection.check_health()
        packed = command.encode() if isinstance(command, str) else command
        try:
            async with asyncio.timeout(connection.socket_timeout):
                connection._writer.writelines([packed] if isinstance(packed, bytes) else packed)  # noqa: SLF001
                await connection._writer.drain()  # noqa: SLF001
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise RedisTimeoutError("Timeout writing to socket") from None
        except OSError as error:
            await connection.disconnect(nowait=True)
            raise RedisConnectionError(f"{error} while writing to socket") from error
        except BaseException:
            await connection.disconnect(nowait=True)  # half a command may have been sent
            raise


class _Connection(_LeavesReplicas, _MayBeCancelled, Connection):
    pass


class _TlsConnection(_LeavesReplicas, _MayBeCancelled, SSLConnection):
    pass


class _UnixConnection(_LeavesReplicas, _MayBeCancelled, UnixDomainSocketConnection):
    pass


class _FoundConnection(_MayBeCancelled, SentinelManagedConnection):
    pass


class _FoundTlsConnection(_MayBeCancelled, SentinelManagedSSLConnection):
    pass


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to whatever server the sentinels name; callers wait for a free one."""


class _Sentinels(Sentinel):
    """Keeps no connection to a sentinel: they are asked when a server is lost, which is seldom."""

    async def discover_master(self, service_name: str) -> Any:
        try:
            return await super().discover_master(service_name)
        finally:
            for sentinel in self.sentinels:
                await sentinel.connection_pool.disconnect(inuse_connections=False)


class _SyncLeavesReplicas:
    """As ``_LeavesReplicas``, without asyncio."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        parent: Any = super()
        try:
            return parent.read_response(*args, **options)
        except ReadOnlyError:
            self.disconnect()  # type: ignore[attr-defined]  # the class it is mixed into has it
            raise


class _SyncConnection(_SyncLeavesReplicas, SyncConnection):
    pass


class _SyncTlsConnection(_SyncLeavesReplicas, SyncSSLConnection):
    pass


class _SyncUnixConnection(_SyncLeavesReplicas, SyncUnixDomainSocketConnection):
    pass


class _SyncSentinelPool(SyncSentinelConnectionPool, SyncBlockingConnectionPool):
    """As ``_SentinelPool``."""


class _SyncSentinels(SyncSentinel):
    """As ``_Sentinels``."""

    def discover_master(self, service_name: str) -> Any:
        parent: Any = super()
        try:
            return parent.discover_master(service_name)
        finally:
            for sentinel in self.sentinels:
                sentinel.connection_pool.disconnect(inuse_connections=False)


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
