"""Killed, or cut off from Redis, between any two steps: nothing is lost, and nothing is done twice without need."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import defaultdict
from typing import Any

import pytest
from aiohttp import web

from relay.pipeline import deliver
from relay.store.brands import BrandStore
from relay.store.commit import CommitStore
from relay.store.connection import RedisError
from relay.store.lanes import LaneStore
from relay.store.scripts import Scripts
from relay.store.subscriptions import Subscription
from tests.integration.cutting import Fate, Proxy, cutting
from tests.integration.relays import Call, Partner, Parts, order, partner

STORY = ("pending", "accepted", "delivered")


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "BACKOFF_S", 0.01)


def lanes_through(parts: Parts, client: Any) -> LaneStore:
    return LaneStore(
        Scripts(client),
        subscriptions_epoch_key=parts.subscriptions.epoch_key,
        brands_epoch_key=parts.brands.epoch_key,
    )


def sha_of(parts: Parts, script: str) -> bytes:
    text = parts.scripts._sources[script]  # noqa: SLF001  (what the proxy looks for)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().encode()


def stories(endpoint: Partner) -> dict[str, list[str]]:
    """What became of each order, as the partner was told; a repeat of what it knows already is left out."""
    told: dict[str, list[str]] = defaultdict(list)
    for call in endpoint.calls:
        statuses, status = told[call.event["subject"]], call.event["data"]["order"]["status"]
        if not statuses or statuses[-1] != status:
            statuses.append(status)
    return told


async def tell(parts: Parts, orders: int) -> None:
    for status in STORY:
        await parts.see(*(order(n, status) for n in range(1, orders + 1)))


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED])
@pytest.mark.parametrize("script", ["settle", "take", "keep_lanes"])
async def test_a_call_that_is_cut_off_costs_a_moment_and_no_second_request(
    parts: Parts, redis_url: str, script: str, fate: Fate
) -> None:
    async with partner() as endpoint, cutting(redis_url) as (proxy, client):
        subscription = await parts.subscribe(endpoint.url)
        await tell(parts, 5)
        sha, cuts = sha_of(parts, script), 3
        await parts.scripts.load()

        def sometimes(sent: bytes) -> Fate:
            nonlocal cuts
            if sha in sent and cuts:
                cuts -= 1
                return fate
            return Fate.PASSED

        proxy.fate = sometimes
        await parts.deliver(lanes=lanes_through(parts, client))
        await parts.due_now(subscription)
        await parts.deliver(owner="heir")
        assert cuts == 0
        assert len(endpoint.calls) == 15
        assert all(statuses == list(STORY) for statuses in stories(endpoint).values())
    assert (await parts.closes(subscription)).delivered == 15


async def test_a_claim_whose_answer_is_lost_is_made_good_when_the_lease_ends(parts: Parts, redis_url: str) -> None:
    async with partner() as endpoint, cutting(redis_url) as (proxy, client):
        subscription = await parts.subscribe(endpoint.url)
        await tell(parts, 2)
        sha = sha_of(parts, "claim_lanes")
        cut = asyncio.Event()
        await parts.scripts.load()

        def once(sent: bytes) -> Fate:
            if sha in sent and not cut.is_set():
                cut.set()
                return Fate.UNANSWERED
            return Fate.PASSED

        proxy.fate = once
        await parts.deliver(lanes=lanes_through(parts, client))
        assert cut.is_set()
        assert endpoint.calls == []
        await parts.due_now(subscription)
        await parts.deliver(owner="heir")
        assert all(statuses == list(STORY) for statuses in stories(endpoint).values())
    assert (await parts.closes(subscription)).delivered == 6


async def test_heads_whose_brands_cannot_be_read_are_sent_by_the_same_shift_a_moment_later(
    parts: Parts, redis_url: str
) -> None:
    async with partner() as endpoint, cutting(redis_url) as (proxy, client):
        subscription = await parts.subscribe(endpoint.url)
        await parts.see(order(1))
        cut = asyncio.Event()

        def once(sent: bytes) -> Fate:
            if b"HGETALL" in sent and not cut.is_set():
                cut.set()
                return Fate.LOST
            return Fate.PASSED

        proxy.fate = once
        async with asyncio.timeout(10):
            await parts.deliver(brands=BrandStore(client, Scripts(client)))
        assert cut.is_set()
        assert len(endpoint.calls) == 1
    assert (await parts.closes(subscription)).delivered == 1


@pytest.mark.parametrize("seed", range(4))
async def test_order_and_ledger_hold_whatever_is_cut_off(parts: Parts, redis_url: str, seed: int) -> None:
    draw = random.Random(seed)

    async def flaky(_call: Call) -> web.StreamResponse:
        return web.Response(status=draw.choice([200, 200, 200, 500, 503]))

    async with partner(flaky) as endpoint, cutting(redis_url) as (proxy, client):
        subscription = await parts.subscribe(endpoint.url, retry_schedule_s=(0.01,) * 20)
        await tell(parts, 8)
        await parts.scripts.load()
        proxy.fate = lambda _sent: draw.choices([Fate.PASSED, Fate.LOST, Fate.UNANSWERED], [8, 1, 1])[0]
        await all_settled(parts, subscription, lanes=lanes_through(parts, client))
        assert all(statuses == list(STORY) for statuses in stories(endpoint).values())
        bodies: dict[str, set[bytes]] = defaultdict(set)
        for call in endpoint.calls:
            bodies[call.id].add(call.body)
        assert all(len(each) == 1 for each in bodies.values())
    assert (await parts.closes(subscription)).delivered == 24


@pytest.mark.parametrize("seed", range(6))
async def test_order_and_ledger_hold_whenever_workers_are_killed(parts: Parts, redis_url: str, seed: int) -> None:
    draw = random.Random(seed)

    async def slow(_call: Call) -> web.StreamResponse:
        await asyncio.sleep(draw.random() * 0.01)
        return web.Response(status=draw.choice([200, 200, 500]))

    async with partner(slow) as endpoint:
        subscription = await parts.subscribe(endpoint.url, retry_schedule_s=(0.01,) * 20)
        await tell(parts, 6)
        for worker in range(12):
            async with cutting(redis_url) as (proxy, client):
                shift = asyncio.create_task(parts.deliver(owner=f"worker-{worker}", lanes=lanes_through(parts, client)))
                await killed_after(draw.randrange(1, 12), endpoint, shift, proxy)
            await parts.closes(subscription)
            await parts.due_now(subscription)
            await parts.probe_now(subscription)
        await all_settled(parts, subscription)
        assert all(statuses == list(STORY) for statuses in stories(endpoint).values())
    assert (await parts.closes(subscription)).delivered == 18


async def all_settled(parts: Parts, subscription: Subscription, **changes: Any) -> None:
    """Let one worker after another work until nothing waits: one alone may find the circuit open, and go."""
    for worker in range(200):
        await parts.deliver(owner=f"heir-{worker}", **changes)
        if not (await parts.closes(subscription)).pending:
            return
        await parts.due_now(subscription)
        await parts.probe_now(subscription)


async def killed_after(requests: int, endpoint: Partner, shift: asyncio.Task[Any], proxy: Proxy) -> None:
    """Kill a shift, which cannot say good-bye to Redis any more, once its partner has got so many more requests."""
    wanted = len(endpoint.calls) + requests
    arrived = asyncio.create_task(endpoint.got(wanted))
    await asyncio.wait({arrived, shift}, return_when=asyncio.FIRST_COMPLETED)
    proxy.kill()
    shift.cancel()
    arrived.cancel()
    await asyncio.gather(shift, arrived, return_exceptions=True)


async def test_a_commit_whose_answer_is_lost_is_delivered_once(parts: Parts, redis_url: str) -> None:
    async with partner() as endpoint, cutting(redis_url) as (proxy, client):
        await parts.subscribe(endpoint.url)
        await parts.scripts.load()
        sha = sha_of(parts, "commit")
        through = CommitStore(Scripts(client), epoch_key=parts.subscriptions.epoch_key)
        straight, parts.committer._commits = parts.committer._commits, through  # noqa: SLF001  (only the way to Redis)
        proxy.fate = lambda sent: Fate.UNANSWERED if sha in sent else Fate.PASSED
        with pytest.raises(RedisError):
            await parts.see(order(1))
        parts.committer._commits = straight  # noqa: SLF001  (same)
        again = await parts.see(order(1))
        assert (again.events, again.unchanged) == ([], 1)
        await parts.deliver()
        assert len(endpoint.calls) == 1


async def test_what_was_committed_and_woke_nobody_is_due(parts: Parts) -> None:
    """Killed between the commit and the wake: the sweep of the scheduler asks for what is due, not for wakes."""
    async with partner() as endpoint:
        await parts.subscribe(endpoint.url)

        async def dies(_kind: str) -> None:
            raise asyncio.CancelledError

        parts.committer._wake = dies  # noqa: SLF001  (the process dies here)
        with pytest.raises(asyncio.CancelledError):
            await parts.see(order(1))
        await parts.redis.delete("relay:wake:deliver")
        await parts.deliver()
        assert len(endpoint.calls) == 1


async def test_a_worker_that_slept_longer_than_its_lease_begins_nothing(parts: Parts) -> None:
    """SIGSTOP between asking for heads and getting them, then SIGCONT: they may be another's by now."""
    async with partner() as endpoint:
        subscription = await parts.subscribe(endpoint.url)
        await parts.see(order(1))
        lanes = SleepyLanes(
            Scripts(parts.redis),
            subscriptions_epoch_key=parts.subscriptions.epoch_key,
            brands_epoch_key=parts.brands.epoch_key,
        )
        shift = asyncio.create_task(parts.deliver(owner="sleeper", lanes=lanes))
        await lanes.asked.wait()
        await parts.due_now(subscription)
        await parts.deliver(owner="heir")
        assert len(endpoint.calls) == 1
        lanes.wakes.set()
        await shift
        assert len(endpoint.calls) == 1
    assert (await parts.closes(subscription)).delivered == 1


class SleepyLanes(LaneStore):
    """Gets the answer to the first `take` long after it was given."""

    def __init__(self, scripts: Scripts, **epochs: str) -> None:
        super().__init__(scripts, **epochs)
        self.asked, self.wakes = asyncio.Event(), asyncio.Event()

    async def run(self, calls: Any) -> list[Any]:
        replies = await super().run(calls)
        if any(name == "take" for name, _, _ in calls) and not self.asked.is_set():
            self.asked.set()
            await self.wakes.wait()
            loop: Any = asyncio.get_running_loop()
            clock = loop.time
            loop.time = lambda: clock() + 60
        return replies
