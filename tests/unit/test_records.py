"""What is kept of one delivery: written by scripts, read here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.deliveries import FRESH, Record, State, attempt_line, parse_record
from relay.core.errors import CorruptStateError


@pytest.mark.parametrize("text", [None, b""])
def test_a_delivery_without_a_record_was_never_tried(text: bytes | None) -> None:
    assert parse_record(text) == FRESH
    assert not FRESH.opened


@pytest.mark.parametrize(
    ("text", "record", "opened"),
    [
        (b"d|1|||", Record(State.DELIVERED, 1), False),
        (b"x|9|7||{}", Record(State.DEAD, 9, made=7, facts=b"{}"), False),
        (b"p|0||rpl_1@5|", Record(State.PENDING, 0, replay="rpl_1"), True),
        (b"e|3||-@5|", Record(State.EXPIRED, 3, by_hand=True), True),
        (b"c|3||-|a|b", Record(State.DISCARDED, 3, by_hand=True, facts=b"a|b"), True),
    ],
)
def test_a_record_says_how_a_delivery_stands_and_who_opened_it_again(
    text: bytes, record: Record, opened: object
) -> None:
    found = parse_record(text)

    assert (found, found.opened) == (record, opened)


def test_attempts_come_oldest_first_and_their_excerpt_is_bounded() -> None:
    lines = [
        attempt_line(
            at="2026-02-02T00:00:00Z",
            number=number,
            status_code=500,
            error="e",
            duration_ms=3,
            response_excerpt="x" * 5000,
        )
        for number in (1, 2)
    ]
    history = parse_record(b"\n".join([b"p|2|||", *lines])).history()
    assert [attempt["number"] for attempt in history] == [1, 2]
    assert {len(attempt["response_excerpt"]) for attempt in history} == {1024}


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_but_corrupt(text: bytes) -> None:
    try:
        record = parse_record(text)
    except CorruptStateError:
        return
    assert isinstance(record, Record)
