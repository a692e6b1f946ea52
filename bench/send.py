"""What does one attempt of the sender cost, beside a bare loop of aiohttp's own session?

    python bench/send.py [--requests 20000] [--asyncio]

Both post the same signed body to the same sink over kept connections, turn by turn in one process; the sink has the
other core. What counts is the ratio of processor time: above 1, the sender is the cheaper one.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import uvloop

from relay.core.netpolicy import CheckedUrl, check_url, parse_networks
from relay.core.signing import new_secret, parse_secret, sign
from relay.egress.sender import FIXED_HEADERS, OutboundRequest, Sender

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


async def compare(port: int, requests: int) -> None:
    url = check_url(f"http://127.0.0.1:{port}/hooks", allow=LOOPBACK)
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
    print(f"sender {medians['ours']:.0f} µs, bare session loop {medians['bare']:.0f} µs of processor time a request")
    print(f"ratio {medians['bare'] / medians['ours']:.2f}")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--asyncio", action="store_true", help="the standard event loop instead of uvloop")
    chosen = options.parse_args()
    command = [sys.executable, str(Path(__file__).parent / "sink.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as sink:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        try:
            (asyncio.run if chosen.asyncio else uvloop.run)(compare(port, chosen.requests))
        finally:
            sink.terminate()


if __name__ == "__main__":
    main()
