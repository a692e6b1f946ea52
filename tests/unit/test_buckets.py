"""Histograms: where a value is counted, and what is read from the counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.buckets import LATENCY_MS, bucket_of, quantile_ms

BOUNDS = (10, 20, 40)


@pytest.mark.parametrize(("value", "index"), [(0, 0), (10, 0), (11, 1), (20, 1), (40, 2), (41, 3), (10**9, 3)])
def test_a_value_is_counted_in_the_first_bucket_that_holds_it(value: int, index: int) -> None:
    assert bucket_of(value, BOUNDS) == index


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({}, 0.5, None),
        ({0: 4}, 0.5, 5.0),
        ({0: 4}, 1.0, 10.0),
        ({1: 4}, 0.5, 15.0),
        ({2: 4}, 0.25, 25.0),
        ({0: 5, 2: 5}, 0.5, 10.0),
        ({0: 5, 2: 5}, 0.7, 28.0),
        ({0: 0, 1: 1}, 0.0, 10.0),
        ({3: 2}, 0.5, 40.0),
        ({0: 98, 3: 2}, 0.99, 40.0),
    ],
)
def test_a_quantile_lies_in_its_bucket_in_proportion(
    counts: dict[int, int], share: float, expected: float | None
) -> None:
    assert quantile_ms(counts, BOUNDS, share) == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_no_further_off_than_its_bucket_is_wide(values: list[int], share: float) -> None:
    counts: dict[int, int] = {}
    for value in values:
        index = bucket_of(value, LATENCY_MS)
        counts[index] = counts.get(index, 0) + 1
    found = quantile_ms(counts, LATENCY_MS, share)
    true = sorted(values)[max(0, -(-int(share * 100) * len(values) // 100) - 1)]
    index = bucket_of(true, LATENCY_MS)
    assert found is not None
    lower = LATENCY_MS[index - 1] if index else 0
    assert lower <= found <= LATENCY_MS[min(index, len(LATENCY_MS) - 1)]
