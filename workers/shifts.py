"""What do shifts of each kind do, given an opened relay?"""

from __future__ import annotations

from collections.abc import Mapping

from relay.bootstrap import Relay
from workers.shift import ShiftFunction


def shifts(relay: Relay, concurrency: int) -> Mapping[str, ShiftFunction]:
    """Make the table of shifts: kind -> what runs.

    Args:
        relay: what they work with.
        concurrency: attempts, or looks, at once in this process.
    """
    del relay, concurrency
    return {}
