"""The three rate-limit tiers: sliding one-minute windows, and the headers that tell of the tightest."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

from relay.sandbox.switches import Switches

WINDOW_S = 60.0


@dataclass(slots=True)
class Window:
    """What was counted against one key in the last minute.

    Attributes:
        peak: the most that ever lay within one minute.
        refused: how often it was found full.
    """

    hits: deque[float] = field(default_factory=deque)
    peak: int = 0
    refused: int = 0

    def used(self, now_s: float) -> int:
        """How many hits lie within the minute before ``now_s``."""
        while self.hits and self.hits[0] <= now_s - WINDOW_S:
            self.hits.popleft()
        return len(self.hits)

    def hit(self, now_s: float) -> None:
        """Count one."""
        self.hits.append(now_s)
        self.peak = max(self.peak, self.used(now_s))

    def reset_s(self, now_s: float) -> int:
        """Whole seconds until the oldest hit leaves the window; a minute where there is none."""
        self.used(now_s)
        return max(1, ceil(self.hits[0] + WINDOW_S - now_s)) if self.hits else int(WINDOW_S)


@dataclass(frozen=True, slots=True)
class Tier:
    """One budget as it stands: its window and its size."""

    window: Window
    limit: int

    def remaining(self, now_s: float) -> int:
        """What is left of it."""
        return max(0, self.limit - self.window.used(now_s))

    def admits(self, now_s: float) -> bool:
        """Whether one more fits; a refusal is noted, and does not itself use the budget."""
        fits = self.remaining(now_s) > 0
        if not fits:
            self.window.refused += 1
        return fits


class Limits:
    """The windows of all addresses and pairs.

    Args:
        switches: where the budgets are set.
    """

    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._sign_ins: dict[str, Window] = {}
        self._failures: dict[str, Window] = {}
        self._quotas: dict[str, Window] = {}

    def sign_ins(self, address: str) -> Tier:
        """Tier 1: sign-ins from one address."""
        return Tier(self._sign_ins.setdefault(address, Window()), self._switches.auth_per_minute)

    def failures(self, address: str) -> Tier:
        """Tier 2: failed requests (status 400 and above) from one address."""
        return Tier(self._failures.setdefault(address, Window()), self._switches.failures_per_minute)

    def quota(self, integrator_id: str, brand: str) -> Tier:
        """Tier 3: requests of one integrator to one brand."""
        return Tier(self._quotas.setdefault(f"{integrator_id}:{brand}", Window()), self._switches.quota_per_minute)

    def reset(self) -> None:
        """Forget everything counted."""
        for windows in (self._sign_ins, self._failures, self._quotas):
            windows.clear()

    def as_json(self, now_s: float) -> dict[str, dict[str, dict[str, int]]]:
        """What is counted now, by tier and key."""
        tiers = {"auth": self._sign_ins, "failures": self._failures, "quota": self._quotas}
        return {
            tier: {
                key: {"used": window.used(now_s), "peak": window.peak, "refused": window.refused}
                for key, window in windows.items()
            }
            for tier, windows in tiers.items()
        }


def headers(tiers: Iterable[Tier], now_s: float) -> dict[str, str]:
    """The ``RateLimit-*`` headers for the tier with least left; a tie goes to the later (the brand's own quota)."""
    tightest = min(reversed(list(tiers)), key=lambda tier: tier.remaining(now_s))
    return {
        "RateLimit-Limit": str(tightest.limit),
        "RateLimit-Remaining": str(tightest.remaining(now_s)),
        "RateLimit-Reset": str(tightest.window.reset_s(now_s)),
    }
