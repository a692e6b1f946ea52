"""What is a worker's process for, and how long may it take to end?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relay.settings import Settings

WRONG_SETTINGS: Final = 2
"""Exit code of a process that no restart will help."""
DRAIN_S: Final = 18.0
"""How long a shift may end what is in flight once the process is asked to stop: longer than an attempt's default."""
CUT_S: Final = 5.0
"""How long a shift that was cut off has to give its leases back."""
END_S: Final = DRAIN_S + CUT_S + 2.0
"""How long the process may take to end, all in; then it ends itself. Kubernetes gives a pod thirty seconds."""
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
