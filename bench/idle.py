"""What does a relay cost that has nothing to do?

    python bench/idle.py [--seconds 330]

API, scheduler and one worker for each queue, on a Redis of their own, without a brand. Counts what Redis executes,
within scripts too. Background tasks come every five minutes: a shorter window misses them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from redis import Redis

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, conclude, parser
from bench.stand import all_wait, redis_server, roles

BENCH = "idle"
ROLES = (
    ("api",),
    ("scheduler",),
    ("worker", "--queues", "poll"),
    ("worker", "--queues", "deliver"),
    ("worker", "--queues", "maintain"),
)
WAITING = 4
"""Processes that wait for something in Redis once all have started: three workers and the scheduler."""
STARTED_S = 10
"""And then some, for the first shift of each and what the API does at its start."""
SHOWN = 8


def commands(redis: Redis) -> dict[str, int]:
    stats: dict[str, Any] = redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(of["calls"]) for name, of in stats.items()}


def measure(seconds: int) -> list[Figure]:
    with redis_server() as redis_url, roles(redis_url, *ROLES):
        all_wait(redis_url, processes=WAITING)
        time.sleep(STARTED_S)
        redis = Redis.from_url(redis_url)
        redis.config_resetstat()
        time.sleep(seconds)
        counted = commands(redis)
        redis.close()
    most = sorted(counted.items(), key=lambda each: -each[1])
    return [
        Figure(BENCH, "Redis commands, all processes together", sum(counted.values()) / seconds, "/s", most=2),
        *(Figure(BENCH, f"  of which {name}", calls / seconds, "/s") for name, calls in most[:SHOWN]),
    ]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--seconds", type=int, default=330)
    chosen = options.parse_args()
    return conclude(measure(chosen.seconds), chosen.json)


if __name__ == "__main__":
    sys.exit(main())
