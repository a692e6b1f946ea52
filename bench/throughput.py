"""How near to a bare loop of the same HTTP client does delivering come?

    python bench/throughput.py [--events 10000] [--rounds 3] [--subscriptions 1 50 1000]

Events that wait in lanes are sent, answered, and settled with their attempts recorded, by one deliver process; the sink
has the other core. In the same run, before and after, a bare loop in that same process posts the same signed bodies to
the same sink: with the HTTP client's own session, and with the relay's sender, which is cheaper and so the harder
measure. What counts is the ratio; of several rounds, the median. Two processes need cores of their own beside Redis and
the sink: with fewer than four that ratio says nothing of the relay, and has no bound.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.deliverer import IN_FLIGHT
from bench.figures import Figure, parser, run
from bench.orders import fill
from bench.stand import Deliverer, parts_on, redis_cpu_s, redis_server, sink
from tests.integration.relays import Parts

BENCH = "throughput"
LEAST = {1: 0.6, 50: 0.6, 1000: 0.4}
CORES_FOR_TWO = 4


async def prepared(parts: Parts, url: str, *, subscriptions: int, events: int) -> int:
    """Let so many deliveries wait, all in all; how many they are."""
    for _ in range(subscriptions):
        await parts.subscribe(url, max_concurrency=IN_FLIGHT)
    each = max(1, events // subscriptions)
    await fill(parts, events=each)
    return each * subscriptions


async def delivered(parts: Parts) -> int:
    counts = await parts.deliveries.counts(list(await parts.subscriptions.all()))
    return sum(each.delivered for each in counts.values())


async def one(redis_url: str, url: str, *, subscriptions: int, events: int) -> dict[str, float]:
    """One round: bare, the relay, bare again."""
    async with parts_on(redis_url) as parts, Deliverer.open(redis_url) as process:
        total = await prepared(parts, url, subscriptions=subscriptions, events=events)
        await process.do("read", count=total)
        before = [await process.do("bare", url=url), await process.do("sender", url=url)]
        redis_s = await redis_cpu_s(parts.redis)
        relay = await process.do("deliver")
        redis_s = await redis_cpu_s(parts.redis) - redis_s
        after = [await process.do("bare", url=url), await process.do("sender", url=url)]
        assert await delivered(parts) == total, (await delivered(parts), total)
    bare_s, sender_s = ((a["wall_s"] + b["wall_s"]) / 2 for a, b in zip(before, after, strict=True))
    bare_cpu_s, sender_cpu_s = ((a["cpu_s"] + b["cpu_s"]) / 2 for a, b in zip(before, after, strict=True))
    return {
        "bare_per_s": total / bare_s,
        "relay_per_s": total / relay["wall_s"],
        "ratio": bare_s / relay["wall_s"],
        "sender_ratio": sender_s / relay["wall_s"],
        "cpu_ratio": bare_cpu_s / relay["cpu_s"],
        "sender_cpu_ratio": sender_cpu_s / relay["cpu_s"],
        "relay_cpu_us": relay["cpu_s"] / total * 1e6,
        "redis_cpu_us": redis_s / total * 1e6,
    }


async def two(redis_url: str, url: str, *, events: int) -> float:
    """How much more two processes deliver than one: fifty subscriptions, each lane one process' at a time."""
    rates: list[float] = []
    for count in (1, 2):
        async with (
            parts_on(redis_url) as parts,
            Deliverer.open(redis_url, "a") as a,
            Deliverer.open(redis_url, "b") as b,
        ):
            total = await prepared(parts, url, subscriptions=50, events=events)
            done = await asyncio.gather(*(each.do("deliver") for each in (a, b)[:count]))
            assert await delivered(parts) == total
            rates.append(total / max(each["wall_s"] for each in done))
    return rates[1] / rates[0]


async def measure(*, subscriptions: list[int], events: int, rounds: int) -> list[Figure]:
    figures: list[Figure] = []
    with redis_server() as redis_url, sink() as base:
        url = base + "/hooks"
        for number in subscriptions:
            found = [await one(redis_url, url, subscriptions=number, events=events) for _ in range(rounds)]
            middle = {name: statistics.median(each[name] for each in found) for name in found[0]}
            where = f"{number} subscription{'s' * (number > 1)}"
            spread = ", ".join(f"{each['ratio']:.2f}" for each in found)
            figures += [
                Figure(
                    BENCH, f"{where}: ÷ bare loop", middle["ratio"], least=LEAST.get(number), note=f"rounds: {spread}"
                ),
                Figure(BENCH, f"{where}: ÷ bare loop, processor time", middle["cpu_ratio"]),
                Figure(BENCH, f"{where}: ÷ the sender alone", middle["sender_ratio"]),
                Figure(BENCH, f"{where}: ÷ the sender alone, processor time", middle["sender_cpu_ratio"]),
                Figure(BENCH, f"{where}: bare loop", middle["bare_per_s"], "/s"),
                Figure(BENCH, f"{where}: delivered", middle["relay_per_s"], "/s"),
                Figure(BENCH, f"{where}: processor time of the worker", middle["relay_cpu_us"], "µs"),
                Figure(BENCH, f"{where}: processor time of Redis", middle["redis_cpu_us"], "µs"),
            ]
        cores = os.cpu_count() or 1
        enough = cores >= CORES_FOR_TWO
        figures.append(
            Figure(
                BENCH,
                "two processes ÷ one",
                await two(redis_url, url, events=events),
                least=1.7 if enough else None,
                note="" if enough else f"{cores} cores: two workers, Redis and the sink share them",
            )
        )
    return figures


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--events", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--subscriptions", type=int, nargs="*", default=[1, 50, 1000])
    chosen = options.parse_args()
    return run(
        lambda: measure(subscriptions=chosen.subscriptions, events=chosen.events, rounds=chosen.rounds), chosen.json
    )


if __name__ == "__main__":
    sys.exit(main())
