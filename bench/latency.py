"""How long after a change is seen does the partner have it, at fifty events a second?

    python bench/latency.py [--seconds 20] [--rate 50]

The relay's own scheduler and deliver worker, as an operator runs them, on a Redis of their own. Orders are committed
one at a time, at random moments; the partner answers at once, in a process of its own, and notes when. Counted is from
before the commit to the partner's answer; the partner's own time is nothing, so all of it is the relay's.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, percentile, run_for
from bench.orders import documented_order
from bench.stand import all_wait, parts_on, redis_server, roles, sink
from tests.integration.relays import Parts

BENCH = "latency"
WARM_S = 3.0
LATE_S = 10.0

Seen = dict[str, float]
"""Event -> Unix time before it was committed."""


async def commit_at(parts: Parts, *, rate: float, seconds: float, first: int, brand: str = "openapitest") -> Seen:
    """Commit new orders, one at a time, at random moments."""
    draw = random.Random(first)
    seen: Seen = {}
    began_s = time.monotonic()
    due_s, order_id = 0.0, first
    while (due_s := due_s + draw.expovariate(rate)) < seconds:
        order = documented_order(order_id, draw)
        order_id += 1
        await asyncio.sleep(max(0.0, began_s + due_s - time.monotonic()))
        at_s = time.time()
        report = await parts.see(order, scope=parts.orders_of(brand))
        for _, _, event_id, _, _ in report.events:
            seen[event_id] = at_s
    return seen


async def answered(base: str, wanted: Seen, *, each: int) -> dict[str, list[float]]:
    """When the partners answered, once all have, or most."""
    found: dict[str, list[float]] = {}
    deadline_s = time.monotonic() + LATE_S
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(base + "/times") as response:
                for event_id, times in (await response.json(content_type=None)).items():
                    found.setdefault(event_id, []).extend(times)
            missing = sum(each - len(found.get(event_id, ())) for event_id in wanted)
            if not missing or time.monotonic() > deadline_s:
                return found
            await asyncio.sleep(0.2)


def delays_ms(seen: Seen, found: dict[str, list[float]]) -> list[float]:
    """From before the commit to each answer; a first answer is what counts."""
    return [(at_s - seen[event_id]) * 1000 for event_id, times in found.items() if event_id in seen for at_s in times]


def late(delays: Sequence[float], wanted: int) -> int:
    """How many have not come at all."""
    return wanted - len(delays)


async def measure(*, seconds: float, rate: float) -> list[Figure]:
    with redis_server() as redis_url, sink() as base:
        async with parts_on(redis_url) as parts:
            await parts.subscribe(base + "/timed")
            with roles(redis_url, ("scheduler",), ("worker", "--queues", "deliver")):
                all_wait(redis_url, processes=2)
                await answered(base, await commit_at(parts, rate=rate, seconds=WARM_S, first=10**6), each=1)
                seen = await commit_at(parts, rate=rate, seconds=seconds, first=1)
                delays = delays_ms(seen, await answered(base, seen, each=1))
    return [
        Figure(BENCH, f"seen → 2xx at {rate:g}/s, p50", percentile(delays, 0.5), "ms", most=10),
        Figure(BENCH, f"seen → 2xx at {rate:g}/s, p99", percentile(delays, 0.99), "ms", most=50),
        Figure(BENCH, f"seen → 2xx at {rate:g}/s, longest", max(delays), "ms"),
        Figure(BENCH, "events", len(seen)),
        Figure(BENCH, "events that did not come", late(delays, len(seen)), most=0),
    ]


if __name__ == "__main__":
    sys.exit(run_for(measure, __doc__, seconds=20, rate=50))
