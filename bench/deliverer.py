"""One process that delivers as a worker does, or posts as a bare loop does: told by lines of JSON what to do next.

Run by ``stand.Deliverer``. Each answer is one line: seconds on the clock, seconds of this process' processor, and the
most memory that it has had.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stand import KEY
from relay.core import signing
from relay.core.events import render
from relay.core.netpolicy import CheckedUrl, check_url
from relay.egress.sender import OutboundRequest, Sender
from relay.pipeline.deliver import deliver_shift
from relay.pipeline.stop import Stop
from relay.store.connection import open_redis
from relay.store.log import Range
from relay.store.vault import Vault
from tests.integration.relays import LOOPBACK, SECRET, Parts

IN_FLIGHT = 50
PLACES = 256
"""Attempts at once in one process, as ``relay worker`` has it."""

Body = tuple[str, bytes]


def signed(key: signing.HmacKey, event_id: str, body: bytes) -> dict[str, str]:
    """The headers that change from request to request."""
    now_s = int(time.time())
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": signing.sign([key], webhook_id=event_id, timestamp_s=now_s, body=body),
    }


async def at_once(bodies: list[Body], post: Callable[[str, bytes], Awaitable[None]]) -> None:
    """Post all, fifty at a time."""
    queue = iter(bodies)

    async def one() -> None:
        for event_id, body in queue:
            await post(event_id, body)

    await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))


async def bare(session: aiohttp.ClientSession, url: str, bodies: list[Body]) -> None:
    """Sign and post with the session of the HTTP client."""
    key = signing.parse_secret(SECRET)

    async def post(event_id: str, body: bytes) -> None:
        headers = {"content-type": "application/json", **signed(key, event_id, body)}
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()
            assert response.ok

    await at_once(bodies, post)


async def sender_alone(sender: Sender, url: str, bodies: list[Body]) -> None:
    """Sign and post with the relay's own sender, which is cheaper than the session."""
    key = signing.parse_secret(SECRET)
    checked = check_url(url, allow=LOOPBACK)
    assert isinstance(checked, CheckedUrl)

    async def post(event_id: str, body: bytes) -> None:
        attempt = await sender.send(OutboundRequest(checked, signed(key, event_id, body), body, 15.0))
        assert attempt.status_code is not None

    await at_once(bodies, post)


class Process:
    """Its clients live as long as it does, as a worker's do."""

    def __init__(self, parts: Parts, owner: str, sender: Sender, session: aiohttp.ClientSession) -> None:
        self.parts = parts
        self.owner = owner
        self.sender = sender
        self.session = session
        self.bodies: list[Body] = []

    async def read_bodies(self, count: int) -> None:
        """Have the bodies at hand that a bare loop posts."""
        stretch = await self.parts.log.forward(Range(), limit=count)
        known = [(event.id, render(event)) for event in stretch.events]
        self.bodies = (known * (count // len(known) + 1))[:count]

    async def deliver(self, most: int) -> int:
        """Deliver all that waits, or so many; how many were settled."""
        stop = Stop(time.monotonic, 600)
        sent = 0

        def draw() -> float:
            nonlocal sent
            sent += 1
            if sent >= 2 * most:  # one draw for the circuit, one for the retry, for each attempt
                stop.ask()
            return 0.5

        context = self.parts.context(self.sender, linger_s=0.0, timeout_s=15.0, draw=draw)
        report = await deliver_shift(context, owner=self.owner, stop=stop, concurrency=PLACES)
        return report.items

    async def do(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what one line says."""
        gc.collect()
        began_s, cpu_s, items = time.perf_counter(), time.process_time(), len(self.bodies)
        match order["do"]:
            case "read":
                await self.read_bodies(order["count"])
            case "bare":
                await bare(self.session, order["url"], self.bodies)
            case "sender":
                await sender_alone(self.sender, order["url"], self.bodies)
            case "deliver":
                items = await self.deliver(order.get("most", 1 << 60))
        return {
            "wall_s": time.perf_counter() - began_s,
            "cpu_s": time.process_time() - cpu_s,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "items": items,
        }


async def main(redis_url: str, owner: str) -> None:
    redis, pop = open_redis(redis_url), open_redis(redis_url)
    parts = Parts(redis, pop)
    parts.vault = Vault([KEY])
    loop = asyncio.get_running_loop()
    async with (
        Sender(allow=LOOPBACK) as sender,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=IN_FLIGHT), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session,
    ):
        process = Process(parts, owner, sender, session)
        print("{}", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await process.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
