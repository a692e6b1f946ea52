from __future__ import annotations

from relay.api.marks import HighWater

EVENTS = ("events", "openapitest", "order.created", "poll")


def test_a_counter_that_lost_its_last_second_stands_still_until_it_is_higher_again() -> None:
    marks = HighWater()
    shown = [marks.hold({EVENTS: value}, since_ms=1)[EVENTS] for value in (1000, 1007, 1001, 1006, 1008)]
    assert shown == [1000, 1007, 1007, 1007, 1008]


def test_a_counter_that_begins_anew_is_shown_as_it_is() -> None:
    marks = HighWater()
    marks.hold({EVENTS: 1000}, since_ms=1)
    assert marks.hold({EVENTS: 3}, since_ms=1) == {EVENTS: 3}
    assert marks.hold({EVENTS: 2}, since_ms=1) == {EVENTS: 2 + 1}


def test_a_counter_that_is_gone_is_forgotten() -> None:
    marks = HighWater()
    marks.hold({EVENTS: 1000}, since_ms=1)
    assert marks.hold({}, since_ms=1) == {}
    assert marks.hold({EVENTS: 900}, since_ms=1) == {EVENTS: 900}


def test_another_installation_has_other_counters() -> None:
    marks = HighWater()
    marks.hold({EVENTS: 1000}, since_ms=1)
    assert marks.hold({EVENTS: 900}, since_ms=2) == {EVENTS: 900}
