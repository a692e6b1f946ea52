"""What is a worker's process for, and how long may it take to end?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relay.settings import Settings

WRONG_SETTINGS: Final = 2
"""Exit code of a process that no restart will help."""
LEAST_DRAIN_S: Final = 18.0
"""How long a shift may end what is in flight once the process is asked to stop, whatever it does."""
SETTLE_S: Final = 3.0
"""What an attempt may take beyond its timeout, settling included."""
CUT_S: Final = 5.0
"""How long a shift that was cut off has to give its leases back."""
TWICE_S: Final = 1.0
"""A second request to stop within that time is the first one, come by another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What one worker process is for.

    Attributes:
        kind: of its shifts.
        concurrency: given to them.
        look_s: how long it waits for a job before it looks for itself: a wake may be lost, or there is no scheduler.
    """

    settings: Settings
    kind: str
    concurrency: int
    look_s: int = 25

    @property
    def drain_s(self) -> float:
        """How long a shift may end what is in flight once the process is asked to stop: an attempt, to its end."""
        return drain_s(self.kind, attempt_timeout_s=self.settings.attempt_timeout_s)

    @property
    def end_s(self) -> float:
        """How long the process may take to end, all in; then it ends itself. A pod has some seconds more."""
        return self.drain_s + CUT_S + 2.0


def drain_s(kind: str, *, attempt_timeout_s: float) -> float:
    """How long shifts of a kind may end what is in flight."""
    return max(LEAST_DRAIN_S, attempt_timeout_s + SETTLE_S) if kind == "deliver" else LEAST_DRAIN_S
