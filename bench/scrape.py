"""What does a scrape cost with many subscriptions, and how soon is it answered while Redis hangs?

    python bench/scrape.py [--subscriptions 1000] [--events 20] [--scrapes 40] [--json FILE]

The real `relay api` on a Redis of its own. Each subscription has a backlog, counters for three classes of answers and
two outcomes. Then Redis is frozen, and scraped again. Figures: the median of the scrapes against 50 ms, what one costs
the API's process and Redis in processor time, and how long the longest took while Redis hung, against 2 s; also how
long other requests took meanwhile, against 3 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, parser, percentile, run
from bench.orders import fill
from bench.stand import READY_S, TOKEN, free_port, parts_on, redis_cpu_s, redis_server, roles
from relay.store.counters import Counters

PORT = free_port()
MOST_S = 0.050
HUNG_MOST_S = 2.0
AWAY_MOST_S = 3.0
ASKED = ["/v1/brands", "/v1/subscriptions", "/v1/ledger", "/readyz"] + ["/v1/events"] * 10
"""What is asked of the API at once while Redis hangs."""
TICKS_A_S = os.sysconf("SC_CLK_TCK")


def ask(path: str) -> tuple[float, bytes]:
    """One request: seconds, and what came."""
    began_s = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request("GET", path, headers={"authorization": f"Bearer {TOKEN}"})
    body = connection.getresponse().read()
    connection.close()
    return time.perf_counter() - began_s, body


def scrape() -> tuple[float, bytes]:
    """One scrape: seconds, and what came."""
    return ask("/metrics")


def cpu_s(pid: int) -> float:
    """What a process has used of its processor so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_S


def wait_for_the_api() -> None:
    """Wait until it answers, and has read Redis."""
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            if b"relay_redis_up 1.0" in scrape()[1]:
                return
        time.sleep(0.1)
    raise TimeoutError("the API did not get ready")


async def measure(subscriptions: int, events: int, scrapes: int) -> list[Figure]:
    with redis_server() as url:
        async with parts_on(url) as parts:
            names = [(await parts.subscribe("http://127.0.0.1:9/")).id for _ in range(subscriptions)]
            await fill(parts, events=events)
            await Counters(parts.redis).add(
                [("attempts", (name, status), 7) for name in names for status in ("2xx", "5xx", "timeout")]
                + [("deliveries", (name, outcome), 7) for name in names for outcome in ("delivered", "dead")]
            )
            with roles(url, ("api",), port=PORT) as (api,):
                await asyncio.to_thread(wait_for_the_api)
                api_s, redis_s = cpu_s(api.pid), await redis_cpu_s(parts.redis)
                answers = [await asyncio.to_thread(scrape) for _ in range(scrapes)]
                api_ms = (cpu_s(api.pid) - api_s) / scrapes * 1000
                redis_ms = (await redis_cpu_s(parts.redis) - redis_s) / scrapes * 1000
                server = int((await parts.redis.info("server"))["process_id"])
                os.kill(server, signal.SIGSTOP)
                try:
                    hung = [await asyncio.to_thread(scrape) for _ in range(3)]
                    away = await asyncio.gather(*(asyncio.to_thread(ask, path) for path in ASKED))
                finally:
                    os.kill(server, signal.SIGCONT)
    assert all(body.count(b"relay_backlog_deliveries{") == subscriptions for _, body in answers)
    assert all(b"relay_redis_up 0.0" in body for _, body in hung)
    assert all(b'"unavailable"' in body for _, body in away)
    took_s = [each for each, _ in answers]
    what = f"{subscriptions} subscriptions"
    return [
        Figure("scrape", f"{what}: median ÷ 50 ms", statistics.median(took_s) / MOST_S, most=1),
        Figure("scrape", f"{what}: median", statistics.median(took_s) * 1000, "ms"),
        Figure("scrape", f"{what}: p95", percentile(took_s, 0.95) * 1000, "ms"),
        Figure("scrape", f"{what}: processor time of the API", api_ms, "ms"),
        Figure("scrape", f"{what}: processor time of Redis", redis_ms, "ms"),
        Figure("scrape", f"{what}: size", len(answers[-1][1]) / 1e6, "MB"),
        Figure("scrape", "Redis hangs: longest ÷ 2 s", max(each for each, _ in hung) / HUNG_MOST_S, most=1),
        Figure(
            "scrape", "Redis hangs: longest answer of the API", max(each for each, _ in away), "s", most=AWAY_MOST_S
        ),
    ]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--subscriptions", type=int, default=1000)
    options.add_argument("--events", type=int, default=20)
    options.add_argument("--scrapes", type=int, default=40)
    chosen = options.parse_args()
    return run(lambda: measure(chosen.subscriptions, chosen.events, chosen.scrapes), chosen.json)


if __name__ == "__main__":
    sys.exit(main())
