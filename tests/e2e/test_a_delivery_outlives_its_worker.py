"""Real deliver workers and a real partner: kill, freeze, stop, while the partner holds the request."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from redis.asyncio import Redis

from relay.core.deliveries import Record, State
from relay.store.vault import Vault
from tests.e2e.rigs import Rig, ended, until
from tests.e2e.worker_rig import KEY
from tests.integration.relays import Call, Partner, Parts, order, partner

SUBSCRIPTION = "sub_00000000000000000001"
TAKEN_OVER_S = 30
CONNECTIONS_OF_THE_TEST = 3


@dataclass
class Slow:
    """Keeps a partner's first answer until told, and answers the others at once."""

    told: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    async def __call__(self, _call: Call) -> web.StreamResponse:
        self.calls += 1
        if self.calls == 1:
            await self.told.wait()
        return web.Response(status=204)


@dataclass
class Scene:
    """One event on its way to one partner, and the processes that bring it there."""

    rig: Rig
    parts: Parts
    partner: Partner
    slow: Slow
    position: int = 0

    async def happens(self) -> None:
        """Something happens to an order."""
        ((_, _, _, self.position, _),) = (await self.parts.see(order())).events

    async def record(self) -> Record:
        """What is kept of the one delivery there is."""
        delivery = await self.parts.deliveries.get(SUBSCRIPTION, self.position)
        assert delivery is not None
        return delivery.record

    async def delivered(self) -> bool:
        return (await self.record()).state is State.DELIVERED


@pytest.fixture
async def scene(rig: Rig) -> AsyncIterator[Scene]:
    """A worker in the midst of an attempt."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [Redis.from_url(rig.url) for _ in range(2)]
        for client in clients:
            stack.push_async_callback(client.aclose)
        parts = Parts(*clients)
        parts.vault = Vault([KEY])
        slow = Slow()
        endpoint = await stack.enter_async_context(partner(slow))
        stack.callback(slow.told.set)
        await parts.brand()
        assert (await parts.subscribe(endpoint.url)).id == SUBSCRIPTION
        yield Scene(rig, parts, endpoint, slow)


async def test_a_request_of_a_killed_worker_is_sent_again_within_half_a_minute_and_is_the_same(scene: Scene) -> None:
    scene.rig.relay("scheduler")
    killed = scene.rig.relay("worker", "--queues", "deliver")
    await scene.happens()
    await scene.partner.got(1)
    killed.kill()
    await ended(killed)
    killed_s = time.monotonic()
    scene.rig.relay("worker", "--queues", "deliver")
    first, second = await scene.partner.got(2, timeout_s=TAKEN_OVER_S + 10)
    assert second.at - killed_s < TAKEN_OVER_S
    assert (first.id, first.body) == (second.id, second.body)
    await until(scene.delivered)


async def test_what_a_frozen_worker_settles_late_is_refused(scene: Scene) -> None:
    scene.rig.relay("scheduler")
    frozen = scene.rig.relay("worker", "--queues", "deliver")
    await scene.happens()
    await scene.partner.got(1)
    frozen.send_signal(signal.SIGSTOP)
    scene.rig.relay("worker", "--queues", "deliver")
    await scene.partner.got(2, timeout_s=TAKEN_OVER_S)
    await until(scene.delivered)
    record = await scene.record()
    scene.slow.told.set()
    frozen.send_signal(signal.SIGCONT)

    async def refused() -> bool:
        return bool(scene.rig.logged("settle refused"))

    await until(refused)
    assert await scene.record() == record
    assert len(scene.partner.calls) == 2


async def test_a_worker_that_is_stopped_waits_for_the_answer_and_records_it(scene: Scene) -> None:
    stopped = scene.rig.relay("worker", "--queues", "deliver")
    await scene.happens()
    await scene.partner.got(1)
    stopped.terminate()
    scene.slow.told.set()
    assert await ended(stopped) == 0
    assert await scene.delivered()
    assert len(scene.partner.calls) == 1


async def test_workers_whose_supervisor_is_killed_end_with_it(scene: Scene) -> None:
    supervisor = scene.rig.relay("worker", "--queues", "deliver,maintain")
    await scene.happens()
    await scene.partner.got(1)
    supervisor.kill()
    await ended(supervisor)

    async def only_this_test_is_connected() -> bool:
        return len(await scene.parts.redis.client_list()) <= CONNECTIONS_OF_THE_TEST

    await until(only_this_test_is_connected)
