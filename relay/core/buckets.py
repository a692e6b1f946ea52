"""Into which buckets do durations fall?  Upper bounds in milliseconds; the last bucket has none."""

from bisect import bisect_left
from typing import Final

DURATION_MS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 15_000, 30_000, 60_000)
"""Of attempts, and of requests to Clopos."""

LATENCY_MS: Final = (
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    30_000,
    60_000,
    300_000,
    3_600_000,
    86_400_000,
)
"""From seen to delivered: up to a day of retries."""


def bucket_of(value_ms: float, bounds: tuple[int, ...]) -> int:
    """Index of the bucket that a value falls into; ``len(bounds)`` above them all."""
    return bisect_left(bounds, value_ms)


def quantile_ms(counts: dict[int, int], bounds: tuple[int, ...], share: float) -> float | None:
    """Estimate a quantile from bucket counts, by straight lines within a bucket; None without any count.

    Args:
        counts: bucket index -> count.
        share: 0.95 for the 95th percentile.
    """
    total = sum(counts.values())
    if not total:
        return None
    rank = share * total
    seen = 0
    for index in sorted(counts):
        if seen + counts[index] >= rank and counts[index]:
            lower = bounds[index - 1] if index else 0
            if index >= len(bounds):
                return float(bounds[-1])
            return lower + (bounds[index] - lower) * (rank - seen) / counts[index]
        seen += counts[index]
    return float(bounds[-1])
