"""A restaurant's evening that happens by itself: a seeded agenda of what orders and stations go through."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from relay.sandbox.menu import COMMENTS, draw_line, draw_payload
from relay.sandbox.model import DELIVERED, IGNORE, RECEIVED, Order
from relay.sandbox.world import World

NONE = "none"


@dataclass(frozen=True, slots=True)
class Profile:
    """How busy an evening is. Times are means of exponential waits, in seconds.

    Attributes:
        between_orders_s: from one order to the next, over all venues.
        until_accepted_s: from placing to a clerk's confirmation.
        until_delivered_s: from there to the door.
        between_toggles_s: from one switch of a station to the next.
        cancelled: share of the orders that end in IGNORE.
        edited: share whose content changes after acceptance.
        ready: share that passes through READY, a status no document lists.
    """

    between_orders_s: float
    until_accepted_s: float
    until_delivered_s: float
    between_toggles_s: float
    cancelled: float = 0.12
    edited: float = 0.25
    ready: float = 0.3


PROFILES: Mapping[str, Profile | None] = {
    NONE: None,
    "evening": Profile(2.5, 3, 20, 25),
    "rush": Profile(0.2, 2, 15, 20),
    "quiet": Profile(45, 15, 240, 300),
}
"""Scenarios by name."""

Act = Callable[[], None]


class Scenario:
    """An agenda over a world. What happens, and when, depends on the seed and on nothing outside.

    Args:
        world: where it happens; its clock stamps the rows.
        name: a key of ``PROFILES``, but for ``none``.
        seed: of all chance.
        brand: whose venues it happens in.

    Raises:
        ValueError: there is no such scenario.
    """

    def __init__(self, world: World, name: str, *, seed: int = 0, brand: str = "openapitest") -> None:
        profile = PROFILES.get(name)
        if profile is None:
            raise ValueError(f"there is no scenario {name!r} to play; there are {', '.join(PROFILES)}")
        self._world = world
        self._profile = profile
        self._draw = Random(f"{name} {seed}")  # noqa: S311 - make-believe, and meant to be repeatable
        self._brand = brand
        self._agenda: list[tuple[float, int, Act]] = []
        self._numbers = count()
        self._now_s = start_s = world.clock()
        self._at(start_s + 0.5, self._place)
        self._at(start_s + profile.between_toggles_s / 5, self._toggle)

    @property
    def next_s(self) -> float:
        """When the next thing happens (Unix seconds of the world's clock): where a virtual clock may jump to."""
        return self._agenda[0][0]

    def now_s(self) -> float:
        """The world's time."""
        return self._world.clock()

    def run_until(self, now_s: float) -> int:
        """Let everything happen that is due by now; returns how many things that were."""
        happened = 0
        while self._agenda[0][0] <= now_s:
            at_s, _, act = heapq.heappop(self._agenda)
            self._now_s = at_s
            act()
            happened += 1
        return happened

    def _at(self, when_s: float, act: Act) -> None:
        heapq.heappush(self._agenda, (when_s, next(self._numbers), act))

    def _after(self, mean_s: float) -> float:
        """A wait, cut off at three times its mean so that nothing lingers for ever."""
        return min(self._draw.expovariate(1 / mean_s), 3 * mean_s)

    def _place(self) -> None:
        profile, draw, now_s = self._profile, self._draw, self._now_s
        self._at(now_s + self._after(profile.between_orders_s), self._place)
        venues = sorted(self._world.brand(self._brand).venues)
        if not venues:
            return
        venue_id = venues[0] if draw.random() < 0.7 else draw.choice(venues)  # noqa: PLR2004 - the main venue is busier
        order = self._world.place(self._brand, venue_id, payload=draw_payload(draw, venue_id))
        self._plan(order)

    def _plan(self, order: Order) -> None:
        """Draw an order's whole life at once, so that nothing done to it from outside changes the chance of others."""
        profile, draw = self._profile, self._draw
        accepted_s = self._now_s + 1 + self._after(profile.until_accepted_s)
        delivered_s = accepted_s + 2 + self._after(profile.until_delivered_s)
        edit = self._drawn_edit()
        cancelled, edited, ready = (
            draw.random() < share for share in (profile.cancelled, profile.edited, profile.ready)
        )
        if cancelled and draw.random() < 0.5:  # noqa: PLR2004 - half of them before a clerk looks
            self._at(accepted_s, self._moving(order, IGNORE))
            return
        self._at(accepted_s, self._moving(order, RECEIVED))
        if edited:
            self._at(accepted_s + (delivered_s - accepted_s) / 3, lambda: self._edit(order, edit))
        if ready:
            self._at(accepted_s + (delivered_s - accepted_s) / 2, self._moving(order, "READY"))
        self._at(delivered_s, self._moving(order, IGNORE if cancelled else DELIVERED))

    def _drawn_edit(self) -> dict[str, Any]:
        return {"line": draw_line(self._draw), "comment": self._draw.choice(COMMENTS)}

    def _moving(self, order: Order, status: str) -> Act:
        def move() -> None:
            if self._is_open(order):
                self._world.set_status(order, status)

        return move

    def _edit(self, order: Order, edit: dict[str, Any]) -> None:
        if self._is_open(order):
            lines = [*order.payload.get("products", []), edit["line"]]
            self._world.edit(order, merge={"products": lines, "meta": {"comment": edit["comment"]}})

    def _is_open(self, order: Order) -> bool:
        still_there = self._world.brand(self._brand).orders.get(order.venue_id, order.id) is order
        return still_there and order.status not in {IGNORE, DELIVERED}

    def _toggle(self) -> None:
        self._at(self._now_s + self._after(self._profile.between_toggles_s), self._toggle)
        pick = self._draw.random()
        venues = self._world.brand(self._brand).venues.values()
        stations = [(venue.id, station) for venue in venues for station in venue.stations.values()]
        if stations:
            venue_id, station = stations[int(pick * len(stations))]
            self._world.put_station(self._brand, venue_id, station.id, status=1 - station.status)


async def play(scenario: Scenario, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Let a scenario happen in its world's time, until cancelled."""
    while True:
        await sleep(max(0.0, scenario.next_s - scenario.now_s()))
        scenario.run_until(scenario.now_s())
