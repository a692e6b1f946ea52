"""How soon is a change noticed under the quota?  A seeded day of a brand in virtual time, against the sandbox's rules.

    python bench/freshness.py [--venues 1 10 40 100] [--seed 1] [--hours 18]

Venues change at Zipf rates (exponent 1) that move by the hour. Each look is one request, counted by the sandbox's own
sliding window; the venue is chosen by ``relay.core.cadence``, which sees nothing but what looks found. Printed: mean
and p95 delay from a change to the look that sees it, the mean divided by the memoryless bound (Σ√λ)² / (2BΣλ) with no
venue more often than the poll interval, and the same for equal intervals. Then the same day with orders that live:
placed, accepted within a minute or so, delivered after half an hour; the bound is the memoryless one.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, conclude, parser
from relay.core.cadence import Habits, Outlook, choose
from relay.sandbox.limits import Window

BENCH = "freshness"
INTERVAL_S = 2.0
QUOTA_A_MINUTE = 300
POLLS_A_MINUTE = 270
"""What polling gets after the shares of commands and of the rest, as quota_acquire.lua shares it out."""

WINDOW_S = 60.75
"""Over which the relay counts: Clopos' minute, a margin, and the width of a bucket."""

CHANGES = 3.0
"""An order that lives changes three times: placed, accepted, delivered."""

ACCEPTED_S, DELIVERED_S = 60.0, 1800.0
"""How long an order waits for the clerk, and then for its delivery, on average or so."""

KINDS = (
    (0.6, 1.4, 1.8, 1.6, 1.2, 1.0, 1.2, 1.0, 0.7, 0.6, 0.6, 0.5, 0.4, 0.4, 0.3, 0.2, 0.1, 0.1),
    (0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 2.2, 2.0, 1.4, 0.9, 0.7, 0.8, 1.2, 1.4, 1.2, 0.8, 0.4, 0.2),
    (0.1, 0.1, 0.1, 0.2, 0.3, 0.5, 0.8, 0.8, 0.6, 0.6, 0.8, 1.2, 1.8, 2.4, 2.6, 2.2, 1.6, 1.0),
)
"""How busy a venue is by hour, from six in the morning to midnight: one that serves breakfast, lunch, dinner."""


@dataclass(frozen=True, slots=True)
class Day:
    """What happens: for each venue the times of its changes, and who made them.

    Attributes:
        changes: venue -> [(second, order, status that it has then)], in order.
        rates: hour -> venue -> changes a second.
    """

    changes: list[list[tuple[float, int, str]]]
    rates: list[list[float]]
    hours: int


def rates_of(venues: int, hours: int, chance: random.Random, *, a_second: float) -> list[list[float]]:
    """Zipf rates that move by the hour: each venue is busy as its kind is, and has moods of its own."""
    ranks = list(range(1, venues + 1))
    chance.shuffle(ranks)
    kinds = [chance.choice(KINDS) for _ in ranks]
    return [
        [
            a_second / rank * kind[hour % len(kind)] * chance.uniform(0.6, 1.4)
            for rank, kind in zip(ranks, kinds, strict=True)
        ]
        for hour in range(hours)
    ]


def poisson(rate_of: Callable[[float], float], most: float, end_s: float, chance: random.Random) -> Iterator[float]:
    """Times of a Poisson process whose rate moves, by thinning."""
    at_s = 0.0
    while most > 0:
        at_s += chance.expovariate(most)
        if at_s >= end_s:
            return
        if chance.random() * most < rate_of(at_s):
            yield at_s


def hourly(rates: list[float]) -> Callable[[float], float]:
    """A rate that stays for an hour."""
    return lambda at_s: rates[int(at_s // 3600)]


def memoryless_day(venues: int, hours: int, seed: int) -> Day:
    """Changes that nothing foretells."""
    chance = random.Random(f"memoryless/{venues}/{seed}")
    rates = rates_of(venues, hours, chance, a_second=0.05)
    changes = []
    for venue in range(venues):
        by_hour = [row[venue] for row in rates]
        times = poisson(hourly(by_hour), max(by_hour), hours * 3600, chance)
        changes.append([(t, -1, "") for t in times])
    return Day(changes, rates, hours)


def living_day(venues: int, hours: int, seed: int) -> Day:
    """Orders that live: accepted after a minute or so, delivered half an hour later, some cancelled instead."""
    chance = random.Random(f"living/{venues}/{seed}")
    orders = rates_of(venues, hours, chance, a_second=0.05 / CHANGES)
    changes: list[list[tuple[float, int, str]]] = []
    number = 0
    for venue in range(venues):
        by_hour = [row[venue] for row in orders]
        happened: list[tuple[float, int, str]] = []
        for placed in poisson(hourly(by_hour), max(by_hour), hours * 3600, chance):
            number += 1
            accepted = placed + chance.lognormvariate(math.log(ACCEPTED_S), 0.5)
            delivered = accepted + max(300.0, chance.gauss(DELIVERED_S, 400))
            happened += [(placed, number, "pending"), (accepted, number, "accepted"), (delivered, number, "delivered")]
        changes.append(sorted(change for change in happened if change[0] < hours * 3600))
    return Day(changes, [changes_of(orders, hour) for hour in range(hours)], hours)


def changes_of(orders: list[list[float]], hour: int) -> list[float]:
    """What a memoryless observer would take for the rates of changes: orders placed, then accepted, then delivered."""
    before = orders[hour - 1] if hour else [0.0] * len(orders[0])
    late = [ACCEPTED_S / 3600, (ACCEPTED_S + DELIVERED_S) / 3600]
    return [
        now + sum((1 - share) * now + share * then for share in late)
        for now, then in zip(orders[hour], before, strict=True)
    ]


def bound_s(rates: list[float], looks_a_second: float) -> float:
    """The least mean delay of memoryless changes, with no venue looked at more often than every INTERVAL_S."""
    free = sorted((rate for rate in rates if rate > 0), reverse=True)
    total = sum(free)
    if not total:
        return 0.0
    capped, cap = 0.0, 1 / INTERVAL_S
    left = looks_a_second
    while free:
        scale = left / sum(map(math.sqrt, free))
        if scale * math.sqrt(free[0]) <= cap:
            break
        capped += free.pop(0) / cap
        left -= cap
    rest = sum(map(math.sqrt, free)) ** 2 / left if free else 0.0
    return (capped + rest) / 2 / total


@dataclass(slots=True)
class Result:
    """Delays of a day, and what they could have been."""

    delays: list[float] = field(default_factory=list)
    looks: int = 0
    peak: int = 0
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        return sum(self.delays) / len(self.delays)

    @property
    def p95(self) -> float:
        return sorted(self.delays)[int(0.95 * len(self.delays))]


class Quota:
    """What quota_acquire.lua grants to polling, in virtual time; the sandbox's window judges it."""

    def __init__(self) -> None:
        self.pace_s = WINDOW_S / POLLS_A_MINUTE
        self.arrival_s = 0.0
        self.buckets: list[tuple[int, int]] = []
        self.judge = Window()

    def next_s(self, now_s: float) -> float:
        """When the next request may go."""
        while self.buckets and (self.buckets[0][0] + 1) * 0.25 + 60.5 <= now_s:
            self.buckets.pop(0)
        if sum(count for _, count in self.buckets) >= POLLS_A_MINUTE:
            return (self.buckets[0][0] + 1) * 0.25 + 60.5
        return max(now_s, self.arrival_s - 1.0)

    def take(self, now_s: float) -> None:
        """Count a request."""
        self.arrival_s = max(self.arrival_s, now_s) + self.pace_s
        bucket = int(now_s // 0.25)
        if self.buckets and self.buckets[-1][0] == bucket:
            self.buckets[-1] = (bucket, self.buckets[-1][1] + 1)
        else:
            self.buckets.append((bucket, 1))
        self.judge.hit(now_s)


def look_all_day(day: Day, *, equal: bool = False) -> Result:
    """Look at the venues all day long."""
    began = time.process_time()
    venues = len(day.changes)
    result = Result()
    outlooks = {venue: Outlook(last_ms=-2000) for venue in range(venues)}
    habits = Habits()
    quota = Quota()
    seen = [0] * venues
    times = [[change[0] for change in changes] for changes in day.changes]
    queue = [(0.0, venue) for venue in range(venues)]
    now_s, end_s = 0.0, day.hours * 3600.0
    while True:
        now_s = quota.next_s(now_s)
        if now_s >= end_s:
            break
        now_ms = round(now_s * 1000)
        if equal:
            due_s, venue = queue[0]
            if due_s > now_s:
                now_s = due_s
                continue
            heapq.heapreplace(queue, (now_s + INTERVAL_S, venue))
        else:
            choice = choose(
                outlooks,
                habits,
                now_ms=now_ms,
                interval_ms=int(INTERVAL_S * 1000),
                looks_per_s=POLLS_A_MINUTE / WINDOW_S,
            )
            assert choice.venue_id is not None
            if choice.at_ms > now_ms:
                now_s = choice.at_ms / 1000
                continue
            venue = choice.venue_id
        quota.take(now_s)
        result.looks += 1
        upto = bisect_right(times[venue], now_s)
        fresh = day.changes[venue][seen[venue] : upto]
        seen[venue] = upto
        result.delays += [now_s - change[0] for change in fresh]
        if not equal:
            outlook = outlooks[venue]
            outlook.last_ms = now_ms
            learn(outlook, habits, fresh, now_ms)
    result.peak = quota.judge.peak
    result.seconds = time.process_time() - began
    return result


def learn(outlook: Outlook, habits: Habits, fresh: list[tuple[float, int, str]], now_ms: int) -> None:
    """Tell the venue's outlook what a look found, as ``relay.pipeline.looks`` does."""
    statuses: dict[int, str | None] = {}
    unforeseen = 0
    for _, order, status in fresh:
        if order < 0:
            unforeseen += 1
            continue
        if order not in outlook.orders and order not in statuses:
            unforeseen += 1
        statuses[order] = None if status == "delivered" else status
    outlook.looked(habits, now_ms=now_ms, unforeseen=unforeseen, statuses=statuses)


def bound_of_day(day: Day) -> float:
    """The bound of each hour, weighed by its changes."""
    weights = [sum(row) for row in day.rates]
    looks = POLLS_A_MINUTE / 60
    return sum(bound_s(row, looks) * weight for row, weight in zip(day.rates, weights, strict=True)) / sum(weights)


def measure(venue_counts: list[int], *, hours: int, seed: int) -> list[Figure]:
    figures: list[Figure] = []
    for title, make, most in (
        ("changes without memory", memoryless_day, {1: 1.15, 10: 1.15, 40: 1.1, 100: 1.1}),
        ("orders that live", living_day, {40: 0.9}),
    ):
        for venues in venue_counts:
            day = make(venues, hours, seed)
            bound = bound_of_day(day)
            learnt, equal = look_all_day(day), look_all_day(day, equal=True)
            ratio, plain = learnt.mean / bound, equal.mean / bound
            where = f"{title}, {venues} venues"
            figures += [
                Figure(BENCH, f"{where}: mean delay ÷ bound", ratio, most=most.get(venues)),
                Figure(BENCH, f"{where}: ÷ that of equal intervals", ratio / plain, most=1.002),
                Figure(BENCH, f"{where}: requests in the fullest minute", learnt.peak, most=QUOTA_A_MINUTE),
                Figure(BENCH, f"{where}: mean delay", learnt.mean, "s"),
                Figure(BENCH, f"{where}: p95 delay", learnt.p95, "s"),
                Figure(BENCH, f"{where}: choosing, a look", learnt.seconds / learnt.looks * 1e6, "µs"),
            ]
    return figures


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--venues", type=int, nargs="*", default=[1, 10, 40, 100])
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--hours", type=int, default=18)
    chosen = options.parse_args()
    return conclude(measure(chosen.venues, hours=chosen.hours, seed=chosen.seed), chosen.json)


if __name__ == "__main__":
    sys.exit(main())
