"""Which venue is looked at next, so that changes are noticed soonest under the quota?

With changes coming at a rate w, a look at a venue that was last looked at a seconds ago is worth w·a²: the delay of
noticing grows with the square of the time not looked. Always taking the venue worth most spreads looks over venues in
proportion to √w, which is least in the mean: (Σ√w)² / (2BΣw) for B looks a second. The rate is learnt: what came
unforeseen (new orders, edits) as a decaying average by venue; what was to be expected (a waiting order is accepted, an
accepted one delivered) from how long orders of the brand stay in each status.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

HALF_LIFE_S: Final = 2700.0
"""After that long, what a venue's rate was learnt from counts half."""

PRIOR_CHANGES: Final = 0.5
"""A venue not seen to change yet is taken to be about to: half a change in ``PRIOR_S`` looked."""

PRIOR_S: Final = 900.0

FLOOR_S: Final = 60.0
"""No venue is left alone for longer, or for longer than three even shares of the looks where that is more."""

WEIGH_EVERY_MS: Final = 5_000
"""A venue's rate, as far as its open orders make it, is reckoned anew this often."""

MOST_STATUSES: Final = 16
"""Statuses whose habits are kept apart; the set of them is open."""

MOST_OPEN: Final = 1000
"""Open orders of a venue that are reckoned with."""

AGES_S: Final = (0, 15, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1200, 1500, 1800, 2100, 2400, 3000, 3600, 7200)
"""Where the steps of a status' habits begin, in seconds since the status was noticed."""

_HABIT_HALF_LIFE_MS: Final = 86_400_000
_PRIOR_STAY_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a venue changes unforeseen.

    Attributes:
        changes: seen; older ones count less.
        looked_s: time that they were seen in; likewise.
        at_ms: when that was reckoned.
    """

    changes: float = 0.0
    looked_s: float = 0.0
    at_ms: int = 0

    def after(self, *, changes: int, now_ms: int) -> "Rate":
        """Give the rate after a look that found ``changes`` since the one before."""
        if self.at_ms == 0:
            return Rate(0.0, 0.0, now_ms)
        elapsed_s = max(0.0, (now_ms - self.at_ms) / 1000)
        kept = 0.5 ** (elapsed_s / HALF_LIFE_S)
        return Rate(self.changes * kept + changes, self.looked_s * kept + elapsed_s, now_ms)

    @property
    def per_s(self) -> float:
        """Changes a second."""
        return (self.changes + PRIOR_CHANGES) / (self.looked_s + PRIOR_S)


@dataclass(slots=True)
class Habits:
    """How long a brand's orders stay in each status.

    Attributes:
        left: status -> for each step of ``AGES_S``, how many left it there.
        waited_s: status -> for each step, how long orders were seen waiting there.
        decayed_ms: when both were last made to count less.
    """

    left: dict[str, list[float]] = field(default_factory=dict)
    waited_s: dict[str, list[float]] = field(default_factory=dict)
    decayed_ms: int = 0

    def saw(self, status: str, *, from_s: float, to_s: float, ended: bool) -> None:
        """Take in that an order was in ``status`` from one age to another, and whether it left it then."""
        if status not in self.left:
            if len(self.left) >= MOST_STATUSES:
                return
            self.left[status] = [0.0] * len(AGES_S)
            self.waited_s[status] = [0.0] * len(AGES_S)
        waited = self.waited_s[status]
        step = _step(from_s)
        at_s = from_s
        while at_s < to_s:
            ends_s = AGES_S[step + 1] if step + 1 < len(AGES_S) else to_s
            waited[step] += min(ends_s, to_s) - at_s
            at_s = ends_s
            step += 1
        if ended:
            self.left[status][_step(to_s)] += 1

    def hazard(self, status: str, age_s: float) -> float:
        """Changes a second to expect of one order that has been in ``status`` for ``age_s``."""
        left = self.left.get(status)
        if left is None:
            return 1 / _PRIOR_STAY_S
        waited = self.waited_s[status]
        overall = (sum(left) + 1) / (sum(waited) + _PRIOR_STAY_S)
        step = _step(age_s)
        # A step that was seldom seen is taken to be like the status as a whole.
        return (left[step] + 1) / (waited[step] + 1 / overall)

    def decay(self, now_ms: int) -> None:
        """Let the past count less: half a day by day."""
        if self.decayed_ms:
            kept = 0.5 ** (max(0, now_ms - self.decayed_ms) / _HABIT_HALF_LIFE_MS)
            for table in (self.left, self.waited_s):
                for status, steps in table.items():
                    table[status] = [value * kept for value in steps]
        self.decayed_ms = now_ms


@dataclass(slots=True)
class OpenOrder:
    """An order that something may still happen to: its status, and when that was noticed."""

    status: str
    since_ms: int


@dataclass(slots=True)
class Outlook:
    """What is expected of one venue.

    Attributes:
        last_ms: when the last look began; 0 for never.
        not_before_ms: no look before that, whatever is expected.
        looking: a look is on its way.
        orders: id -> open order.
    """

    last_ms: int = 0
    not_before_ms: int = 0
    looking: bool = False
    rate: Rate = field(default_factory=Rate)
    orders: dict[int, OpenOrder] = field(default_factory=dict)
    weight: float = 0.0
    weighed_ms: int = 0

    def weigh(self, habits: Habits, now_ms: int) -> float:
        """Changes a second to expect now."""
        if now_ms - self.weighed_ms >= WEIGH_EVERY_MS or not self.weight:
            self.weight = self.rate.per_s + sum(
                habits.hazard(order.status, (now_ms - order.since_ms) / 1000) for order in self.orders.values()
            )
            self.weighed_ms = now_ms
        return self.weight

    def looked(self, habits: Habits, *, now_ms: int, unforeseen: int, statuses: Mapping[int, str | None]) -> None:
        """Take in what a look found.

        Args:
            habits: the brand's; they learn from it.
            now_ms: when the look began.
            unforeseen: changes that were not a new status of an order known to be open.
            statuses: id -> status of each open order that was new or has changed; None for one no longer open.
        """
        before_ms = self.rate.at_ms or now_ms
        self.rate = self.rate.after(changes=unforeseen, now_ms=now_ms)
        for order_id, order in list(self.orders.items()):
            ended = order_id in statuses and statuses[order_id] != order.status
            habits.saw(
                order.status,
                from_s=max(0, before_ms - order.since_ms) / 1000,
                to_s=max(0, now_ms - order.since_ms) / 1000,
                ended=ended,
            )
            if ended:
                del self.orders[order_id]
        self.learn_of(statuses, now_ms=now_ms)

    def learn_of(self, statuses: Mapping[int, str | None], *, now_ms: int) -> None:
        """Take in which orders are open, from whoever came across them."""
        for order_id, status in statuses.items():
            known = self.orders.get(order_id)
            if status is None:
                self.orders.pop(order_id, None)
            elif (known is None and len(self.orders) < MOST_OPEN) or (known is not None and known.status != status):
                self.orders[order_id] = OpenOrder(status, now_ms)
        self.weighed_ms = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Which venue, and from when on it may be looked at (epoch ms); None when there is none to look at."""

    venue_id: int | None
    at_ms: int


def choose(
    outlooks: Mapping[int, Outlook], habits: Habits, *, now_ms: int, interval_ms: int, looks_per_s: float
) -> Choice:
    """Pick the venue whose look is worth most now.

    Args:
        outlooks: by venue.
        habits: the brand's.
        now_ms: epoch ms.
        interval_ms: no venue is looked at more often.
        looks_per_s: what the quota allows for all venues together.

    Returns:
        A venue that may be looked at now (``at_ms`` is not after ``now_ms``); else the one that may be first.
    """
    floor_ms = max(FLOOR_S, 3 * len(outlooks) / looks_per_s) * 1000
    best: int | None = None
    best_worth = -1.0
    soonest: int | None = None
    soonest_ms = 0
    for venue_id, outlook in outlooks.items():
        if outlook.looking:
            continue
        due_ms = max(outlook.last_ms + interval_ms, outlook.not_before_ms)
        if due_ms > now_ms:
            if soonest is None or due_ms < soonest_ms:
                soonest, soonest_ms = venue_id, due_ms
            continue
        age_ms = now_ms - outlook.last_ms
        worth = outlook.weigh(habits, now_ms) * age_ms * age_ms
        if age_ms > floor_ms:
            worth += age_ms * 1e12
        if worth > best_worth:
            best, best_worth = venue_id, worth
    return Choice(best, now_ms) if best is not None else Choice(soonest, soonest_ms)


def _step(age_s: float) -> int:
    step = 0
    while step + 1 < len(AGES_S) and AGES_S[step + 1] <= age_s:
        step += 1
    return step
