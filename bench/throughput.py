"""How near to a bare loop of the same HTTP client does delivering come?

    python bench/throughput.py [--events 10000]

Events that wait in lanes are sent, answered, and settled with their attempts recorded, by one deliver process; the sink
has the other core. In the same run a bare loop of the same client posts the same signed bodies to the same sink. What
counts is the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import uvloop
from redis.asyncio import Redis

sys.path.insert(0, str(Path(__file__).parent.parent))

from relay.core import signing
from relay.core.events import render
from relay.core.orders import normalize
from relay.egress.sender import Sender
from relay.pipeline.deliver import deliver_shift
from relay.pipeline.stop import Stop
from relay.store.log import Range
from relay.supervise.redis_server import find_redis_server, redis_answers, redis_command
from tests.integration.relays import LOOPBACK, SECRET, Parts

IN_FLIGHT = 50
DOCUMENTED = {
    "id": 1,
    "venue_id": 1,
    "type": "CALL_CENTER_ORDER",
    "integration": "call_center_new",
    "integration_status": "CREATED",
    "status": "RECEIVED",
    "created_at": "2026-02-02T13:45:53.000000Z",
    "updated_at": "2026-02-02T17:46:02.000000Z",
}


class Spent(NamedTuple):
    """Time on the clock, and of this process' processor."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> Spent:
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


def documented_order(order_id: int, draw: random.Random) -> dict[str, Any]:
    """The documented order, with a customer and goods of its own: some 1.5 KB as an event."""
    products = [
        {
            "product_id": draw.randrange(1000),
            "count": draw.randrange(1, 9),
            "meta": {"price": draw.randrange(100, 2000) / 100, "order_product": {"product": {"name": name}}},
        }
        for name in draw.sample(["Pizza", "Ayran", "Plov", "Dolma", "Qutab", "Kebab", "Tea", "Baklava"], 3)
    ]
    payload = {
        "delivery_fee": 2.5,
        "customer": {
            "id": draw.randrange(1, 10**6),
            "phone": f"+99455{draw.randrange(10**7):07d}",
            "address": f"{draw.randrange(1, 400)} Made-up Street, flat {draw.randrange(1, 99)}",
            "name": f"Guest {draw.randrange(10**6)}",
        },
        "products": products,
        "meta": {
            "comment": f"Ring {draw.randrange(100)} times",
            "apply_service_charge": True,
            "service_charge_value": 5,
        },
        "sale_type_id": 2,
    }
    order: dict[str, Any] = dict(normalize({**DOCUMENTED, "id": order_id, "payload": payload}, currency=None))
    return order


@contextmanager
def redis_server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "redis.sock"
        process = subprocess.Popen(
            redis_command(find_redis_server(), folder=Path(folder), unix_socket=socket),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not redis_answers(socket):
                time.sleep(0.02)
            yield f"unix://{socket}"
        finally:
            process.kill()
            process.wait()


@contextmanager
def sink() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "sink.py")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/hooks"
    finally:
        process.kill()
        process.wait()


async def bare_loop(url: str, bodies: list[tuple[str, bytes]], key: signing.HmacKey) -> Spent:
    """What the bare client takes: sign and post, fifty at once."""
    queue = iter(bodies)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=IN_FLIGHT), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def one() -> None:
            for event_id, body in queue:
                now = int(time.time())
                headers = {
                    "content-type": "application/json",
                    "webhook-id": event_id,
                    "webhook-timestamp": str(now),
                    "webhook-signature": signing.sign([key], webhook_id=event_id, timestamp_s=now, body=body),
                }
                async with session.post(url, data=body, headers=headers) as response:
                    await response.read()

        started = Spent.now()
        await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))
        return Spent.now() - started


async def fill(parts: Parts, *, events: int) -> None:
    draw = random.Random(1)
    for start in range(0, events, 500):
        await parts.see(*(documented_order(n + 1, draw) for n in range(start, min(start + 500, events))))


async def deliver_all(parts: Parts) -> Spent:
    """What it takes until everything that waits is settled."""
    async with Sender(allow=LOOPBACK) as sender:
        context = parts.context(sender, linger_s=0.0)
        gc.collect()
        started = Spent.now()
        await deliver_shift(context, owner="bench", stop=Stop(time.monotonic, 600), concurrency=256)
        return Spent.now() - started


async def redis_cpu_s(redis: Redis) -> float:
    """What Redis has used of its processor so far."""
    info = await redis.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def measure(redis_url: str, url: str, *, subscriptions: int, events: int) -> dict[str, float]:
    redis, pop = Redis.from_url(redis_url, protocol=2), Redis.from_url(redis_url, protocol=2)
    await redis.flushall()
    parts = Parts(redis, pop)
    await parts.brand()
    for _ in range(subscriptions):
        await parts.subscribe(url, max_concurrency=IN_FLIGHT)
    each = max(1, events // subscriptions)
    before = int((await redis.info("memory"))["used_memory"])
    await fill(parts, events=each)
    total = each * subscriptions
    memory = (int((await redis.info("memory"))["used_memory"]) - before) / total
    stretch = await parts.log.forward(Range(), limit=each)
    bodies = [(event.id, render(event)) for event in stretch.events]
    key = signing.parse_secret(SECRET)
    sample = (bodies * (total // len(bodies) + 1))[:total]
    bare = await bare_loop(url, sample, key)
    redis_before_s = await redis_cpu_s(redis)
    relay = await deliver_all(parts)
    redis_cpu = await redis_cpu_s(redis) - redis_before_s
    counts = await parts.deliveries.counts(list(await parts.subscriptions.all()))
    delivered = sum(each.delivered for each in counts.values())
    assert delivered == total, (delivered, total)
    again = await bare_loop(url, sample, key)
    bare = Spent((bare.wall_s + again.wall_s) / 2, (bare.cpu_s + again.cpu_s) / 2)
    await redis.aclose()
    await pop.aclose()
    return {
        "subscriptions": subscriptions,
        "deliveries": total,
        "body_bytes": len(bodies[0][1]),
        "bare_per_s": round(total / bare.wall_s),
        "relay_per_s": round(total / relay.wall_s),
        "bare_cpu_us": round(bare.cpu_s / total * 1e6, 1),
        "relay_cpu_us": round(relay.cpu_s / total * 1e6, 1),
        "redis_cpu_us": round(redis_cpu / total * 1e6, 1),
        "ratio": round(bare.wall_s / relay.wall_s, 3),
        "cpu_ratio": round(bare.cpu_s / relay.cpu_s, 3),
        "redis_bytes_per_pending": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--subscriptions", type=int, nargs="*", default=[1, 50, 1000])
    arguments = parser.parse_args()
    with redis_server() as redis_url, sink() as url:
        for subscriptions in arguments.subscriptions:
            run = measure(redis_url, url, subscriptions=subscriptions, events=arguments.events)
            print(json.dumps(uvloop.run(run)), flush=True)


if __name__ == "__main__":
    main()
