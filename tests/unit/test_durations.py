"""Durations as people write them."""

# ruff: noqa: RUF001 - look-alike characters are what is tested

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("2s", timedelta(seconds=2)),
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        ("7d", timedelta(days=7)),
        ("1.5h", timedelta(minutes=90)),
        ("0.25s", timedelta(milliseconds=250)),
        ("0s", timedelta(0)),
        (" 15s ", timedelta(seconds=15)),
        ("007s", timedelta(seconds=7)),
    ],
)
def test_a_number_and_a_unit_is_a_duration(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "5",
        "5 s",
        "-5s",
        "+5s",
        "5S",
        "5sec",
        "1h30m",
        "1e3s",
        ".5s",
        "5.s",
        "٥s",
        "５s",
        "5s\n",
        "nan",
        "1,5s",
    ],
)
def test_anything_else_is_refused_with_what_to_write_instead(text: str) -> None:
    with pytest.raises(ValueError, match="write a number and one of ms, s, m, h, d"):
        parse_duration(text)


def test_a_refusal_does_not_repeat_what_was_written() -> None:
    with pytest.raises(ValueError, match="is not a duration") as refused:
        parse_duration("hunter2")
    assert "hunter2" not in str(refused.value)


def test_less_than_a_millisecond_is_refused() -> None:
    with pytest.raises(ValueError, match="whole milliseconds"):
        parse_duration("0.5ms")


def test_bounds_are_named_in_the_refusal() -> None:
    with pytest.raises(ValueError, match="at least 1s"):
        parse_duration("999ms", at_least=timedelta(seconds=1))
    with pytest.raises(ValueError, match="at most 1h"):
        parse_duration("61m", at_most=timedelta(hours=1))
    with pytest.raises(ValueError, match="at most 1h"):
        parse_duration("999999999999d", at_most=timedelta(hours=1))


@given(st.integers(min_value=0, max_value=int(LONGEST / timedelta(milliseconds=1))))
def test_what_is_written_is_read_back(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        assert parse_duration(text) >= timedelta(0)
    except ValueError as refused:
        assert str(refused)  # noqa: PT017 - any text may be refused, none may do worse


def test_only_whole_milliseconds_from_zero_on_are_written() -> None:
    for duration in (timedelta(seconds=-1), timedelta(microseconds=1)):
        with pytest.raises(ValueError, match="whole, non-negative"):
            format_duration(duration)
