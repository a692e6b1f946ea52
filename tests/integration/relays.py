"""A relay's inner parts on a real Redis, for tests: stores, committer, sender, and a partner's endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from aiohttp import web
from cryptography.fernet import Fernet
from redis.asyncio import Redis

from relay.core import breaker, signing
from relay.core.addresses import parse_networks
from relay.core.changes import Feed, compare
from relay.core.orders import is_open
from relay.core.retry import RetryPolicy
from relay.egress.sender import Sender
from relay.pipeline.commit import CommitReport, Committer, Proposal
from relay.pipeline.deliver import DeliverContext, deliver_shift
from relay.pipeline.endpoints import Endpoints
from relay.pipeline.replay import Past, Replays
from relay.pipeline.stop import ShiftReport, Stop
from relay.pipeline.subscriptions import SubscriptionLife
from relay.pipeline.sweep import TASKS, MaintainContext, maintain_shift
from relay.store import keys
from relay.store.audit import AuditStore
from relay.store.brands import Brand, BrandStore
from relay.store.commit import CommitStore
from relay.store.deliveries import DeliveryStore
from relay.store.documents import Write
from relay.store.lane_states import Counts
from relay.store.lane_walk import Delivery
from relay.store.lanes import LaneStore
from relay.store.log import Log
from relay.store.maintenance import Maintenance
from relay.store.positions import first_at
from relay.store.replays import ReplayStore
from relay.store.scripts import Scripts
from relay.store.snapshots import Scope, SnapshotStore
from relay.store.subscriptions import Secret, ShapeSince, Subscription, SubscriptionStore
from relay.store.vault import Vault


def wall_ms() -> int:
    return int(time.time() * 1000)


SECRET = signing.new_secret(bytes(range(32)))
LOOPBACK = parse_networks("127.0.0.0/8")
ORDERS = Scope("openapitest", 1, "orders")


def order(order_id: int = 1, status: str = "pending", **fields: Any) -> dict[str, Any]:
    return {"id": order_id, "venue_id": 1, "status": status, "updated_at": "2026-02-02T17:46:02.000000Z", **fields}


@dataclass
class Call:
    """One request that a partner got."""

    id: str
    body: bytes
    headers: dict[str, str]
    at: float

    @property
    def event(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass
class Partner:
    """A partner's endpoint that keeps every request; `answer` decides what it says."""

    answer: Callable[[Call], Awaitable[web.StreamResponse]]
    calls: list[Call] = field(default_factory=list)
    url: str = ""
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(headers["webhook-id"], body, headers, time.monotonic())
        async with self.arrived:
            self.calls.append(call)
            self.arrived.notify_all()
        return await self.answer(call)

    async def got(self, count: int, timeout_s: float = 30) -> list[Call]:
        """Wait until it has got so many requests."""
        async with asyncio.timeout(timeout_s), self.arrived:
            await self.arrived.wait_for(lambda: len(self.calls) >= count)
        return self.calls


async def ok(_call: Call) -> web.StreamResponse:
    return web.Response(status=204)


@contextlib.asynccontextmanager
async def partner(answer: Callable[[Call], Awaitable[web.StreamResponse]] = ok) -> AsyncIterator[Partner]:
    endpoint = Partner(answer)
    app = web.Application()
    app.router.add_post("/hooks", endpoint.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    endpoint.url = f"http://127.0.0.1:{port}/hooks"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


class Parts:
    """Everything between a change and a partner."""

    def __init__(self, redis: Redis, pop: Redis) -> None:
        self.redis: Any = redis
        self.pop = pop
        self.scripts = Scripts(redis)
        self.vault = Vault([Fernet.generate_key().decode()])
        self.brands = BrandStore(redis, self.scripts)
        self.subscriptions = SubscriptionStore(redis, self.scripts)
        self.snapshots = SnapshotStore(redis)
        self.log = Log(redis, self.scripts)
        self.deliveries = DeliveryStore(redis, self.scripts)
        self.woken: list[str] = []
        self.random = random.Random(7)
        self.commits = CommitStore(self.scripts, epoch_key=self.subscriptions.epoch_key)
        self.committer = Committer(
            redis=redis,
            commits=self.commits,
            snapshots=self.snapshots,
            subscriptions=self.subscriptions,
            wake=self._wake,
        )
        self.audit = AuditStore(redis)
        self.life = SubscriptionLife(
            subscriptions=self.subscriptions, committer=self.committer, audit=self.audit, now_ms=wall_ms
        )
        self.lanes = LaneStore(
            self.scripts,
            subscriptions_epoch_key=self.subscriptions.epoch_key,
            brands_epoch_key=self.brands.epoch_key,
        )
        self.policy = RetryPolicy(delays_s=(0.05, 0.05, 0.05))
        self.maintenance = Maintenance(redis, self.scripts)
        self.replay_store = ReplayStore(redis, self.scripts)
        self.venues: tuple[int, ...] = (1,)
        self.replays = Replays(
            replays=self.replay_store,
            log=self.log,
            deliveries=self.deliveries,
            subscriptions=self.subscriptions,
            keep_s=3600,
            now_ms=wall_ms,
        )
        self.past = Past(
            brands=self.brands,
            snapshots=self.snapshots,
            log=self.log,
            deliveries=self.deliveries,
            subscriptions=self.subscriptions,
            venues_of=self._venues_of,
            position_of=lambda moment: first_at(int(datetime.fromisoformat(moment).timestamp() * 1000)),
        )
        self._made = 0

    async def _wake(self, kind: str) -> None:
        self.woken.append(kind)

    async def _venues_of(self, _brand: str) -> Collection[int]:
        return self.venues

    async def brand(self, name: str = "openapitest") -> None:
        await self.brands.create(
            name,
            Write(
                Brand(
                    brand=name,
                    client_id="demo-client",
                    client_secret=self.vault.seal("demo-secret"),
                    integrator_id="demo-integrator",
                    created_at="2026-02-02T00:00:00.000Z",
                    updated_at="2026-02-02T00:00:00.000Z",
                    generation="1",
                )
            ),
        )

    async def subscribe(self, url: str | None, **fields: Any) -> Subscription:
        self._made += 1
        subscription = Subscription(
            id=f"sub_{self._made:020d}",
            url=url,
            created_at="2026-02-02T00:00:00.000Z",
            updated_at="2026-02-02T00:00:00.000Z",
            **{
                "event_types": ("*",),
                "secrets": (Secret(sealed=self.vault.seal(SECRET)),),
                "shapes": (ShapeSince(position=0),),
                **fields,
            },
        )
        stored = await self.subscriptions.create(
            subscription.id, Write(subscription, name=subscription.name, gate=subscription.gate)
        )
        return stored.value

    async def change(self, subscription: Subscription, *, opens: bool = False, **fields: Any) -> Subscription:
        """Change a subscription as the API does; `opens` where its lane may have become able to send."""

        def changed(present: Subscription) -> Write[Subscription]:
            after = replace(present, **fields)
            return Write(after, name=after.name, gate=after.gate if opens else None)

        stored = await self.subscriptions.update(subscription.id, changed, name_of=lambda value: value.name)
        return stored.value

    async def counts(self, subscription: Subscription) -> Counts:
        """One row of the ledger, from the counters."""
        return (await self.deliveries.counts([subscription.id]))[subscription.id]

    async def closes(self, subscription: Subscription) -> Counts:
        """One row of the ledger; that from the counters and that from the records must be the same, and close."""
        counters = await self.counts(subscription)
        records = await self.deliveries.count_records(subscription.id, since=0, brand=None)
        assert counters == records
        assert counters.unaccounted == 0
        return counters

    async def of(self, subscription: Subscription, position: int) -> Delivery:
        """One delivery."""
        found = await self.deliveries.get(subscription.id, position)
        assert found is not None
        return found

    async def lane(self, subscription: Subscription, field_name: str) -> bytes | None:
        """One field of a lane."""
        found: bytes | None = await self.redis.hget(keys.lane(subscription.id), field_name)
        return found

    async def tick(self) -> None:
        """Wait until Redis' clock shows another millisecond."""
        before = await self.maintenance.now_ms()
        while await self.maintenance.now_ms() == before:
            pass

    async def due_now(self, subscription: Subscription) -> None:
        """Let whatever a lane waits for have come: its lease has run out, its hold is over, its retries are due."""
        lane = keys.lane(subscription.id)
        await self.redis.hdel(lane, "hold")
        for queue in await self.redis.zrange(lane + ":retry", 0, -1):
            await self.redis.zadd(lane + ":retry", {queue: 1})
        await self.redis.zadd(keys.LANES_DUE, {subscription.id: 0})

    async def probe_now(self, subscription: Subscription) -> None:
        """Let the time have come at which an open circuit lets a probe through."""
        circuit = breaker.load((await self.lane(subscription, "circuit") or b"").decode())
        if circuit.open_until_ms is not None:
            probing = breaker.dump(replace(circuit, open_until_ms=1))
            await self.redis.hset(keys.lane(subscription.id), "circuit", probing)

    async def see(self, *things: dict[str, Any], scope: Scope = ORDERS, **options: Any) -> CommitReport:
        """Commit what a look at some orders would."""
        started = options.pop("started", None) or await self.snapshots.begin()
        heads = options.pop("heads", None) or await self.snapshots.heads(scope, [thing["id"] for thing in things])
        objects = await self.snapshots.objects(scope, [thing["id"] for thing in things])
        proposals = [
            Proposal(
                entity=thing["id"],
                subject=f"order/{thing['id']}",
                venue_id=scope.venue_id,
                head=head,
                object=thing,
                raw=None,
                fingerprint="00",
                flags="o" if is_open(thing) else "",
                settled=not is_open(thing),
                change=compare(Feed.ORDERS, None if known is None else known.object, thing),
            )
            for thing, head, known in zip(things, heads, objects, strict=True)
        ]
        return await self.committer.commit(
            scope, proposals, **{"started": started, "fence": None, "origin": "poll", **options}
        )

    def maintain_context(self, **changes: Any) -> MaintainContext:
        async def forget_brand(_brand: str) -> None:
            pass

        made = MaintainContext(
            redis=self.redis,
            maintenance=self.maintenance,
            subscriptions=self.subscriptions,
            brands=self.brands,
            deliveries=self.deliveries,
            snapshots=self.snapshots,
            log=self.log,
            committer=self.committer,
            replays=self.replays,
            past=self.past,
            retention_ms=3_600_000,
            venues_of=self._venues_of,
            forget_brand=forget_brand,
            disable=self.life.disable,
            more_tasks={},
        )
        return replace(made, **changes)

    async def background(self, *tasks: str, **changes: Any) -> None:
        """Run background tasks once."""
        for name in tasks:
            await TASKS[name](self.maintain_context(**changes), Stop(time.monotonic, 30))

    async def maintain(self, **changes: Any) -> ShiftReport:
        """Run every background task that is due, as a worker does."""
        return await maintain_shift(self.maintain_context(**changes), owner="maintainer", stop=Stop(time.monotonic, 30))

    @staticmethod
    def orders_of(brand: str, venue_id: int = 1) -> Scope:
        """Where the orders of one venue are kept."""
        return Scope(brand, venue_id, "orders")

    def context(self, sender: Sender, **changes: Any) -> DeliverContext:
        made = DeliverContext(
            redis=self.redis,
            pop=self.pop,
            lanes=self.lanes,
            endpoints=Endpoints(subscriptions=self.subscriptions, vault=self.vault, allow=LOOPBACK, policy=self.policy),
            brands=self.brands,
            sender=sender,
            committer=self.committer,
            disable=self.life.disable,
            wall_s=time.time,
            draw=self.random.random,
            timeout_s=2.0,
            max_wait_s=36_000.0,
            linger_s=0.2,
        )
        return replace(made, **changes)

    async def deliver(self, *, owner: str = "worker-1", concurrency: int = 64, **changes: Any) -> ShiftReport:
        """Run one shift until there is nothing left to do."""
        async with Sender(allow=LOOPBACK) as sender:
            return await deliver_shift(
                self.context(sender, **changes),
                owner=owner,
                stop=Stop(time.monotonic, 30),
                concurrency=concurrency,
            )
