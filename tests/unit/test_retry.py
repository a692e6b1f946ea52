"""When a failed delivery is tried again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.retry import (
    DEFAULT_DELAYS_S,
    LONGEST_RETRY_AFTER_S,
    Dead,
    RetryAt,
    RetryPolicy,
    format_schedule,
    next_attempt,
    parse_retry_after,
    parse_schedule,
)

NOW = datetime(2026, 2, 2, 13, 46, 5, tzinfo=UTC)
DEFAULT = RetryPolicy()


def wait_s(
    policy: RetryPolicy = DEFAULT, *, attempt: int = 1, retry_after_s: float | None = None, draw: float = 0.5
) -> float:
    verdict = next_attempt(policy, attempt=attempt, failed_at=NOW, retry_after_s=retry_after_s, draw=draw)
    assert isinstance(verdict, RetryAt)
    return (verdict.at - NOW).total_seconds()


def test_the_default_schedule_is_the_contracts() -> None:
    assert parse_schedule("5s,5m,30m,2h,5h,10h,14h,20h,24h") == DEFAULT_DELAYS_S


def test_each_failure_waits_for_the_schedules_next_delay() -> None:
    assert [wait_s(attempt=number) for number in range(1, 10)] == list(DEFAULT_DELAYS_S)


def test_the_last_failure_of_the_schedule_is_death() -> None:
    assert next_attempt(DEFAULT, attempt=10, failed_at=NOW, retry_after_s=None, draw=0.5) == Dead(attempts=10)
    assert next_attempt(DEFAULT, attempt=11, failed_at=NOW, retry_after_s=3.0, draw=0.5) == Dead(attempts=11)


def test_an_empty_schedule_means_one_attempt() -> None:
    policy = RetryPolicy(delays_s=())
    assert next_attempt(policy, attempt=1, failed_at=NOW, retry_after_s=None, draw=0.5) == Dead(attempts=1)


@given(
    st.integers(min_value=1, max_value=9),
    st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_jitter_stays_within_ten_percent(attempt: int, draw: float) -> None:
    delay_s = DEFAULT_DELAYS_S[attempt - 1]
    assert 0.9 * delay_s <= wait_s(attempt=attempt, draw=draw) + 1e-6
    assert wait_s(attempt=attempt, draw=draw) <= 1.1 * delay_s + 1e-6


def test_the_jitter_uses_its_whole_range() -> None:
    assert wait_s(attempt=2, draw=0.0) == 270
    assert wait_s(attempt=2, draw=0.999999) == pytest.approx(330, abs=0.01)


def test_a_retry_after_longer_than_the_schedule_wins() -> None:
    assert wait_s(attempt=1, retry_after_s=120.0) == 120


def test_a_retry_after_shorter_than_the_schedule_does_not_shorten_it() -> None:
    assert wait_s(attempt=2, retry_after_s=1.0) == 300


def test_jitter_never_ends_a_wait_before_the_retry_after() -> None:
    assert wait_s(attempt=1, retry_after_s=120.0, draw=0.0) == 120


def test_a_retry_after_is_honoured_up_to_ten_hours() -> None:
    assert wait_s(attempt=1, retry_after_s=1e12) == 36_000


def test_the_schedules_own_longer_delay_is_not_cut_to_ten_hours() -> None:
    assert wait_s(attempt=9, retry_after_s=1e12) == 86_400


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="start at 1"):
        next_attempt(DEFAULT, attempt=0, failed_at=NOW, retry_after_s=None, draw=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "delay 1 is not a duration"),
        ("5s,,5m", "delay 2 is not a duration"),
        ("5s,5m,", "delay 3 is not a duration"),
        ("5", "delay 1 is not a duration"),
        ("5s;5m", "delay 1 is not a duration"),
        ("0s", "delay 1 is too short"),
        ("-5s", "delay 1 is not a duration"),
        ("5m,5s", "delay 2 is shorter"),
        (",".join(["1s"] * 21), "too many delays: at most 20"),
        ("16d,16d", "at most 30d together"),
        ("31d", "at most 30d"),
    ],
)
def test_a_wrong_schedule_is_refused_with_its_limit(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_schedule(text)


def test_a_schedule_may_have_twenty_equal_delays() -> None:
    assert parse_schedule(",".join(["1s"] * 20)) == (1.0,) * 20


def test_spaces_around_delays_are_ignored() -> None:
    assert parse_schedule("5s, 5m") == (5.0, 300.0)


def test_a_schedule_is_written_as_it_is_read() -> None:
    assert format_schedule(DEFAULT_DELAYS_S) == "5s,5m,30m,2h,5h,10h,14h,20h,1d"
    assert parse_schedule(format_schedule((0.25, 1.0))) == (0.25, 1.0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("Mon, 02 Feb 2026 13:48:05 GMT", 120.0),
        ("Monday, 02-Feb-26 13:48:05 GMT", 120.0),
        ("Mon Feb  2 13:48:05 2026", 120.0),
        ("Mon, 02 Feb 2026 14:48:05 +0100", 120.0),
        ("Mon, 02 Feb 2026 13:00:00 GMT", 0.0),
        ("Mon, 02 Feb 1970 13:00:00 GMT", 0.0),
        ("1000000000000", LONGEST_RETRY_AFTER_S),
        ("9" * 100, LONGEST_RETRY_AFTER_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER_S),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "-5",
        "+5",
        "1e9",
        "1.5",
        "0x10",
        "soon",
        "٣",
        "120, 240",
        "9" * 200,
        "Mon, 02 Feb",
        "Mon, 99 Feb 2026 13:48:05 GMT",
        "Mon, 02 Feb 99999 13:48:05 GMT",
        "\x00",
    ],
)
def test_a_retry_after_that_says_nothing_asks_for_nothing(value: str | None) -> None:
    assert parse_retry_after(value, NOW) is None


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9 ]{1,3}[A-Z][a-z]{2} [0-9]{1,6} [0-9:]{0,9} ?[-+A-Z0-9]{0,6}"))
def test_no_retry_after_breaks_the_parser(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_S


@given(st.integers(min_value=1, max_value=40), st.one_of(st.none(), st.floats(min_value=0, max_value=1e15)))
def test_attempts_never_exceed_the_schedule(attempt: int, retry_after_s: float | None) -> None:
    verdict = next_attempt(DEFAULT, attempt=attempt, failed_at=NOW, retry_after_s=retry_after_s, draw=0.5)
    assert isinstance(verdict, Dead) == (attempt > len(DEFAULT_DELAYS_S))
    if isinstance(verdict, RetryAt):
        assert verdict.at <= NOW + timedelta(hours=24)
