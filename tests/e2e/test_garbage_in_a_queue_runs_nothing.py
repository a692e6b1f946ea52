from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as SyncRedis
from rq import Queue
from rq.serializers import JSONSerializer

from tests.e2e.rigs import Rig

QUEUE = "rq:queue:relay-deliver"


def packed(content: Any) -> bytes:
    return zlib.compress(json.dumps(content).encode())


async def assert_still_at_work(rig: Rig) -> None:
    await rig.make_due("a:")
    await rig.wake()
    await rig.until_journal("begin a", "end a")


async def test_a_job_of_another_function_is_refused_and_not_executed(rig: Rig, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    await rig.worker()
    with SyncRedis.from_url(rig.url) as client:
        queue = Queue("relay-deliver", connection=client, serializer=JSONSerializer)
        queue.enqueue("os.system", f"touch {proof}")
        queue.enqueue("os.mkdir", str(proof), on_failure=None)
    await assert_still_at_work(rig)
    assert [line["reason"] for line in rig.logged("job refused")] == ["function", "function"]
    assert await rig.redis.hget("relay:m", "jobs_refused|deliver|function") == b"2"
    assert not proof.exists()


async def test_a_pickle_is_not_opened(rig: Rig) -> None:
    await rig.worker()
    with SyncRedis.from_url(rig.url) as client:
        Queue("relay-deliver", connection=client).enqueue("os.getpid")
    await assert_still_at_work(rig)
    assert [line["reason"] for line in rig.logged("job refused")] == ["unreadable"]


async def test_callbacks_and_webhooks_of_a_job_that_looks_right_are_ignored(rig: Rig, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    await rig.worker()
    await rig.redis.hset(
        "rq:job:looks-right",
        mapping={
            "data": packed(["workers.jobs.shift", None, ["deliver", "unknown-slot"], {}]),
            "success_callback_name": "os.mkdir",
            "failure_callback_name": "os.mkdir",
            "description": str(proof),
            "retries_left": "5",
            "repeats_left": "5",
            "webhooks": json.dumps([{"url": "http://127.0.0.1:9/", "statuses": ["finished"]}]),
        },
    )
    await rig.redis.rpush(QUEUE, "looks-right")
    await assert_still_at_work(rig)
    assert rig.logged("job refused") == []
    assert await rig.redis.keys("rq:scheduled:*") == []


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe\x00 not text", b"../../etc/passwd", b"no-such-job", b"", b"x" * 100_000, b"{}"],
    ids=["bytes", "path", "gone", "empty", "long", "json"],
)
async def test_whatever_lies_in_a_queue_the_next_job_runs(rig: Rig, garbage: bytes) -> None:
    await rig.worker()
    await rig.redis.rpush(QUEUE, garbage)
    await assert_still_at_work(rig)


async def test_keys_of_rq_that_are_of_a_wrong_type_stop_nothing(rig: Rig) -> None:
    await rig.worker(pop_s=1)
    await rig.redis.set("rq:job:of-a-wrong-type", "garbage")
    await rig.redis.rpush(QUEUE, "of-a-wrong-type")
    await rig.redis.set(f"{QUEUE}:intermediate", "garbage")
    await rig.redis.set("rq:suspended", "1")
    await rig.make_due("a:")
    await rig.until_journal("begin a", "end a")
    await rig.make_due("b:")
    await rig.wake()
    await rig.until_journal("begin a", "end a", "begin b", "end b")
