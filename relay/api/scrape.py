"""/metrics: what Prometheus scrapes, read from Redis when it does."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay import logs
from relay.api.auth import is_metrics_reader, unauthorized
from relay.api.marks import HighWater
from relay.api.problems import respond
from relay.metrics import CONTENT_TYPE, BrandFigures, View, exposition
from relay.queues import queue_name
from relay.store.brands import Brand
from relay.store.documents import Stored
from relay.store.figures import Figures, FigureStore
from relay.store.installation import Standing
from relay.store.presence import Presence
from relay.store.quota import Account, QuotaStore
from relay.store.slots import KINDS
from relay.store.venues import PollStore

DEADLINE_S: Final = 1.2
"""For all reading: a scrape is answered within 2 s, with what was last known."""

BRANDS_AT_ONCE: Final = 16

NOTHING: Final = View(
    is_up=False,
    figures=Figures(
        now_ms=0,
        counters={},
        subscriptions={},
        brands={},
        lanes={},
        queues={},
        schedulers=0,
        memory_bytes=0,
        memory_limit_bytes=0,
        audit=None,
    ),
    brands={},
    workers={},
    skew_ms=0,
    standing=Standing(since_ms=0, missing=False),
)
"""Before the first reading."""


class Scraper:
    """Answers scrapes: those that come at once share one reading."""

    def __init__(
        self,
        *,
        figures: FigureStore,
        polls: PollStore,
        quota: QuotaStore,
        presence: Presence,
        installation: Callable[[], Awaitable[Standing]],
        now_ms: Callable[[], int],
    ) -> None:
        """Use opened stores; ``installation`` tells an emptied Redis from a fresh one, ``now_ms`` is the wall clock."""
        self._figures = figures
        self._polls = polls
        self._quota = quota
        self._presence = presence
        self._installation = installation
        self._marks = HighWater()
        self._now_ms = now_ms
        self._last: View | None = None
        self._reading: asyncio.Task[View] | None = None

    async def scrape(self) -> bytes:
        """The exposition, within ``DEADLINE_S`` and a little."""
        return exposition(await self.view())

    async def view(self) -> View:
        """What a scrape shows, as it is now."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._view())
        return await asyncio.shield(self._reading)

    async def _view(self) -> View:
        try:
            async with asyncio.timeout(DEADLINE_S):
                self._last = await self._read()
        except Exception as error:  # noqa: BLE001  (whatever it is, a scrape is answered)
            logs.event("scrape without redis", level="warning", exc=error)
            return replace(self._last or NOTHING, is_up=False)
        return self._last

    async def _read(self) -> View:
        figures = await self._figures.read(queue_keys={kind: f"rq:queue:{queue_name(kind)}" for kind in KINDS})
        wall_ms = self._now_ms()
        gate = asyncio.Semaphore(BRANDS_AT_ONCE)
        brands = await asyncio.gather(*[self._brand(stored, gate) for stored in figures.brands.values()])
        present = {kind: await self._presence.look(kind) for kind in KINDS}
        workers = {kind: each.count for kind, each in present.items()}
        skew_ms = max(abs(wall_ms - figures.now_ms), *(each.skew_ms for each in present.values()))
        standing = await self._installation()
        counters = self._marks.hold(figures.counters, since_ms=standing.since_ms)
        figures = replace(figures, counters=counters)
        return View(True, figures, {brand.stored.id: brand for brand in brands}, workers, skew_ms, standing)

    async def _brand(self, stored: Stored[Brand], gate: asyncio.Semaphore) -> BrandFigures:
        brand = stored.value
        async with gate:
            found = await self._polls.found(brand.brand, generation=brand.generation)
            quota = await self._quota.state(Account(brand.integrator_id, brand.brand))
        return BrandFigures(stored, found, quota)


def scrape_route(scraper: Scraper, *, metrics_digest: str | None) -> Route:
    """The route; with a digest it wants the token that belongs to it."""

    async def metrics(request: Request) -> Response:
        """Show the metrics, whatever the query string says."""
        content = await scraper.scrape() if is_metrics_reader(request, metrics_digest) else b""
        return answer_scrape(request, content, metrics_digest=metrics_digest)

    return Route("/metrics", metrics, methods=["GET"])


def answer_scrape(request: Request, content: bytes, *, metrics_digest: str | None) -> Response:
    """Give the exposition to whoever may read it."""
    if not is_metrics_reader(request, metrics_digest):
        return respond(unauthorized())
    return Response(content, headers={"content-type": CONTENT_TYPE})
