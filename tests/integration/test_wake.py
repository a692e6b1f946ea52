from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from relay.queues import JOB_TTL_S, Wake, queue_name
from relay.store.connection import open_sync_redis
from workers.jobs import Accepted, examine

KIND = "deliver"


class Slots:
    """Takes every slot, or none."""

    def __init__(self) -> None:
        self.free = True
        self.given_back: list[tuple[str, str]] = []

    async def take(self, _kind: str, _slot: str) -> bool:
        return self.free

    async def give_back(self, kind: str, slot: str) -> None:
        self.given_back.append((kind, slot))


@pytest.fixture
def connection(redis_url: str) -> Iterator[SyncRedis]:
    client = open_sync_redis(redis_url)
    yield client
    client.close()


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
def wake(connection: SyncRedis, slots: Slots) -> Iterator[Wake]:
    names = iter(f"slot-{n}" for n in range(100))
    made = Wake(connection, take=slots.take, give_back=slots.give_back, new_slot=lambda: next(names))
    yield made
    made.close()


async def test_a_wake_that_gets_a_slot_enqueues_a_shift_that_a_worker_accepts(
    wake: Wake, redis: Redis, connection: SyncRedis
) -> None:
    await wake(KIND)
    queue = Queue(queue_name(KIND), connection=connection, serializer=JSONSerializer)
    assert queue.job_ids == ["slot-0"]
    stored: Any = await redis.hgetall("rq:job:slot-0")  # redis-py cannot say that replies are bytes
    assert examine(b"slot-0", stored, kind=KIND) == Accepted(KIND, "slot-0")


async def test_a_job_that_nobody_runs_ends_by_itself(wake: Wake, redis: Redis, connection: SyncRedis) -> None:
    await wake(KIND)
    assert 0 < await redis.ttl("rq:job:slot-0") <= JOB_TTL_S
    job = Job.fetch("slot-0", connection=connection, serializer=JSONSerializer)
    assert (job.result_ttl, job.failure_ttl) == (0, JOB_TTL_S)


async def test_a_wake_that_gets_no_slot_enqueues_nothing(wake: Wake, redis: Redis, slots: Slots) -> None:
    slots.free = False
    await wake(KIND)
    assert await redis.keys("rq:*") == []


async def test_a_wake_that_cannot_enqueue_gives_the_slot_back_and_does_not_raise(
    wake: Wake, redis: Redis, slots: Slots
) -> None:
    await redis.set(f"rq:queue:{queue_name(KIND)}", "garbage")
    await wake(KIND)
    assert slots.given_back == [(KIND, "slot-0")]


async def test_a_wake_without_redis_does_not_raise(slots: Slots) -> None:
    nowhere = open_sync_redis("unix:///nowhere.sock")
    wake = Wake(nowhere, take=slots.take, give_back=slots.give_back, new_slot=lambda: "slot-1")
    await wake(KIND)
    wake.close()
    assert slots.given_back == [(KIND, "slot-1")]
