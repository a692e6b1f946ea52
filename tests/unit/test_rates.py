"""How many may be sent now."""

# ruff: noqa: RUF001 - look-alike characters are what is tested

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.rates import Rate, parse_rate, take


@pytest.mark.parametrize(
    ("text", "rate"),
    [("50/s", Rate(50, 1)), ("600/m", Rate(600, 60)), ("1000/h", Rate(1000, 3600)), ("1/h", Rate(1, 3600))],
)
def test_a_rate_is_a_number_and_a_period(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "50", "/s", "0/s", "-1/s", "1.5/s", "50/ s", "50/S", "50/sec", "50/d", "050/s", "５/s", "50/s\n", "1e9/s"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(text)


def test_an_absurd_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="above 100000 a second"):
        parse_rate("100001/s")


def test_the_first_is_granted_at_once_and_the_next_after_its_interval() -> None:
    taken = take(Rate(10, 1), tat_ms=0.0, now_ms=1_000.0, wanted=5)
    assert (taken.granted, taken.next_ms) == (1, 1_100.0)
    assert take(Rate(10, 1), tat_ms=taken.tat_ms, now_ms=1_099.0, wanted=5).granted == 0
    assert take(Rate(10, 1), tat_ms=taken.tat_ms, now_ms=1_100.0, wanted=5).granted == 1


def test_nothing_wanted_changes_nothing() -> None:
    taken = take(Rate(10, 1), tat_ms=1_500.0, now_ms=1_000.0, wanted=0)
    assert (taken.granted, taken.tat_ms) == (0, 1_500.0)


def test_idle_time_is_not_saved_up() -> None:
    assert take(Rate(10, 1), tat_ms=1.0, now_ms=3_600_000.0, wanted=1_000).granted == 1


def test_a_fast_rate_is_granted_in_small_bursts() -> None:
    assert take(Rate(1_000, 1), tat_ms=0.0, now_ms=1_000.0, wanted=10_000).granted == 50


@given(
    st.sampled_from([Rate(1, 1), Rate(7, 1), Rate(50, 1), Rate(600, 60), Rate(1_000, 3_600), Rate(9_999, 1)]),
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 500)), max_size=60),
)
def test_no_stretch_of_time_sees_more_than_the_rate_and_one_burst(rate: Rate, calls: list[tuple[int, int]]) -> None:
    now_ms, tat_ms = 1_770_039_965_000.0, 0.0
    granted: list[tuple[float, int]] = []
    for step_ms, wanted in calls:
        now_ms += step_ms
        taken = take(rate, tat_ms=tat_ms, now_ms=now_ms, wanted=wanted)
        tat_ms = taken.tat_ms
        granted.append((now_ms, taken.granted))
        assert 0 <= taken.granted <= wanted
    for first, (start_ms, _) in enumerate(granted):
        total = 0
        for at_ms, count in granted[first:]:
            total += count
            assert total <= (at_ms - start_ms) / rate.interval_ms + rate.burst + 1e-3


@given(st.sampled_from([Rate(3, 1), Rate(50, 1), Rate(333, 1), Rate(600, 60)]))
def test_who_waits_until_next_gets_the_whole_rate(rate: Rate) -> None:
    now_ms, tat_ms, sent = 1_770_039_965_000.0, 0.0, 0
    end_ms = now_ms + 60_000
    while now_ms < end_ms:
        taken = take(rate, tat_ms=tat_ms, now_ms=now_ms, wanted=10)
        sent += taken.granted
        tat_ms = taken.tat_ms
        assert taken.granted or taken.next_ms > now_ms
        now_ms = max(taken.next_ms, now_ms + 0.001)
    assert sent >= 60 * rate.count / rate.period_s * 0.999
