"""How many requests went to Clopos, and how did they end?  Counted here until a note takes them to Redis."""

from collections import Counter

from relay.clopos.client import Exchange
from relay.core.buckets import DURATION_MS, bucket_of


class Requests:
    """Counters of one process, on their way to the installation's."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def observe(self, exchange: Exchange) -> None:
        """Count one request."""
        duration_ms = exchange.duration_s * 1000
        self._counts[f"poll_requests|{exchange.brand}|{exchange.resource}|{exchange.outcome}"] += 1
        self._counts[f"poll_duration|{bucket_of(duration_ms, DURATION_MS)}"] += 1
        self._counts["poll_duration|sum_ms"] += round(duration_ms)

    def count(self, name: str, amount: int = 1) -> None:
        """Count something else."""
        if amount:
            self._counts[name] += amount

    def drain(self) -> list[tuple[str, int]]:
        """Give what was counted since the last time."""
        counts, self._counts = self._counts, Counter()
        return list(counts.items())

    def put_back(self, counts: list[tuple[str, int]]) -> None:
        """Take back what could not be written down."""
        for name, amount in counts:
            self._counts[name] += amount
