from __future__ import annotations

import math

import pytest

from relay.core.cadence import (
    AGES_S,
    FLOOR_S,
    MOST_OPEN,
    MOST_STATUSES,
    WEIGH_EVERY_MS,
    Choice,
    Habits,
    OpenOrder,
    Outlook,
    Rate,
    choose,
)

NOW_MS = 1_000_000_000
LOOKS_PER_S = 4.5


def pick(outlooks: dict[int, Outlook], now_ms: int = NOW_MS, habits: Habits | None = None) -> Choice:
    return choose(outlooks, habits or Habits(), now_ms=now_ms, interval_ms=2_000, looks_per_s=LOOKS_PER_S)


def outlook(*, age_s: float, changes: float = 0.0, looked_s: float = 3_600.0, **fields: object) -> Outlook:
    made = Outlook(last_ms=NOW_MS - int(age_s * 1000), rate=Rate(changes, looked_s, NOW_MS))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_without_a_venue_there_is_nothing_to_look_at() -> None:
    assert pick({}) == Choice(None, 0)


def test_no_venue_is_looked_at_more_often_than_the_interval() -> None:
    assert pick({1: outlook(age_s=0.5), 2: outlook(age_s=1.5)}) == Choice(2, NOW_MS + 500)


def test_of_two_venues_that_waited_alike_the_busier_one_is_next() -> None:
    assert pick({1: outlook(age_s=5, changes=1), 2: outlook(age_s=5, changes=30)}).venue_id == 2


def test_of_two_that_are_alike_the_one_that_waited_longer_is_next() -> None:
    assert pick({1: outlook(age_s=5, changes=3), 2: outlook(age_s=6, changes=3)}).venue_id == 2


def test_waiting_counts_squared() -> None:
    busy, quiet = outlook(age_s=10, changes=40), outlook(age_s=21, changes=9.75)
    assert quiet.rate.per_s == pytest.approx(busy.rate.per_s / 4, rel=0.02)
    assert pick({1: busy, 2: quiet}).venue_id == 2
    assert pick({1: busy, 2: outlook(age_s=19, changes=9.75)}).venue_id == 1


def test_a_venue_being_looked_at_or_held_back_waits() -> None:
    held = outlook(age_s=100, not_before_ms=NOW_MS + 7_000)
    assert pick({1: outlook(age_s=100, looking=True), 2: outlook(age_s=3)}).venue_id == 2
    assert pick({1: held}) == Choice(1, NOW_MS + 7_000)


def test_no_venue_is_forgotten_however_quiet() -> None:
    busy = {number: outlook(age_s=10, changes=5_000) for number in range(2, 5)}
    assert pick({1: outlook(age_s=FLOOR_S + 1), **busy}).venue_id == 1
    assert pick({1: outlook(age_s=FLOOR_S - 5), **busy}).venue_id != 1


def test_with_many_venues_the_floor_is_three_even_shares() -> None:
    many = {number: outlook(age_s=10, changes=5_000) for number in range(2, 1000)}
    share_s = len(many) / LOOKS_PER_S
    assert pick({1: outlook(age_s=share_s * 2), **many}).venue_id != 1
    assert pick({1: outlook(age_s=share_s * 3.1), **many}).venue_id == 1


def test_looks_are_shared_out_by_the_square_root_of_the_rates() -> None:
    rates = {number: 36.0 / number for number in range(1, 21)}
    outlooks = {number: outlook(age_s=number, changes=rate, looked_s=3_600.0) for number, rate in rates.items()}
    expected = {number: made.rate.per_s for number, made in outlooks.items()}
    counts = dict.fromkeys(outlooks, 0)
    for step in range(20_000):
        now_ms = NOW_MS + round(step * 1000 / LOOKS_PER_S)
        choice = choose(outlooks, Habits(), now_ms=now_ms, interval_ms=1, looks_per_s=LOOKS_PER_S)
        assert choice.venue_id is not None
        counts[choice.venue_id] += 1
        outlooks[choice.venue_id].last_ms = now_ms
    total = sum(map(math.sqrt, expected.values()))
    for number, count in counts.items():
        assert count / 20_000 == pytest.approx(math.sqrt(expected[number]) / total, rel=0.2)


def test_a_rate_is_learnt_from_changes_seen_over_time_looked_and_the_past_fades() -> None:
    rate = Rate().after(changes=7, now_ms=NOW_MS)
    assert (rate.changes, rate.looked_s) == (0, 0)  # nobody knows since when
    for minute in range(1, 61):
        rate = rate.after(changes=1, now_ms=NOW_MS + minute * 60_000)
    assert rate.per_s == pytest.approx(1 / 60, rel=0.3)
    for minute in range(61, 301):
        rate = rate.after(changes=0, now_ms=NOW_MS + minute * 60_000)
    assert rate.per_s < 1 / 600
    assert rate.per_s > 0


def test_a_clock_that_goes_back_teaches_nothing() -> None:
    rate = Rate(3, 600, NOW_MS).after(changes=0, now_ms=NOW_MS - 5_000)
    assert (rate.changes, rate.looked_s) == (3, 600)


def test_an_order_that_waits_makes_its_venue_worth_more() -> None:
    waiting = outlook(age_s=5, orders={7: OpenOrder("pending", NOW_MS - 30_000)})
    assert pick({1: outlook(age_s=5), 2: waiting}).venue_id == 2


def test_habits_tell_when_an_order_is_likely_to_change() -> None:
    habits = Habits()
    for _ in range(50):
        habits.saw("accepted", from_s=0, to_s=1_750, ended=True)
    assert habits.hazard("accepted", 60) < 1e-3
    assert habits.hazard("accepted", 1_600) > 3e-3
    assert habits.hazard("pending", 60) == habits.hazard("never seen", 3_000)


def test_exposure_is_split_over_the_steps() -> None:
    habits = Habits()
    habits.saw("pending", from_s=10, to_s=100, ended=False)
    waited = dict(zip(AGES_S, habits.waited_s["pending"], strict=True))
    assert [waited[age] for age in (0, 15, 30, 45, 60, 90, 120)] == [5, 15, 15, 15, 30, 10, 0]
    habits.saw("pending", from_s=8_000, to_s=9_000, ended=True)
    assert habits.waited_s["pending"][-1] == 1_000
    assert habits.left["pending"][-1] == 1


def test_statuses_are_an_open_set_and_bounded() -> None:
    habits = Habits()
    for number in range(100):
        habits.saw(f"status-{number}", from_s=0, to_s=1, ended=True)
    assert len(habits.left) == MOST_STATUSES


def test_habits_fade_by_the_day() -> None:
    habits = Habits()
    habits.saw("pending", from_s=0, to_s=10, ended=True)
    habits.decay(NOW_MS)
    habits.decay(NOW_MS + 86_400_000)
    assert habits.left["pending"][0] == pytest.approx(0.5)
    assert habits.waited_s["pending"][0] == pytest.approx(5)


def test_a_look_teaches_which_orders_are_open_and_how_long_they_stayed() -> None:
    venue, habits = Outlook(rate=Rate(0, 0, NOW_MS)), Habits()
    venue.looked(habits, now_ms=NOW_MS + 1_000, unforeseen=2, statuses={1: "pending", 2: "pending", 3: None})
    assert {key: order.status for key, order in venue.orders.items()} == {1: "pending", 2: "pending"}
    venue.looked(habits, now_ms=NOW_MS + 41_000, unforeseen=0, statuses={1: "accepted"})
    assert venue.orders[1] == OpenOrder("accepted", NOW_MS + 41_000)
    assert sum(habits.left["pending"]) == 1
    assert sum(habits.waited_s["pending"]) == pytest.approx(80)
    venue.looked(habits, now_ms=NOW_MS + 50_000, unforeseen=0, statuses={1: None})
    assert set(venue.orders) == {2}


def test_open_orders_are_bounded() -> None:
    venue = Outlook(rate=Rate(0, 0, NOW_MS))
    venue.learn_of(dict.fromkeys(range(MOST_OPEN + 50), "pending"), now_ms=NOW_MS)
    assert len(venue.orders) == MOST_OPEN


def test_what_is_expected_of_a_venue_is_reckoned_anew_now_and_then_and_at_once_where_it_is_not_known() -> None:
    habits, now_ms = Habits(), 1_770_000_000_000
    venue = Outlook()
    first = venue.weigh(habits, now_ms)
    venue.orders[1] = OpenOrder("pending", now_ms)
    assert venue.weigh(habits, now_ms + WEIGH_EVERY_MS - 1) == first
    assert venue.weigh(habits, now_ms + WEIGH_EVERY_MS) > first
    unknown = Outlook(weighed_ms=now_ms, orders={1: OpenOrder("pending", now_ms)})
    assert unknown.weigh(habits, now_ms + 1) > 0
