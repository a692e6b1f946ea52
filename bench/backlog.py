"""What does a backlog cost?  Memory of each pending delivery, and whether delivering gets dearer the more waits.

    python bench/backlog.py [--pending 1000000]

One subscription, events of 1.5 KB, each of an order of its own: the most that can wait of one event. Filled by the
relay's own commit script, in calls of five hundred. What a delivery costs is the processor time of one deliver process
and of Redis, first with a thousand pending and then with all of them, several times in turn; what counts is the ratio.
Memory is told apart by kind of key, as Redis' MEMORY USAGE counts it.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, number, parser, run
from bench.orders import documented_order, fill
from bench.stand import (
    Deliverer,
    parts_on,
    peak_bytes,
    redis_cpu_s,
    redis_memory_bytes,
    redis_server,
    roles,
    sink,
)
from relay.core.changes import Feed, compare
from relay.core.drafts import draft
from relay.core.events import pack_static, render
from relay.pipeline.commit import queue_of
from relay.store import keys
from relay.store.commit import Announcement, Answer, Entry
from relay.store.log import Range
from relay.store.snapshots import pack, static_head
from relay.store.subscriptions import Subscription
from tests.integration.relays import ORDERS, Parts

BENCH = "backlog"
FEW = 1_000
SAMPLE = 4_000
"""Deliveries that are made, and paid for, at each size."""
WEIGHED = 20_000
TURNS = 3
A_CALL = 500

KINDS = (
    ("the event in the log", (keys.LOG,)),
    ("index of event ids", (keys.LOG_IDS,)),
    ("snapshot of the order", (ORDERS.stem + ":o",)),
    ("head of the snapshot", (ORDERS.stem + ":h",)),
)


def entries(first: int, count: int, reference: str, templates: list[dict[str, Any]]) -> Iterator[Entry]:
    """Changes as a look would commit them, made fast: the same few orders under many ids."""
    for order_id in range(first, first + count):
        order = {**templates[order_id % len(templates)], "id": order_id}
        change = compare(Feed.ORDERS, None, order)
        assert change is not None
        subject = f"order/{order_id}"
        made = draft(change, brand="openapitest", venue_id=1, subject=subject, origin="poll", previous_id=None)
        yield Entry(
            entity=str(order_id),
            head=None,
            static_head=static_head(
                normalizer=1, fingerprint=f"{order_id:032x}", content=f"{order_id:032x}", flags="o"
            ),
            packed=pack(order, None),
            settled=False,
            announcement=Announcement(
                event_id=made.id,
                static=pack_static(made),
                counter="events|openapitest|order.created|poll",
                queue=queue_of("openapitest", 1, subject),
                references=(reference,),
            ),
        )


async def fill_fast(parts: Parts, *, first: int, count: int) -> None:
    """Commit that many events, each of an order of its own."""
    epoch, subscriptions = await parts.subscriptions.snapshot()
    (subscription,) = subscriptions.values()
    draw = random.Random(1)
    templates = [documented_order(number, draw) for number in range(1, 201)]
    started = await parts.snapshots.begin()
    committing: asyncio.Future[None] | None = None

    async def commit(batch: list[Entry]) -> None:
        answer = await parts.commits.commit(ORDERS, batch, started=started, fence=None, epoch=epoch)
        assert isinstance(answer, Answer), answer
        assert all(result.position for result in answer.results)

    for start in range(first, first + count, A_CALL):
        batch = list(entries(start, min(A_CALL, first + count - start), subscription.value.reference, templates))
        if committing is not None:
            await committing
        committing = asyncio.ensure_future(commit(batch))
        await asyncio.sleep(0)  # it is sent now, and Redis has it while the next is made
    if committing is not None:
        await committing


async def weigh(parts: Parts, subscription_id: str) -> list[Figure]:
    """Memory of a pending delivery, by kind of key."""
    before = await redis_memory_bytes(parts.redis)
    await fill(parts, events=WEIGHED)
    whole = (await redis_memory_bytes(parts.redis) - before) / WEIGHED
    lane = keys.lane(subscription_id)
    kinds = [*KINDS, ("the lane's list of deliveries", (lane + ":log",)), ("the lane's order", (lane + ":ready",))]
    (event,) = (await parts.log.forward(Range(), limit=1)).events
    figures = [
        Figure(BENCH, "body of an event", len(render(event)), "bytes"),
        Figure(BENCH, "Redis memory of a pending delivery", whole, "bytes", most=1024),
    ]
    rest = whole
    for name, held in kinds:
        size = sum([await parts.redis.memory_usage(key, samples=0) for key in held]) / WEIGHED
        rest -= size
        figures.append(Figure(BENCH, f"  of which {name}", size, "bytes"))
    figures.append(Figure(BENCH, "  of which the rest: places in Redis' own tables", rest, "bytes"))
    return figures


async def cost_us(parts: Parts, process: Deliverer, subscription: Subscription) -> tuple[float, float]:
    """Processor time of the worker, and of Redis, for one delivery."""
    before, before_s = await parts.counts(subscription), await redis_cpu_s(parts.redis)
    done = await process.do("deliver", most=SAMPLE)
    redis_s = await redis_cpu_s(parts.redis) - before_s
    count = (await parts.counts(subscription)).delivered - before.delivered
    return done["cpu_s"] / count * 1e6, redis_s / count * 1e6


async def worker_bytes(parts: Parts, redis_url: str, subscription: Subscription) -> int:
    """The most memory that a worker has had, as an operator runs it, once it has delivered some thousands."""
    before = (await parts.counts(subscription)).delivered
    with roles(redis_url, ("scheduler",), ("worker", "--queues", "deliver")) as running:
        while (await parts.counts(subscription)).delivered < before + SAMPLE:  # noqa: ASYNC110  another process does it
            await asyncio.sleep(0.05)
        return peak_bytes(running[1].pid)


async def measure(*, pending: int) -> list[Figure]:
    with redis_server() as redis_url, sink() as base:
        async with parts_on(redis_url) as parts:
            figures = await weigh(parts, (await parts.subscribe(base + "/hooks", max_concurrency=50)).id)
        async with parts_on(redis_url) as parts, Deliverer.open(redis_url) as process:
            subscription = await parts.subscribe(base + "/hooks", max_concurrency=50)
            few: list[tuple[float, float]] = []
            for turn in range(TURNS + 1):
                # A thousand wait all the while: what is delivered comes on top. The first turn is to get warm.
                await fill_fast(parts, first=1 + turn * (SAMPLE + FEW), count=SAMPLE + (0 if turn else FEW))
                few.append(await cost_us(parts, process, subscription))
            del few[0]
            await fill_fast(parts, first=10**6, count=pending)
            memory, waiting = await redis_memory_bytes(parts.redis), (await parts.counts(subscription)).pending
            many = [await cost_us(parts, process, subscription) for _ in range(TURNS)]
            await parts.change(subscription, url=base + "/slow")
            worker = await worker_bytes(parts, redis_url, subscription)
    ours, theirs = ([statistics.median(each[who] for each in costs) for costs in (few, many)] for who in (0, 1))
    size = number(waiting)
    ratio = (ours[1] + theirs[1]) / (ours[0] + theirs[0])
    return [
        *figures,
        Figure(BENCH, f"cost with {size} pending ÷ with 1 000", ratio, most=1.25),
        Figure(BENCH, "  of which the worker", ours[1] / ours[0]),
        Figure(BENCH, "  of which Redis", theirs[1] / theirs[0]),
        Figure(BENCH, "worker, a delivery with 1 000 pending", ours[0], "µs"),
        Figure(BENCH, "Redis, a delivery with 1 000 pending", theirs[0], "µs"),
        Figure(BENCH, f"memory of a worker with {size} pending", worker / 2**20, "MiB", most=150),
        Figure(BENCH, f"Redis memory with {size} pending", memory / 2**20, "MiB"),
    ]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--pending", type=int, default=1_000_000)
    chosen = options.parse_args()
    return run(lambda: measure(pending=chosen.pending), chosen.json)


if __name__ == "__main__":
    sys.exit(main())
