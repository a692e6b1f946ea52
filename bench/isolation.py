"""What do healthy partners notice of sick ones?

    python bench/isolation.py [--seconds 15] [--rate 10]

Eight partners that answer after 20 ms, first among themselves, then beside one that never answers, one that drips a
byte now and then, and one whose answer has no end; the relay's own scheduler and one deliver worker. Counted is, at the
healthy ones, from before the commit to the answer; what counts is the ratio of the two p95.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, percentile, run_for
from bench.latency import answered, commit_at, delays_ms, late
from bench.stand import all_wait, parts_on, redis_server, roles, sink
from tests.integration.relays import Parts

BENCH = "isolation"
HEALTHY = 8
SICK = ("/hang", "/drip", "/flood")
WARM_S = 3.0


async def delays(parts: Parts, base: str, *, rate: float, seconds: float, first: int) -> tuple[list[float], int]:
    """Delays at the healthy partners, and how many deliveries there should be."""
    seen = await commit_at(parts, rate=rate, seconds=seconds, first=first)
    return delays_ms(seen, await answered(base, seen, each=HEALTHY)), len(seen) * HEALTHY


async def measure(*, seconds: float, rate: float) -> list[Figure]:
    with redis_server() as redis_url, sink() as base, sink() as ward:
        async with parts_on(redis_url) as parts:
            for number in range(HEALTHY):
                await parts.subscribe(f"{base}/slow/{number}")
            with roles(redis_url, ("scheduler",), ("worker", "--queues", "deliver")):
                all_wait(redis_url, processes=2)
                await delays(parts, base, rate=rate, seconds=WARM_S, first=10**6)
                alone, _ = await delays(parts, base, rate=rate, seconds=seconds, first=1)
                sick = [await parts.subscribe(ward + path) for path in SICK]
                await delays(parts, base, rate=rate, seconds=WARM_S, first=2 * 10**6)
                beside, wanted = await delays(parts, base, rate=rate, seconds=seconds, first=3 * 10**6)
                counts = await parts.deliveries.counts([each.id for each in sick])
    p95_alone, p95_beside = percentile(alone, 0.95), percentile(beside, 0.95)
    pending = sum(each.pending for each in counts.values())
    return [
        Figure(BENCH, "p95 beside three sick partners ÷ without them", p95_beside / p95_alone, most=1.5),
        Figure(BENCH, "p95 without them", p95_alone, "ms"),
        Figure(BENCH, "p95 beside them", p95_beside, "ms"),
        Figure(BENCH, "p50 without them", percentile(alone, 0.5), "ms"),
        Figure(BENCH, "p50 beside them", percentile(beside, 0.5), "ms"),
        Figure(BENCH, "deliveries to healthy partners that did not come", late(beside, wanted), most=0),
        Figure(BENCH, "what waits at the sick ones meanwhile", pending),
    ]


if __name__ == "__main__":
    sys.exit(run_for(measure, __doc__, seconds=15, rate=10))
