"""What does one attempt of the sender cost, beside a bare loop of aiohttp's own session?

    python bench/send.py [--requests 20000] [--asyncio]

Both post the same signed body to the same sink over kept connections, turn by turn in one process; the sink has the
other core. What counts is the ratio of processor time: above 1, the sender is the cheaper one.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, conclude, parser, run
from bench.stand import sink
from relay.core.netpolicy import CheckedUrl, check_url, parse_networks
from relay.core.signing import new_secret, parse_secret, sign
from relay.egress.sender import FIXED_HEADERS, OutboundRequest, Sender

BENCH = "send"
IN_FLIGHT = 50
ROUNDS = 8
LOOPBACK = parse_networks("127.0.0.1/32")
BODY = b'{"id":"evt_1","data":"' + b"x" * 1_500 + b'"}'
KEYS = [parse_secret(new_secret(bytes(32)))]


def headers() -> dict[str, str]:
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1770039965",
        "webhook-signature": sign(KEYS, webhook_id="evt_1", timestamp_s=1_770_039_965, body=BODY),
        "relay-attempt": "1",
        "relay-subscription": "sub_1",
    }


async def cpu_us(send: Callable[[], Awaitable[None]], requests: int) -> float:
    """Return the processor time of one request, in microseconds."""

    async def one_after_the_other() -> None:
        for _ in range(requests // IN_FLIGHT):
            await send()

    before_s = time.process_time()
    await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))
    return (time.process_time() - before_s) / requests * 1e6


async def compare(address: str, requests: int) -> list[Figure]:
    url = check_url(address, allow=LOOPBACK)
    assert isinstance(url, CheckedUrl)
    async with Sender(allow=LOOPBACK) as sender, aiohttp.ClientSession() as session:

        async def ours() -> None:
            attempt = await sender.send(OutboundRequest(url, headers(), BODY, 15.0))
            assert attempt.status_class == "2xx", attempt

        async def bare() -> None:
            async with session.post(url.url, data=BODY, headers=FIXED_HEADERS | headers()) as response:
                await response.read()
            assert response.ok

        spent_us: dict[str, list[float]] = {"ours": [], "bare": []}
        for _ in range(ROUNDS):
            spent_us["ours"].append(await cpu_us(ours, requests // ROUNDS))
            spent_us["bare"].append(await cpu_us(bare, requests // ROUNDS))
    medians = {name: statistics.median(values[1:]) for name, values in spent_us.items()}
    return [
        Figure(BENCH, "bare session loop ÷ sender, processor time", medians["bare"] / medians["ours"], least=1.0),
        Figure(BENCH, "sender, a request", medians["ours"], "µs"),
        Figure(BENCH, "bare session loop, a request", medians["bare"], "µs"),
    ]


async def measure(requests: int) -> list[Figure]:
    with sink() as base:
        return await compare(base + "/hooks", requests)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--asyncio", action="store_true", help="the standard event loop instead of uvloop")
    chosen = options.parse_args()
    if chosen.asyncio:
        return conclude(asyncio.run(measure(chosen.requests)), chosen.json)
    return run(lambda: measure(chosen.requests), chosen.json)


if __name__ == "__main__":
    sys.exit(main())
