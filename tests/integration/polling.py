"""A poll worker's inner parts on a real Redis beside the stand-in for Clopos, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2 as httpx
from redis.asyncio import Redis

from relay.clopos.api import Access
from relay.clopos.client import CloposClient
from relay.clopos.transport import Transport
from relay.pipeline.command import Ignorer
from relay.pipeline.poll import poll_shift
from relay.pipeline.poll_context import PollContext, access_of
from relay.pipeline.requests import Requests
from relay.pipeline.stop import ShiftReport, Stop
from relay.sandbox.serve import Running, running
from relay.store.brands import Brand
from relay.store.commands import CommandStore
from relay.store.counters import Counters
from relay.store.documents import Stored, Write
from relay.store.findings import Found
from relay.store.log import Range
from relay.store.positions import LARGEST
from relay.store.quota import QuotaStore
from relay.store.tokens import TokenStore
from relay.store.venues import PollStore
from tests.integration.relays import Parts

BRAND = "openapitest"


@dataclass
class Rig:
    """A worker's parts, Clopos' stand-in, and its control side."""

    parts: Parts
    up: Running
    control: httpx.AsyncClient
    transport: Transport
    ctx: PollContext
    tokens: TokenStore
    ignorer: Ignorer
    stops: list[Stop] = field(default_factory=list)

    async def brand(self, name: str = BRAND, **fields: Any) -> Stored[Brand]:
        """Configure a brand; the stand-in knows its credentials."""
        brand = Brand(
            brand=name,
            **{
                "client_id": "demo-client",
                "client_secret": self.parts.vault.seal("demo-secret"),
                "integrator_id": "demo-integrator",
                "created_at": "2026-02-02T00:00:00.000Z",
                "updated_at": "2026-02-02T00:00:00.000Z",
                "generation": "1",
                **fields,
            },
        )
        stored = await self.parts.brands.create(name, Write(brand))
        await self.ctx.polls.request(name)
        return stored

    async def change_brand(self, name: str = BRAND, **fields: Any) -> None:
        await self.parts.brands.update(name, lambda brand: Write(replace(brand, **fields)), name_of=lambda _: None)
        await self.ctx.polls.request(name)

    async def access(self, name: str = BRAND) -> Access:
        stored = await self.parts.brands.get(name)
        assert stored is not None
        return access_of(stored, vault=self.parts.vault, clopos_url=self.ctx.clopos_url)

    def another_worker(self) -> Rig:
        """Another process' parts: the same Redis and stand-in, a client and a memory of its own."""
        transport, requests = Transport(), Requests()
        client = new_client(transport, self.ctx.quota, self.tokens, requests, seed=8)
        polls = PollStore(self.parts.redis, self.parts.scripts, brands_epoch_key=self.parts.brands.epoch_key)
        ctx = replace(self.ctx, client=client, requests=requests, polls=polls)
        return replace(self, transport=transport, ctx=ctx)

    async def fault(self, kind: str, **options: Any) -> None:
        """Make requests fail from now on."""
        await self.tell("POST", "/faults", kind=kind, **options)

    async def tell(self, verb: str, where: str, /, **body: Any) -> Any:
        """Tell the control side."""
        answer = await self.control.request(verb, where, json=body or None)
        assert answer.is_success, answer.text
        return answer.json()

    @contextlib.asynccontextmanager
    async def polling(self, *, owner: str = "worker-1", budget_s: float = 600.0) -> AsyncIterator[Stop]:
        """Run a shift beside the test, and end it with it."""
        stop = Stop(time.monotonic, budget_s)
        task = asyncio.create_task(poll_shift(self.ctx, owner=owner, stop=stop, concurrency=10))
        try:
            yield stop
        finally:
            stop.ask()
            await asyncio.wait_for(task, 60)

    async def shift(self, *, owner: str = "worker-1", budget_s: float) -> ShiftReport:
        return await poll_shift(self.ctx, owner=owner, stop=Stop(time.monotonic, budget_s), concurrency=10)

    async def events(self) -> list[dict[str, Any]]:
        """Every event of the log, oldest first."""
        stretch = await self.parts.log.forward(Range(0, LARGEST), limit=100_000)
        return [
            {
                "id": event.id,
                "type": event.type,
                "subject": event.subject,
                "venue_id": event.venue_id,
                "origin": event.origin,
                "sequence": event.sequence,
                "previous_sequence": event.previous_sequence,
                "data": json.loads(event.data),
            }
            for event in stretch.events
        ]

    async def until(self, check: Callable[[], Any], *, timeout_s: float = 30.0) -> Any:
        """Wait until an awaitable check gives something true."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = await check()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s} s; last: {found!r}")
            await asyncio.sleep(0.02)

    async def got(self, count: int, *, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """Wait until the log has so many events."""

        async def enough() -> list[dict[str, Any]]:
            events = await self.events()
            return events if len(events) >= count else []

        found: list[dict[str, Any]] = await self.until(enough, timeout_s=timeout_s)
        return found

    async def found(self, name: str = BRAND) -> Found:
        stored = await self.parts.brands.get(name)
        assert stored is not None
        return await self.ctx.polls.found(name, generation=stored.value.generation)

    async def looked(self, *venue_ids: int, name: str = BRAND) -> Found:
        """Wait until each venue's first look at orders is committed."""

        async def done() -> Found | None:
            found = await self.found(name)
            return found if all(v in found.venues and found.venues[v].orders.first_ms for v in venue_ids) else None

        found: Found = await self.until(done)
        return found


def new_client(
    transport: Transport, quota: QuotaStore, tokens: TokenStore, requests: Requests, *, seed: int
) -> CloposClient:
    return CloposClient(
        transport=transport,
        quota=quota,
        tokens=tokens,
        monotonic=time.monotonic,
        draw=random.Random(seed).random,
        observe=requests.observe,
    )


@contextlib.asynccontextmanager
async def rigged(
    redis: Redis,
    redis_url: str,
    *,
    interval_ms: int = 100,
    per_minute: int = 300,
    reconcile_ms: int = 600_000,
    scenario: str = "none",
) -> AsyncIterator[Rig]:
    """Everything open, on an empty Redis."""
    async with contextlib.AsyncExitStack() as stack:
        pop = Redis.from_url(redis_url)
        stack.push_async_callback(pop.aclose)
        parts = Parts(redis, pop)
        up = await stack.enter_async_context(running(scenario=scenario))
        up.world.switches.change({"quota_per_minute": per_minute})
        control = await stack.enter_async_context(httpx.AsyncClient(base_url=up.control_url, trust_env=False))
        transport = Transport()
        stack.push_async_callback(transport.aclose)
        quota = QuotaStore(redis, parts.scripts, per_minute=per_minute)
        tokens = TokenStore(parts.scripts, parts.vault)
        requests = Requests()
        commands = CommandStore(redis, parts.scripts)
        draw = random.Random(7).random
        client = new_client(transport, quota, tokens, requests, seed=7)
        ctx = PollContext(
            pop=pop,
            polls=PollStore(redis, parts.scripts, brands_epoch_key=parts.brands.epoch_key),
            brands=parts.brands,
            snapshots=parts.snapshots,
            quota=quota,
            client=client,
            committer=parts.committer,
            commands=commands,
            vault=parts.vault,
            requests=requests,
            clopos_url=up.base_url,
            interval_ms=interval_ms,
            reconcile_ms=reconcile_ms,
            draw=draw,
        )
        names = iter(range(1_000_000))
        ignorer = Ignorer(
            client=client,
            snapshots=parts.snapshots,
            committer=parts.committer,
            commands=commands,
            polls=ctx.polls,
            vault=parts.vault,
            clopos_url=up.base_url,
            monotonic=time.monotonic,
            new_name=lambda: f"caller-{next(names)}",
            requests=Requests(),
            counters=Counters(redis),
        )
        yield Rig(parts, up, control, transport, ctx, tokens, ignorer)
