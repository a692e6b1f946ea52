"""From settings to opened clients and stores: the bag that every process works with, closed in reverse."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from relay import logs
from relay.queues import Wake
from relay.settings import Settings
from relay.store.connection import Timeouts, check_server, open_redis, open_sync_redis
from relay.store.presence import Presence
from relay.store.scripts import Scripts
from relay.store.slots import Slots, Taken

BLOCKING: Final = Timeouts(socket_s=30.0)
"""For pops that wait; none waits longer than 20 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """What was opened.

    Attributes:
        redis: for commands.
        blocking: for pops that wait.
        wake: wakes somebody for work of a kind.
    """

    settings: Settings
    redis: Redis
    blocking: Redis
    scripts: Scripts
    slots: Slots
    presence: Presence
    wake: Wake


def new_slot() -> str:
    """Make a name that no slot, shift or process has had before."""
    return secrets.token_hex(10)


@asynccontextmanager
async def open_relay(settings: Settings) -> AsyncIterator[Relay]:
    """Open everything.

    Raises:
        RedisUnusableError: Redis is too old, or evicts; the message says what to set.
        redis.exceptions.RedisError: it does not answer.
    """
    async with AsyncExitStack() as stack:
        redis = open_redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        for warning in (await check_server(redis)).warnings:
            logs.event("redis", level="warning", reason=warning)
        blocking = open_redis(settings.redis_url, timeouts=BLOCKING)
        stack.push_async_callback(blocking.aclose)
        scripts = Scripts(redis)
        slots = Slots(redis, blocking, scripts)

        async def take(kind: str, slot: str) -> bool:
            return await slots.take(kind, slot) is Taken.ENQUEUE

        wake = Wake(open_sync_redis(settings.redis_url), take=take, give_back=slots.release, new_slot=new_slot)
        stack.callback(wake.close)
        yield Relay(
            settings=settings,
            redis=redis,
            blocking=blocking,
            scripts=scripts,
            slots=slots,
            presence=Presence(redis),
            wake=wake,
        )
