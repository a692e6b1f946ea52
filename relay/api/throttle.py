"""May this be done now?  So many at once, then one in so long, by key; in this process.

Source: the generic cell rate algorithm, ITU-T I.371, annex A.
"""

import math
from typing import Final

MOST_KEYS: Final = 10_000


class Throttle:
    """Counts by key what was done lately."""

    def __init__(self, *, interval_s: float, burst: int) -> None:
        """Set the limit.

        Args:
            interval_s: one in that time, in the long run.
            burst: that many at once.
        """
        self._interval_s = interval_s
        self._tolerance_s = interval_s * (burst - 1)
        self._due_s: dict[str, float] = {}

    def wait_s(self, key: str, *, now_s: float) -> int:
        """Do it now (0), or how many whole seconds to wait first."""
        due_s = max(self._due_s.get(key, 0.0), now_s)
        early_s = due_s - self._tolerance_s - now_s
        if early_s > 0:
            return max(1, math.ceil(early_s))
        if len(self._due_s) >= MOST_KEYS:
            self._due_s = {known: at_s for known, at_s in self._due_s.items() if at_s > now_s}
        self._due_s[key] = due_s + self._interval_s
        return 0
