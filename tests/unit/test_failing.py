from __future__ import annotations

import pytest

from relay.core.errors import (
    CloposError,
    DeadlyError,
    HeldBackError,
    NoAnswerError,
    PageUnreadable,
    RefusedError,
    SignInError,
    ThrottledError,
    UnknownThingError,
)
from relay.pipeline.failing import FAILING_AFTER, LONGEST_WAIT_MS, brand_is_well, failed, feed_is_well, try_again
from relay.store.findings import BrandState, FeedState

NOW_MS = 1_000_000
TIMEOUT = NoAnswerError("no answer", reason="timeout")


def fail(error: CloposError, times: int = 1) -> tuple[BrandState, FeedState, list[bool]]:
    brand, feed = BrandState(), FeedState()
    turns = [failed(brand, feed, error, now_ms=NOW_MS, draw=0.5) for _ in range(times)]
    return brand, feed, [turn is not None for turn in turns]


def test_one_failure_stops_its_venue_only() -> None:
    brand, feed, turns = fail(TIMEOUT)
    assert (feed.reason, feed.failures, feed.retry_ms) == ("timeout", 1, NOW_MS + 1_000)
    assert (brand.retry_ms, brand.failing_ms, turns) == (0, 0, [False])


def test_waits_double_up_to_half_a_minute() -> None:
    waits = [fail(TIMEOUT, times)[1].retry_ms - NOW_MS for times in range(1, 9)]
    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]


@pytest.mark.parametrize("draw", [0.0, 0.999])
def test_waits_are_spread(draw: float) -> None:
    feed = FeedState()
    failed(BrandState(), feed, TIMEOUT, now_ms=NOW_MS, draw=draw)
    assert NOW_MS + 500 <= feed.retry_ms <= NOW_MS + 1_500


def test_a_few_failures_in_a_row_make_the_brand_failing_once() -> None:
    brand, _, turns = fail(TIMEOUT, FAILING_AFTER + 3)
    assert turns == [False] * (FAILING_AFTER - 1) + [True] + [False] * 3
    assert "did not answer" in brand.message
    assert NOW_MS < brand.retry_ms <= NOW_MS + LONGEST_WAIT_MS * 1.5


@pytest.mark.parametrize("reason", ["credentials", "integrator", "test_mode", "unauthorized"])
def test_refused_credentials_are_a_failure_of_the_brand_at_once_and_wait_a_minute(reason: str) -> None:
    brand, _, turns = fail(SignInError("no", reason=reason, status=401))
    assert turns == [True]
    assert brand.retry_ms == NOW_MS + 60_000


def test_an_unknown_venue_harms_nobody_else() -> None:
    brand, feed, turns = fail(UnknownThingError("gone", status=404), 10)
    assert (brand, any(turns)) == (BrandState(), False)
    assert feed.retry_ms - NOW_MS == 300_000


def test_what_has_ended_worker_after_worker_waits_longer_each_time_and_harms_nobody_else() -> None:
    brand, feed = BrandState(), FeedState()
    waits = []
    for _ in range(8):
        assert failed(brand, feed, DeadlyError("…"), now_ms=NOW_MS, draw=0.5) is None
        waits.append((feed.retry_ms - NOW_MS) // 60_000)
    assert waits == [15, 30, 60, 120, 240, 360, 360, 360]
    assert (feed.reason, brand.retry_ms, brand.failing_ms) == ("deadly", 0, 0)


def test_a_429_says_how_long_to_wait() -> None:
    assert 37_000 <= fail(ThrottledError("no", wait_s=37))[0].retry_ms - NOW_MS <= 37_100


def test_what_stops_the_way_to_clopos_stops_the_brand() -> None:
    for reason in ("dns", "tls", "connect"):
        assert fail(NoAnswerError("no way", reason=reason))[0].retry_ms > NOW_MS


def test_a_success_ends_it_all_and_says_what_it_was() -> None:
    brand, feed, _ = fail(PageUnreadable("html"), FAILING_AFTER)
    feed_is_well(feed)
    turn = brand_is_well(brand)
    assert turn is not None
    assert (turn.failing, turn.since_ms) == (False, NOW_MS)
    assert "maintenance" in turn.error
    assert (brand, feed) == (BrandState(), FeedState())
    assert brand_is_well(brand) is None


def test_the_first_message_stays_until_another_failure_takes_its_place() -> None:
    brand, feed, _ = fail(TIMEOUT, FAILING_AFTER)
    failed(brand, feed, RefusedError("down", reason="upstream", status=503), now_ms=NOW_MS, draw=0.5)
    assert brand.reason == "upstream"
    assert "503" in brand.message


def test_an_operator_may_have_it_tried_again_at_once() -> None:
    brand, feed, _ = fail(TIMEOUT, 5)
    try_again(brand, [feed])
    assert (brand.retry_ms, feed.retry_ms) == (0, 0)
    assert brand.failing_ms


def test_a_look_that_began_before_the_brand_was_changed_is_repeated_without_a_word() -> None:
    brand, feed, turns = fail(HeldBackError("changed", reason="stale", wait_s=0.2), 5)
    assert 200 <= feed.retry_ms - NOW_MS <= 300
    assert (brand, feed.failures, any(turns)) == (BrandState(), 0, False)


def test_waiting_for_the_quota_is_no_failure() -> None:
    brand, feed, turns = fail(HeldBackError("no", reason="quota_blocked", wait_s=37), 5)
    assert 37_000 <= brand.retry_ms - NOW_MS <= 37_100
    assert (brand.failures, feed.failures, any(turns)) == (0, 0, False)
    brand, feed, turns = fail(HeldBackError("no", reason="quota_window", wait_s=7), 5)
    assert 7_000 <= feed.retry_ms - NOW_MS <= 7_100
    assert (brand.retry_ms, brand.failures, any(turns)) == (0, 0, False)


def test_a_sign_in_that_failed_in_another_worker_is_known_here_and_as_bad() -> None:
    brand, _, turns = fail(HeldBackError("no", reason="credentials", wait_s=12))
    assert turns == [True]
    assert 12_000 <= brand.retry_ms - NOW_MS <= 12_100
