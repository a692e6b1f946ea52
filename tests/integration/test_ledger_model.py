"""A lane's random life against a model: whatever is done to it, the ledger closes and order holds."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest

from relay.core.deliveries import State
from relay.pipeline.attempt import BACK, DEAD, DELIVERED, DISCARDED, EXPIRED, RETRY
from relay.pipeline.commit import queue_of
from relay.pipeline.replay import Selection
from relay.store import keys
from relay.store.lane_states import COUNTED
from relay.store.lanes import Claimed, TakenHead
from relay.store.positions import LARGEST
from relay.store.subscriptions import Subscription
from tests.integration.relays import Parts, order
from tests.integration.test_lane_scripts import claim, ended, give_back, settle, take

URL = "http://127.0.0.1:9/hooks"
ORDERS = 5
ENDS = {DELIVERED: State.DELIVERED, DEAD: State.DEAD, EXPIRED: State.EXPIRED, DISCARDED: State.DISCARDED}


@dataclass
class Model:
    """What should be: the state of each delivery, and for each order which wait, in order."""

    states: dict[int, State] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    queues: dict[int, deque[int]] = field(default_factory=dict)
    orders: dict[int, int] = field(default_factory=dict)
    by: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, position: int) -> None:
        self.states[position] = State.PENDING
        self.orders[position] = number
        self.queues.setdefault(number, deque()).append(position)

    def end(self, position: int, state: State) -> None:
        self.states[position] = state
        self.queues[self.orders[position]].remove(position)

    def open(self, position: int, by: str) -> None:
        if self.states[position] is not State.PENDING:
            self.states[position] = State.PENDING
            self.queues[self.orders[position]].append(position)
            self.by[position] = by

    def heads(self) -> set[int]:
        return {queue[0] for queue in self.queues.values() if queue}


class Life:
    """Steps that a lane may meet, in any order."""

    def __init__(self, parts: Parts, subscription: Subscription, seed: int) -> None:
        self.parts, self.subscription = parts, subscription
        self.draw = random.Random(seed)
        self.model = Model()
        self.owner: Claimed | None = None
        self.stale: list[tuple[Claimed, TakenHead]] = []
        self.hand: list[TakenHead] = []
        self.changes = 0
        self.replays = 0

    async def happen(self) -> None:
        """An order changes."""
        self.changes += 1
        number = self.draw.randrange(1, ORDERS + 1)
        report = await self.parts.see(order(number, "pending", comment=str(self.changes)))
        for _, _, _, position, _ in report.events:
            self.model.add(number, position)

    async def take(self) -> None:
        """A worker asks for heads; it gets those that nobody has in hand."""
        if self.owner is None:
            await self.parts.redis.zadd(keys.LANES_DUE, {self.subscription.id: 0})
            (self.owner,) = await claim(self.parts, f"worker-{self.draw.random()}")
        taken = await take(self.parts, self.owner, self.draw.randrange(1, 4))
        assert taken.state == "ok"
        assert {head.position for head in taken.heads} <= self.model.heads() - {head.position for head in self.hand}
        for head in taken.heads:
            assert head.attempts == self.model.attempts.get(head.position, 0)
        self.hand += taken.heads

    async def settle(self) -> None:
        """An attempt ends."""
        if self.owner is None or not self.hand:
            return
        head = self.hand.pop(self.draw.randrange(len(self.hand)))
        verdict = self.draw.choice([DELIVERED, DELIVERED, RETRY, RETRY, DEAD, EXPIRED, DISCARDED, BACK])
        done = ended(head, verdict, number=head.attempts + 1, due_ms=1 if verdict == RETRY else 0)
        waits = head.position in self.model.heads()
        assert await settle(self.parts, self.owner, done) == [1 if waits else 2]
        if waits:
            if verdict in (DELIVERED, RETRY, DEAD):
                self.model.attempts[head.position] = head.attempts + 1
            if verdict in ENDS:
                self.model.end(head.position, ENDS[verdict])
        if verdict != BACK and waits:  # its answer was lost: it is settled again
            assert await settle(self.parts, self.owner, done) == [2]

    async def die(self) -> None:
        """The worker is killed; another takes over, and the first one's late settlements are refused."""
        if self.owner is None:
            return
        self.stale = [(self.owner, head) for head in self.hand]
        self.owner, self.hand = None, []
        await self.take()
        for owner, head in self.stale:
            assert await settle(self.parts, owner, ended(head, DELIVERED, number=head.attempts + 1)) == [0]

    async def leave(self) -> None:
        """The worker gives its lane back."""
        if self.owner is not None:
            _, outcomes = await give_back(self.parts, self.owner)
            assert outcomes == [0]
            self.owner, self.hand = None, []

    async def retry(self) -> None:
        """Somebody asks for one delivery once more."""
        if not self.model.states:
            return
        position = self.draw.choice(list(self.model.states))
        queue = queue_of("openapitest", 1, f"order/{self.model.orders[position]}")
        row = (position, queue, "openapitest")
        (outcome,) = await self.parts.deliveries.reopen(self.subscription.id, [row])
        assert outcome == ("pending" if self.model.states[position] is State.PENDING else "reopened")
        self.model.open(position, "hand")

    async def replay(self) -> None:
        """Somebody asks for all, or all that died, once more."""
        self.replays += 1
        name = f"rpl_{self.replays}"
        dead = self.draw.random() < 0.5
        selection = Selection(first=0, last=LARGEST, status=State.DEAD if dead else None)
        await self.parts.replays.start(self.subscription, selection, replay_id=name)
        await self.parts.background("replay")
        for position in sorted(self.model.states):
            if not dead or self.model.states[position] is State.DEAD:
                self.model.open(position, name)

    async def stop(self) -> None:
        """The last replay is stopped."""
        if not self.replays:
            return
        name = f"rpl_{self.replays}"
        await self.parts.replays.stop(name)
        for position, state in list(self.model.states.items()):
            if state is State.PENDING and self.model.by.get(position) == name:
                self.model.end(position, State.DISCARDED)

    async def check(self) -> None:
        """Compare everything with the model."""
        counts = await self.parts.closes(self.subscription)
        states = list(self.model.states.values())
        expected: dict[str, int] = {state.value: states.count(state) for state in State}
        assert {name: getattr(counts, name) for name in COUNTED} == {"matched": len(states), **expected}
        found = await self.parts.deliveries.many([(self.subscription.id, at) for at in self.model.states])
        for position, delivery in zip(self.model.states, found, strict=True):
            assert delivery is not None
            assert delivery.record.state is self.model.states[position]
            assert delivery.record.attempts == self.model.attempts.get(position, 0)
        lane = keys.lane(self.subscription.id)
        for number, queue in self.model.queues.items():
            (stored,) = await self.parts.maintenance.waiting(self.subscription.id, [f"openapitest/1/order/{number}"])
            assert stored == list(queue)
        await self.check_heads(lane)
        assert sorted(await self.parts.deliveries.dead(self.subscription.id)) == sorted(
            position for position, state in self.model.states.items() if state is State.DEAD
        )

    async def check_heads(self, lane: str) -> None:
        """Each order that waits stands in exactly one of the two sets, and none that does not."""
        redis: Any = self.parts.redis
        waiting = [await redis.zrange(lane + name, 0, -1) for name in (":ready", ":retry")]
        standing = sorted(queue.decode() for queues in waiting for queue in queues)
        assert standing == sorted(
            f"openapitest/1/order/{number}" for number, queue in self.model.queues.items() if queue
        )


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_to_a_lane_the_ledger_closes_and_order_holds(parts: Parts, seed: int) -> None:
    subscription = await parts.subscribe(URL)
    life = Life(parts, subscription, seed)
    steps = [life.happen, life.take, life.settle, life.die, life.leave, life.retry, life.replay, life.stop]
    for _ in range(150):
        (step,) = life.draw.choices(steps, [8, 10, 14, 1, 1, 2, 0.6, 0.6])
        await step()
        await life.check()
    await parts.background("count ledger")
    assert (await parts.maintenance.audit() or ("never", 0))[0] == 0


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happened_to_it_a_lane_can_be_emptied(parts: Parts, seed: int) -> None:
    subscription = await parts.subscribe(URL)
    life = Life(parts, subscription, seed + 100)
    for _ in range(100):
        await life.draw.choice([life.happen, life.take, life.settle, life.die, life.replay, life.retry])()
    await parts.subscriptions.delete(subscription.id)
    await parts.background("discard")
    counts = await parts.closes(subscription)
    assert counts.pending == 0
    await parts.tick()
    await parts.background("retain", retention_ms=0)
    assert not [key async for key in parts.redis.scan_iter(keys.lane(subscription.id) + "*") if b":stat:" not in key]
