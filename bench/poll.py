"""How near to merely parsing the same pages do comparing and committing them come?

    python bench/poll.py [--pages 30]

Pages of 200 orders, as the sandbox sends them, are taken in by ``relay.pipeline.reading`` on a real Redis: first as
they are known already, then with every order changed. Printed: rows for each second of this process' processor, and the
ratio to parsing the same pages with the JSON library that reads rows (``json``, decimals exact). What counts is that.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, parser, run
from bench.stand import parts_on, redis_server
from relay.clopos.api import Access
from relay.clopos.client import CloposClient
from relay.clopos.feeds import ORDERS
from relay.clopos.transport import Answer, Request, Transport
from relay.pipeline.judge import Rules
from relay.pipeline.reading import Reader, Tally
from relay.sandbox.rows import order_text
from relay.sandbox.serve import new_world
from relay.store.commands import CommandStore
from relay.store.findings import FeedState
from relay.store.quota import Granted, Purpose, QuotaStore
from relay.store.snapshots import Scope
from relay.store.tokens import TokenStore

BENCH = "poll cost"
ROWS = 200
RULES = Rules(memory_id=0)
TO_REACH = {"unchanged": 1 / 8, "changed": 1 / 25}


class Bodies(Transport):
    """A transport whose answers are there already: what is measured is not the network."""

    def __init__(self) -> None:
        self.pages: list[bytes] = []

    async def exchange(self, request: Request, *, deadline_s: float) -> Answer:
        assert deadline_s > 0
        if request.url.endswith("/auth"):
            return Answer(200, {}, b'{"success":true,"token":"made-up","expires_in":3600}')
        number = int(dict(request.params)["page"])
        return Answer(200, {}, self.pages[number - 1])


def pages_of(count: int, *, accepted: bool) -> list[bytes]:
    """The sandbox's rows on pages; the same orders, before and after they are accepted."""
    world = new_world(seed=1)
    for _ in range(count * ROWS):
        world.place("openapitest", 1)
    orders = list(world.brand("openapitest").orders.of_venue(1))[: count * ROWS]
    if accepted:
        for order in orders:
            world.set_status(order, "READY")
    texts = [order_text(order, world.switches) for order in orders]
    return [
        f'{{"success":true,"data":[{",".join(texts[at : at + ROWS])}],"total":{len(texts)}}}'.encode()
        for at in range(0, len(texts), ROWS)
    ]


def parse_all(pages: Sequence[bytes]) -> float:
    """Seconds to parse the pages as rows are parsed."""
    decoder = json.JSONDecoder(parse_float=Decimal)
    gc.collect()
    began = time.process_time()
    for page in pages:
        decoder.decode(page.decode())
    return time.process_time() - began


def parse_all_with_msgspec(pages: Sequence[bytes]) -> float:
    """Seconds to parse the pages with the fastest parser at hand, which does not keep decimals."""
    decoder = msgspec.json.Decoder()
    gc.collect()
    began = time.process_time()
    for page in pages:
        decoder.decode(page)
    return time.process_time() - began


async def take_in(reader: Reader, count: int) -> tuple[float, Tally]:
    """Seconds of this process' processor to take in every page."""
    tally, state = Tally(), FeedState()
    gc.collect()
    began = time.process_time()
    for number in range(1, count + 1):
        await reader.page(
            [("page", str(number))], rules=RULES, tally=tally, state=state, rows=ROWS, grant=Granted(1000, 0)
        )
    return time.process_time() - began, tally


async def measure_with(redis_url: str, count: int, *, subscriptions: int) -> list[Figure]:
    async with parts_on(redis_url) as parts:
        for _ in range(subscriptions):
            await parts.subscribe("https://partner.example/hooks")
        transport = Bodies()
        client = CloposClient(
            transport=transport,
            quota=QuotaStore(parts.redis, parts.scripts, per_minute=100_000),
            tokens=TokenStore(parts.scripts, parts.vault),
            monotonic=time.monotonic,
            draw=lambda: 0.5,
            observe=lambda _: None,
        )
        reader = Reader(
            client=client,
            snapshots=parts.snapshots,
            committer=parts.committer,
            commands=CommandStore(parts.redis, parts.scripts),
            access=Access("openapitest", "http://clopos.invalid", "id", "secret", "integrator", "1/1"),
            source=ORDERS,
            scope=Scope("openapitest", 1, "orders"),
            fence=None,
            origin="poll",
            purpose=Purpose.POLL,
        )
        before, after = pages_of(count, accepted=False), pages_of(count, accepted=True)
        rows = count * ROWS
        transport.pages = before
        await take_in(reader, count)
        unchanged_s, tally = await take_in(reader, count)
        assert tally.known == rows, tally
        transport.pages = after
        changed_s, tally = await take_in(reader, count)
        assert len(tally.events) == rows, tally
    parse_s, msgspec_s = parse_all(after), parse_all_with_msgspec(after)
    figures = []
    for name, spent_s in (("unchanged", unchanged_s), ("changed", changed_s)):
        what = f"{name} rows, {subscriptions} subscriptions"
        figures += [
            Figure(BENCH, f"{what}: ÷ parsing", parse_s / spent_s, least=TO_REACH[name]),
            Figure(BENCH, f"{what}: ÷ parsing with msgspec", msgspec_s / spent_s),
            Figure(BENCH, f"{what}: a processor second", rows / spent_s, "rows"),
        ]
    return figures


async def measure(count: int, subscriptions: Sequence[int]) -> list[Figure]:
    with redis_server() as redis_url:
        found = [await measure_with(redis_url, count, subscriptions=number) for number in subscriptions]
    return [figure for each in found for figure in each]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--pages", type=int, default=30)
    options.add_argument("--subscriptions", type=int, nargs="*", default=[0, 3])
    chosen = options.parse_args()
    return run(lambda: measure(chosen.pages, chosen.subscriptions), chosen.json)


if __name__ == "__main__":
    sys.exit(main())
