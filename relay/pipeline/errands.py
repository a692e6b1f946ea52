"""What does a brand's worker do beside looking at orders, and which of it is next?"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from relay.core.normalize import NORMALIZER_VERSION
from relay.store.brands import Brand
from relay.store.findings import FeedState, Found

LIST_EVERY_MS: Final = 180_000
STATIONS_EVERY_MS: Final = 60_000
WHOLE_EVERY_MS: Final = 21_600_000
"""How often it is tried whether a list without a venue covers all of them; sooner where too little went on to tell."""


class Chore(StrEnum):
    """A kind of look that may take its time."""

    LIST = "venues"
    STATIONS = "stations"
    COMPARE = "compare"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Errand:
    """One chore, when it is due, and how often it returns."""

    chore: Chore
    venue_id: int | None
    due_ms: int
    every_ms: int


@dataclass(slots=True)
class Errands:
    """The chores of one brand.

    Attributes:
        reconcile_ms: between two full compares of a venue.
        at_once: those that somebody has a reason for.
    """

    reconcile_ms: int
    at_once: set[tuple[Chore, int | None]] = field(default_factory=set)

    def next(self, brand: Brand, found: Found, venue_ids: Collection[int], *, now_ms: int) -> Errand | None:
        """What is due next; of what is due, that which is overdue most, for its kind."""
        errands = list(self._all(brand, found, venue_ids))
        if not errands:
            return None
        due = [errand for errand in errands if errand.due_ms <= now_ms]
        if due:
            return max(due, key=lambda errand: (now_ms - errand.due_ms) / errand.every_ms)
        return min(errands, key=lambda errand: errand.due_ms)

    def hurry(self, chore: Chore, venue_ids: Iterable[int | None]) -> None:
        """Have a chore done as soon as the quota lets it."""
        self.at_once |= {(chore, venue_id) for venue_id in venue_ids}

    def leave(self, found: Found) -> set[int]:
        """Have what is compared at once and was not compared yet be due for whoever comes next; the venues."""
        left = {
            venue_id
            for chore, venue_id in self.at_once
            if chore is Chore.COMPARE and venue_id is not None and venue_id in found.venues
        }
        for venue_id in left:
            found.venues[venue_id].orders.compared_ms = 0
        return left

    def begin(self, errand: Errand) -> bool:
        """Take note that an errand is being run; whether somebody has a reason for it."""
        hurried = (errand.chore, errand.venue_id) in self.at_once
        self.at_once.discard((errand.chore, errand.venue_id))
        return hurried

    def _all(self, brand: Brand, found: Found, venue_ids: Collection[int]) -> Iterator[Errand]:
        if brand.poll_venues or brand.venues is None:
            yield self._errand(Chore.LIST, None, found.brand.listed, LIST_EVERY_MS)
        if brand.poll_orders and len(venue_ids) > 1:
            every_ms = WHOLE_EVERY_MS if found.brand.whole is not None else LIST_EVERY_MS
            due_ms = max(found.brand.whole_ms + every_ms, found.brand.whole_orders.retry_ms)
            yield Errand(Chore.WHOLE, None, due_ms, every_ms)
        for venue_id in venue_ids:
            venue = found.venues[venue_id]
            if brand.poll_stations:
                yield self._errand(Chore.STATIONS, venue_id, venue.stations, STATIONS_EVERY_MS)
            # A full compare before the first look would have nothing to compare with.
            if brand.poll_orders and venue.orders.first_ms:
                yield self._compare(brand, venue_id, venue.orders)

    def _errand(self, chore: Chore, venue_id: int | None, state: FeedState, every_ms: int) -> Errand:
        due_ms = 0 if (chore, venue_id) in self.at_once else state.looked_ms + every_ms
        return Errand(chore, venue_id, max(due_ms, state.retry_ms), every_ms)

    def _compare(self, brand: Brand, venue_id: int, state: FeedState) -> Errand:
        at_once = (Chore.COMPARE, venue_id) in self.at_once or state.taken_with != taken_with(brand)
        due_ms = 0 if at_once else state.compared_ms + self.reconcile_ms
        return Errand(Chore.COMPARE, venue_id, max(due_ms, state.retry_ms), self.reconcile_ms)


def taken_with(brand: Brand) -> str:
    """What snapshots are made with beside their rows; another text, and they are to be made anew."""
    return f"{NORMALIZER_VERSION}|{brand.currency or ''}"
