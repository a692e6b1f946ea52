"""From settings to opened clients and stores: the bag that every process works with, closed in reverse.

The only owner of a clock and of randomness: everything below is given both.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from relay import logs, traces
from relay.clopos.client import CloposClient
from relay.clopos.transport import Transport
from relay.core.retry import RetryPolicy
from relay.egress.sender import Sender
from relay.pipeline.command import Ignorer
from relay.pipeline.commit import Committer
from relay.pipeline.deliver import DeliverContext
from relay.pipeline.due import DueLists
from relay.pipeline.endpoints import Endpoints
from relay.pipeline.installation import Installation
from relay.pipeline.poll_context import PollContext
from relay.pipeline.replay import Past, Replays
from relay.pipeline.requests import Requests
from relay.pipeline.subscriptions import SubscriptionLife
from relay.pipeline.sweep import MaintainContext
from relay.queues import Wake
from relay.settings import Settings
from relay.store.audit import AuditStore
from relay.store.brands import BrandStore
from relay.store.commands import CommandStore
from relay.store.commit import CommitStore
from relay.store.connection import Redis, Timeouts, check_server, open_redis, open_sync_redis
from relay.store.counters import Counters
from relay.store.deliveries import DeliveryStore
from relay.store.installation import InstallationStore
from relay.store.lanes import LaneStore
from relay.store.log import Log
from relay.store.maintenance import Maintenance
from relay.store.positions import first_at
from relay.store.presence import Presence
from relay.store.quota import QuotaStore
from relay.store.replays import ReplayStore
from relay.store.scripts import Scripts
from relay.store.slots import Slots, Taken
from relay.store.snapshots import SnapshotStore
from relay.store.subscriptions import SubscriptionStore
from relay.store.tokens import TokenStore
from relay.store.vault import Vault
from relay.store.venues import PollStore

BLOCKING: Final = Timeouts(socket_s=30.0)
"""For pops that wait; none waits longer than 20 s."""


@dataclass(frozen=True, slots=True)
class Chances:
    """Time and chance; nothing below owns either.

    Attributes:
        wall_s: Unix time, seconds.
        monotonic_s: for measuring, seconds.
        draw: a number in [0, 1).
    """

    wall_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random

    def wall_ms(self) -> int:
        """Unix time in milliseconds."""
        return int(self.wall_s() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What knows Redis."""

    brands: BrandStore
    subscriptions: SubscriptionStore
    snapshots: SnapshotStore
    log: Log
    lanes: LaneStore
    deliveries: DeliveryStore
    replays: ReplayStore
    maintenance: Maintenance
    counters: Counters
    polls: PollStore
    commands: CommandStore
    quota: QuotaStore
    slots: Slots
    presence: Presence
    vault: Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """What was opened.

    Attributes:
        redis: for commands.
        blocking: for pops that wait.
        wake: wakes somebody for work of a kind.
        sender: calls partners.
        clopos: calls Clopos; ``requests`` counts what it does.
        installation: tells a fresh Redis from one that lost everything.
        due_lists: made again where Redis has lost one.
    """

    settings: Settings
    chances: Chances
    redis: Redis
    blocking: Redis
    scripts: Scripts
    stores: Stores
    wake: Callable[[str], Awaitable[None]]
    sender: Sender
    clopos: CloposClient
    requests: Requests
    committer: Committer
    endpoints: Endpoints
    life: SubscriptionLife
    replays: Replays
    past: Past
    ignorer: Ignorer
    installation: Installation
    due_lists: DueLists

    @property
    def slots(self) -> Slots:
        """Who may run a shift."""
        return self.stores.slots

    @property
    def presence(self) -> Presence:
        """Which processes live."""
        return self.stores.presence

    def deliver_context(self) -> DeliverContext:
        """What deliver shifts work with."""
        return DeliverContext(
            redis=self.redis,
            pop=self.blocking,
            lanes=self.stores.lanes,
            endpoints=self.endpoints,
            brands=self.stores.brands,
            sender=self.sender,
            committer=self.committer,
            disable=self.life.disable,
            wall_s=self.chances.wall_s,
            draw=self.chances.draw,
            timeout_s=self.settings.attempt_timeout_s,
            max_wait_s=RetryPolicy().max_wait_s,
        )

    def poll_context(self) -> PollContext:
        """What poll shifts work with."""
        return PollContext(
            pop=self.blocking,
            polls=self.stores.polls,
            brands=self.stores.brands,
            snapshots=self.stores.snapshots,
            quota=self.stores.quota,
            client=self.clopos,
            committer=self.committer,
            commands=self.stores.commands,
            vault=self.stores.vault,
            requests=self.requests,
            clopos_url=self.settings.clopos_url,
            interval_ms=int(self.settings.poll_interval_s * 1000),
            reconcile_ms=int(self.settings.reconcile_interval_s * 1000),
            draw=self.chances.draw,
        )

    def maintain_context(self) -> MaintainContext:
        """What maintain shifts work with."""
        stores = self.stores
        return MaintainContext(
            redis=self.redis,
            maintenance=stores.maintenance,
            subscriptions=stores.subscriptions,
            brands=stores.brands,
            deliveries=stores.deliveries,
            snapshots=stores.snapshots,
            log=stores.log,
            committer=self.committer,
            replays=self.replays,
            past=self.past,
            retention_ms=int(self.settings.retention_s * 1000),
            venues_of=self.venues_of,
            forget_brand=stores.polls.forget,
            disable=self.life.disable,
            more_tasks={},
        )

    async def venues_of(self, brand: str) -> Collection[int]:
        """Ids of the venues of a brand that are, or were, looked at."""
        stored = await self.stores.brands.get(brand)
        if stored is None:
            return ()
        found = await self.stores.polls.found(brand, generation=stored.value.generation)
        return found.venues.keys()


def new_slot() -> str:
    """Make a name that no slot, shift or process has had before."""
    return secrets.token_hex(10)


@asynccontextmanager
async def open_relay(settings: Settings, *, timeouts: Timeouts | None = None) -> AsyncIterator[Relay]:
    """Open everything.

    Args:
        timeouts: of commands; the default suits workers.

    Raises:
        RedisUnusableError: Redis is too old, or evicts; the message says what to set.
        redis.exceptions.RedisError: it does not answer.
    """
    async with AsyncExitStack() as stack:
        redis = open_redis(settings.redis_url, timeouts=timeouts)
        stack.push_async_callback(redis.aclose)
        for warning in (await check_server(redis)).warnings:
            logs.event("redis", level="warning", reason=warning)
        blocking = open_redis(settings.redis_url, timeouts=BLOCKING)
        stack.push_async_callback(blocking.aclose)
        if settings.traces and traces.start():
            stack.push_async_callback(traces.stop)
        sender = await stack.enter_async_context(Sender(allow=settings.allow_networks))
        transport = Transport(allow=settings.allow_networks)
        stack.push_async_callback(transport.aclose)
        scripts = Scripts(redis)
        stores = make_stores(settings, redis, blocking, scripts)
        wake = _wake(settings, stores.slots)
        stack.callback(wake.close)
        yield assemble(
            Opened(
                settings=settings,
                chances=Chances(),
                redis=redis,
                blocking=blocking,
                scripts=scripts,
                stores=stores,
                wake=wake,
                sender=sender,
                transport=transport,
            )
        )


def make_stores(settings: Settings, redis: Redis, blocking: Redis, scripts: Scripts) -> Stores:
    """Make every store on opened clients."""
    brands = BrandStore(redis, scripts)
    subscriptions = SubscriptionStore(redis, scripts)
    return Stores(
        brands=brands,
        subscriptions=subscriptions,
        snapshots=SnapshotStore(redis),
        log=Log(redis, scripts),
        lanes=LaneStore(scripts, subscriptions_epoch_key=subscriptions.epoch_key, brands_epoch_key=brands.epoch_key),
        deliveries=DeliveryStore(redis, scripts),
        replays=ReplayStore(redis, scripts),
        maintenance=Maintenance(redis, scripts),
        counters=Counters(redis),
        polls=PollStore(redis, scripts, brands_epoch_key=brands.epoch_key),
        commands=CommandStore(redis, scripts),
        quota=QuotaStore(redis, scripts, per_minute=settings.quota_per_minute),
        slots=Slots(redis, blocking, scripts),
        presence=Presence(redis),
        vault=Vault(settings.secret_keys),
    )


def _wake(settings: Settings, slots: Slots) -> Wake:
    async def take(kind: str, slot: str) -> bool:
        return await slots.take(kind, slot) is Taken.ENQUEUE

    return Wake(open_sync_redis(settings.redis_url), take=take, give_back=slots.release, new_slot=new_slot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What is put together to a relay."""

    settings: Settings
    chances: Chances
    redis: Redis
    blocking: Redis
    scripts: Scripts
    stores: Stores
    wake: Callable[[str], Awaitable[None]]
    sender: Sender
    transport: Transport


def assemble(opened: Opened) -> Relay:
    """Put what was opened together."""
    settings, stores, chances = opened.settings, opened.stores, opened.chances
    requests = Requests()
    committer = Committer(
        redis=opened.redis,
        commits=CommitStore(opened.scripts, epoch_key=stores.subscriptions.epoch_key),
        snapshots=stores.snapshots,
        subscriptions=stores.subscriptions,
        wake=opened.wake,
    )
    relay: Relay

    async def venues_of(brand: str) -> Collection[int]:
        return await relay.venues_of(brand)

    clopos = CloposClient(
        transport=opened.transport,
        quota=stores.quota,
        tokens=TokenStore(opened.scripts, stores.vault),
        monotonic=chances.monotonic_s,
        draw=chances.draw,
        observe=requests.observe,
    )
    relay = Relay(
        settings=settings,
        chances=chances,
        redis=opened.redis,
        blocking=opened.blocking,
        scripts=opened.scripts,
        stores=stores,
        wake=opened.wake,
        sender=opened.sender,
        clopos=clopos,
        requests=requests,
        committer=committer,
        endpoints=Endpoints(
            subscriptions=stores.subscriptions,
            vault=stores.vault,
            allow=settings.allow_networks,
            policy=RetryPolicy(delays_s=settings.retry_schedule),
        ),
        life=SubscriptionLife(
            subscriptions=stores.subscriptions,
            committer=committer,
            audit=AuditStore(opened.redis),
            now_ms=chances.wall_ms,
        ),
        replays=Replays(
            replays=stores.replays,
            log=stores.log,
            deliveries=stores.deliveries,
            subscriptions=stores.subscriptions,
            keep_s=int(settings.retention_s),
            now_ms=chances.wall_ms,
        ),
        past=Past(
            brands=stores.brands,
            snapshots=stores.snapshots,
            log=stores.log,
            deliveries=stores.deliveries,
            subscriptions=stores.subscriptions,
            venues_of=venues_of,
            position_of=_position_of,
        ),
        ignorer=Ignorer(
            client=clopos,
            snapshots=stores.snapshots,
            committer=committer,
            commands=stores.commands,
            polls=stores.polls,
            vault=stores.vault,
            clopos_url=settings.clopos_url,
            monotonic=chances.monotonic_s,
            new_name=new_slot,
            requests=requests,
            counters=stores.counters,
        ),
        installation=Installation(
            InstallationStore(opened.scripts), data_dir=settings.data_dir, clock=chances.monotonic_s
        ),
        due_lists=DueLists(
            brands=stores.brands,
            polls=stores.polls,
            subscriptions=stores.subscriptions,
            deliveries=stores.deliveries,
        ),
    )
    return relay


def _position_of(moment: str) -> int:
    """The first position of a moment, RFC 3339."""
    return first_at(int(datetime.fromisoformat(moment).timestamp() * 1000))
