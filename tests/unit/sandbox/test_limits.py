from relay.sandbox.limits import Limits, Tier, Window, headers
from relay.sandbox.switches import Switches


def test_a_window_slides_it_does_not_jump() -> None:
    window = Window()
    for second in (0, 10, 59):
        window.hit(second)

    assert [window.used(now) for now in (59, 60, 69, 70, 118, 119)] == [3, 2, 2, 1, 1, 0]


def test_reset_tells_when_the_next_place_falls_free() -> None:
    window = Window()
    assert window.reset_s(5) == 60
    window.hit(5)
    window.hit(30)

    assert window.reset_s(30.5) == 35
    assert window.reset_s(64.9) == 1
    assert window.reset_s(65) == 25


def test_a_refusal_does_not_lengthen_the_wait() -> None:
    tier = Tier(Window(), 1)
    tier.window.hit(0)

    assert not any(tier.admits(now) for now in range(1, 60))
    assert tier.admits(60)
    assert tier.window.refused == 59


def test_the_peak_is_the_fullest_minute() -> None:
    window = Window()
    for second in (0, 1, 2, 70, 71):
        window.hit(second)

    assert window.peak == 3


def test_the_headers_tell_of_the_tier_with_least_left() -> None:
    failures, quota = Tier(Window(), 3), Tier(Window(), 3)
    assert headers([failures, quota], 0)["RateLimit-Remaining"] == "3"
    quota.window.hit(0)
    assert headers([failures, quota], 12) == {
        "RateLimit-Limit": "3",
        "RateLimit-Remaining": "2",
        "RateLimit-Reset": "48",
    }
    failures.window.hit(10)
    failures.window.hit(10)
    assert headers([failures, quota], 12)["RateLimit-Remaining"] == "1"


def test_addresses_and_pairs_are_counted_apart() -> None:
    limits = Limits(Switches(quota_per_minute=1))
    limits.quota("i", "a").window.hit(0)

    assert not limits.quota("i", "a").admits(1)
    assert limits.quota("i", "b").admits(1)
    assert limits.as_json(1)["quota"]["i:a"] == {"used": 1, "peak": 1, "refused": 1}
