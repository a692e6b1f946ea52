"""When a lane may send, and how much at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.breaker import (
    CONCURRENCY_START,
    DISABLE_AFTER_MS,
    FAILURES_TO_OPEN,
    HEALTHY,
    PROBE_CAP_MS,
    Circuit,
    Concurrency,
    Flow,
    Probe,
    Wait,
    admit,
    disable_due,
    dump,
    failed,
    grown,
    halved,
    load,
    probe_started,
    probe_wait_ms,
    releases,
    start_concurrency,
    succeeded,
    throttled,
)

T0 = 1_770_039_965_000


def fail(circuit: Circuit, *subjects: str, now_ms: int = T0, probe: bool = False) -> Circuit:
    for subject in subjects:
        circuit = failed(circuit, subject=subject, now_ms=now_ms, probe=probe, draw=0.5)
    return circuit


def opened(now_ms: int = T0) -> Circuit:
    return fail(HEALTHY, *(f"order/{number}" for number in range(FAILURES_TO_OPEN)), now_ms=now_ms)


def test_a_healthy_lane_sends_whatever_is_due() -> None:
    assert admit(HEALTHY, now_ms=T0) == Flow()


def test_one_subject_that_fails_again_and_again_never_opens_the_circuit() -> None:
    assert admit(fail(HEALTHY, *["order/1"] * 50), now_ms=T0) == Flow()


def test_failures_of_different_subjects_open_it() -> None:
    subjects = [f"order/{number}" for number in range(FAILURES_TO_OPEN)]
    assert admit(fail(HEALTHY, *subjects[:-1]), now_ms=T0) == Flow()
    assert admit(fail(HEALTHY, *subjects), now_ms=T0) == Wait(T0 + 5_000, "circuit open")


def test_a_success_in_between_starts_the_count_anew() -> None:
    circuit = fail(
        succeeded(fail(HEALTHY, "order/1", "order/2", "order/3"), subject="order/9"), "order/4", "order/5", "order/6"
    )
    assert admit(circuit, now_ms=T0) == Flow()


def test_after_the_wait_one_probe_may_go_and_no_second_beside_it() -> None:
    circuit = opened()
    assert admit(circuit, now_ms=T0 + 4_999) == Wait(T0 + 5_000, "circuit open")
    assert admit(circuit, now_ms=T0 + 5_000) == Probe()
    circuit = probe_started(circuit, now_ms=T0 + 5_000, timeout_ms=20_000)
    assert admit(circuit, now_ms=T0 + 5_001) == Wait(T0 + 25_000, "circuit open")


def test_a_probe_whose_worker_died_costs_its_timeout_and_no_more() -> None:
    circuit = probe_started(opened(), now_ms=T0 + 5_000, timeout_ms=20_000)
    assert admit(circuit, now_ms=T0 + 25_000) == Probe()


def test_failed_probes_wait_longer_each_time_up_to_a_minute() -> None:
    circuit, now_ms, waits_s = opened(), T0, []
    for number in range(7):
        wait = admit(circuit, now_ms=now_ms)
        assert isinstance(wait, Wait)
        waits_s.append((wait.until_ms - now_ms) / 1_000)
        now_ms = wait.until_ms
        circuit = fail(
            probe_started(circuit, now_ms=now_ms, timeout_ms=20_000), f"order/{100 + number}", now_ms=now_ms, probe=True
        )
    assert waits_s == [5, 10, 20, 40, 60, 60, 60]


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_no_probe_waits_more_than_a_minute(probes_failed: int, draw: float) -> None:
    assert 4_500 <= probe_wait_ms(probes_failed, draw=draw) <= PROBE_CAP_MS


def test_attempts_begun_before_it_opened_do_not_lengthen_the_wait() -> None:
    assert fail(opened(), "order/77", "order/78").open_until_ms == opened().open_until_ms


def test_any_success_closes_it_at_once() -> None:
    for circuit in (opened(), probe_started(opened(), now_ms=T0, timeout_ms=20_000)):
        closed = succeeded(circuit, subject="order/9")
        assert admit(closed, now_ms=T0) == Flow()
        assert closed.failing_since_ms is None


def test_whoever_failed_before_is_released_again_once_enough_have_failed_to_open_the_circuit() -> None:
    enough = tuple(range(FAILURES_TO_OPEN))
    assert releases(Circuit(subjects=enough, released=enough))
    assert not releases(Circuit(subjects=enough[1:], released=enough))


def test_the_first_success_after_failures_releases_what_waits() -> None:
    assert releases(opened())
    assert releases(fail(HEALTHY, "order/1"))
    assert not releases(HEALTHY)
    assert not releases(succeeded(opened(), subject="order/9"))


def test_one_poison_event_among_successes_is_released_once_and_not_after_each_of_them() -> None:
    circuit = fail(HEALTHY, "order/poison")
    assert releases(circuit)
    circuit = fail(succeeded(circuit, subject="order/2"), "order/poison")
    assert not releases(circuit)
    circuit = fail(succeeded(circuit, subject="order/3"), "order/poison")
    assert not releases(circuit)


def test_several_poison_events_do_not_release_one_another() -> None:
    circuit = succeeded(fail(HEALTHY, "order/a", "order/b"), subject="order/2")
    circuit = succeeded(fail(circuit, "order/b", "order/a"), subject="order/3")
    assert not releases(fail(circuit, "order/a", "order/b"))


def test_a_subject_that_succeeded_after_its_release_may_be_released_again() -> None:
    circuit = succeeded(fail(HEALTHY, "order/1"), subject="order/2")
    circuit = succeeded(circuit, subject="order/1")
    assert releases(fail(circuit, "order/1"))


def test_failing_since_is_the_first_failure_and_stays() -> None:
    circuit = fail(fail(opened(T0), "order/1", now_ms=T0 + 1), "order/9", now_ms=T0 + 2, probe=True)
    assert circuit.failing_since_ms == T0


def test_a_throttled_lane_waits_as_long_as_the_partner_asked() -> None:
    circuit = throttled(HEALTHY, retry_after_s=120.0, now_ms=T0, max_wait_s=36_000)
    assert admit(circuit, now_ms=T0 + 119_999) == Wait(T0 + 120_000, "throttled")
    assert admit(circuit, now_ms=T0 + 120_000) == Flow()


def test_a_success_that_was_under_way_does_not_end_a_throttle() -> None:
    circuit = succeeded(throttled(opened(), retry_after_s=120.0, now_ms=T0, max_wait_s=36_000), subject="order/9")
    assert admit(circuit, now_ms=T0 + 1) == Wait(T0 + 120_000, "throttled")


def test_a_throttle_is_never_shortened_and_never_longer_than_the_limit() -> None:
    circuit = throttled(HEALTHY, retry_after_s=1e12, now_ms=T0, max_wait_s=36_000)
    assert circuit.held_until_ms == T0 + 36_000_000
    assert throttled(circuit, retry_after_s=1.0, now_ms=T0, max_wait_s=36_000) == circuit


def test_a_throttle_outlasts_an_open_circuit() -> None:
    circuit = throttled(opened(), retry_after_s=120.0, now_ms=T0, max_wait_s=36_000)
    assert admit(circuit, now_ms=T0 + 6_000) == Wait(T0 + 120_000, "throttled")
    assert admit(circuit, now_ms=T0 + 120_000) == Probe()


def test_five_days_without_a_success_disable_and_not_a_moment_less() -> None:
    assert not disable_due(None, T0)
    assert not disable_due(T0, T0 + DISABLE_AFTER_MS - 1)
    assert disable_due(T0, T0 + DISABLE_AFTER_MS)


def test_one_success_within_the_five_days_starts_them_anew() -> None:
    circuit = fail(succeeded(fail(HEALTHY, "order/1", now_ms=T0), subject="order/1"), "order/2", now_ms=T0 + 1_000)
    assert not disable_due(circuit.failing_since_ms, T0 + DISABLE_AFTER_MS)
    assert disable_due(circuit.failing_since_ms, T0 + 1_000 + DISABLE_AFTER_MS)


@given(
    st.builds(
        Circuit,
        failing_since_ms=st.none() | st.integers(0, 2**45),
        failures=st.integers(0, 10**6),
        subjects=st.lists(st.integers(0, 2**32 - 1), max_size=FAILURES_TO_OPEN).map(tuple),
        open_until_ms=st.none() | st.integers(0, 2**45),
        probes_failed=st.integers(0, 10**6),
        held_until_ms=st.none() | st.integers(0, 2**45),
        released=st.lists(st.integers(0, 2**32 - 1), max_size=FAILURES_TO_OPEN).map(tuple),
    )
)
def test_what_is_stored_is_read_back(circuit: Circuit) -> None:
    assert load(dump(circuit)) == circuit


def test_a_healthy_lane_stores_nothing() -> None:
    assert dump(HEALTHY) == ""


@pytest.mark.parametrize("garbage", ["x", ";;;;", "1;2;3;4;5;6;7;8", "a;;;0;0;;", ";;;0;0;zz;"])
def test_garbage_is_refused_when_read(garbage: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|literal"):
        load(garbage)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans(), st.integers(0, 120_000)), max_size=80))
def test_a_lane_is_never_stuck(steps: list[tuple[str, bool, int]]) -> None:
    circuit, now_ms = HEALTHY, T0
    for subject, success, pause_ms in steps:
        now_ms += pause_ms
        admission = admit(circuit, now_ms=now_ms)
        if isinstance(admission, Wait):
            assert now_ms < admission.until_ms <= now_ms + PROBE_CAP_MS
            continue
        probe = isinstance(admission, Probe)
        if probe:
            circuit = probe_started(circuit, now_ms=now_ms, timeout_ms=20_000)
        circuit = succeeded(circuit, subject=subject) if success else fail(circuit, subject, now_ms=now_ms, probe=probe)
        if success:
            assert admit(circuit, now_ms=now_ms) == Flow()


def test_concurrency_starts_small_and_never_above_its_ceiling() -> None:
    assert start_concurrency(10).limit == CONCURRENCY_START
    assert start_concurrency(1).limit == 1


def test_a_round_of_successes_makes_one_more_place() -> None:
    concurrency = start_concurrency(10)
    for _ in range(4):
        concurrency = grown(concurrency)
    assert concurrency.limit == 5
    assert grown(concurrency, successes=5).limit == 6


def test_it_grows_to_its_ceiling_and_stays() -> None:
    concurrency = start_concurrency(10)
    for _ in range(100):
        concurrency = grown(concurrency)
    assert concurrency.limit == 10
    assert grown(concurrency, successes=1_000) is concurrency


def test_a_timeout_halves_it_down_to_one() -> None:
    concurrency, limits = Concurrency(ceiling=10, window=10.0), []
    for number in range(1, 6):
        concurrency = halved(concurrency, started_ms=T0 + number, now_ms=T0 + number)
        limits.append(concurrency.limit)
    assert limits == [5, 2, 1, 1, 1]


def test_timeouts_of_one_round_halve_it_once() -> None:
    concurrency = Concurrency(ceiling=10, window=8.0)
    for _ in range(8):
        concurrency = halved(concurrency, started_ms=T0, now_ms=T0 + 15_000)
    assert concurrency.limit == 4


@given(st.integers(1, 50), st.lists(st.booleans(), max_size=300))
def test_the_limit_stays_between_one_and_its_ceiling(ceiling: int, ends: list[bool]) -> None:
    concurrency = start_concurrency(ceiling)
    for number, well in enumerate(ends):
        now_ms = T0 + number
        concurrency = grown(concurrency) if well else halved(concurrency, started_ms=now_ms, now_ms=now_ms)
        assert 1 <= concurrency.limit <= ceiling
