import pytest

from relay.api.ui.formats import age, ago, clock, count, epoch_ms, full, in_words, lasting, plural, share, span

MOMENT = 1770039965120
THIN = "\u202f"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "40 ms"),
        (0.9996, "1 s"),
        (2, "2 s"),
        (2.34, "2.3 s"),
        (12.6, "13 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (7500, "2 h 5 min"),
        (172_800, "2 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_are_short_and_plain(seconds: float, text: str) -> None:
    assert span(seconds).replace(THIN, " ") == text


def test_times_are_told_from_now() -> None:
    assert ago(None, MOMENT) == "never"
    assert ago(MOMENT, MOMENT) == "just now"
    assert ago(MOMENT - 12_000, MOMENT) == f"12{THIN}s ago"
    assert ago(MOMENT + 90_000, MOMENT) == f"in 90{THIN}s"


def test_a_clock_shows_the_day_only_where_it_is_another() -> None:
    assert epoch_ms("2026-02-02T13:46:05.120Z") == MOMENT
    assert epoch_ms(None) is None
    assert clock(MOMENT, MOMENT + 1000) == "13:46:05"
    assert clock(MOMENT, MOMENT + 86_400_000) == "2 Feb 13:46"
    assert full(MOMENT) == "2 Feb 2026, 13:46:05 UTC"


def test_what_is_not_quite_all_is_never_100_percent() -> None:
    assert share(None) == "\u2013"
    assert share(1.0) == f"100{THIN}%"
    assert share(0.9999) == f"99.9{THIN}%"
    assert share(0.5) == f"50{THIN}%"
    assert share(0.0) == f"0{THIN}%"


def test_numbers_and_their_nouns() -> None:
    assert count(1234) == "1234"
    assert count(1234567) == f"1{THIN}234{THIN}567"
    assert plural(1, "delivery", "deliveries") == "1 delivery"
    assert plural(0, "delivery", "deliveries") == "0 deliveries"
    assert age(0.2) == f"under 1{THIN}s"
    assert age(None) == "\u2013"
    assert age(4.7) == f"4{THIN}s"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("status: answered 503", "answered 503"),
        ("dns: the host name does not resolve to an address", "the host name does not resolve to an address"),
        ("something: else: again", "else: again"),
        ("What nobody classed: it stays", "What nobody classed: it stays"),
        ("", ""),
    ],
)
def test_an_error_is_said_without_its_class(error: str, text: str) -> None:
    assert in_words(error) == text


def test_how_long_something_lasts_is_never_less_than_nothing() -> None:
    assert lasting(MOMENT - 61_000, MOMENT).replace(THIN, " ") == "61 s"
    assert lasting(MOMENT + 5_000, MOMENT).replace(THIN, " ") == "under 1 s"
