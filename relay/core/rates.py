"""How many may be sent now under a rate limit, and when the next? By the generic cell rate algorithm, a pure function.

One number is the whole state: the theoretical arrival time of the next one.

Source: ITU-T I.371, annex A (virtual scheduling).
"""

import re
from dataclasses import dataclass
from typing import Final

PERIODS_S: Final = {"s": 1, "m": 60, "h": 3_600}
MAX_PER_SECOND: Final = 100_000

_RATE: Final = re.compile(r"([1-9][0-9]{0,8})/([smh])", re.ASCII)
_BURST_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so long.

    Attributes:
        count: at least 1.
        period_s: of ``count``.
    """

    count: int
    period_s: int

    @property
    def interval_ms(self) -> float:
        """Milliseconds between two, evenly spread."""
        return self.period_s * 1_000 / self.count

    @property
    def burst(self) -> int:
        """How many may go at one instant: what 50 ms bring, at least 1; so any second sees at most a twentieth more."""
        return max(1, int(self.count / self.period_s * _BURST_S))


@dataclass(frozen=True, slots=True)
class Taken:
    """What ``take`` granted.

    Attributes:
        granted: how many may be sent now.
        tat_ms: the state to keep: the theoretical arrival time of the next, epoch milliseconds.
        next_ms: when at least one more may be sent, epoch milliseconds.
    """

    granted: int
    tat_ms: float
    next_ms: float


def parse_rate(text: str) -> Rate:
    """Read a rate such as ``"50/s"``, ``"600/m"`` or ``"1000/h"``.

    Raises:
        ValueError: the text is no such rate, or above 100 000 a second. The message does not repeat the text.
    """
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError("is not a rate: write a whole number from 1 on, a slash and s, m or h, such as 50/s or 600/m")
    rate = Rate(count=int(found[1]), period_s=PERIODS_S[found[2]])
    if rate.count > MAX_PER_SECOND * rate.period_s:
        raise ValueError(f"is above {MAX_PER_SECOND} a second: leave the limit out instead")
    return rate


def take(rate: Rate, *, tat_ms: float, now_ms: float, wanted: int) -> Taken:
    """Grant as many as the rate allows now.

    Args:
        rate: the limit.
        tat_ms: the state as the last call left it; 0 at first.
        now_ms: epoch milliseconds.
        wanted: how many would be sent.

    Returns:
        What is granted, from 0 to ``wanted``, and the state after.
    """
    interval_ms = rate.interval_ms
    tolerance_ms = (rate.burst - 1) * interval_ms
    tat_ms = max(tat_ms, now_ms)
    room = int((now_ms + tolerance_ms - tat_ms) / interval_ms + 1e-6) + 1 if tat_ms <= now_ms + tolerance_ms else 0
    granted = max(0, min(wanted, room))
    tat_ms += granted * interval_ms
    return Taken(granted=granted, tat_ms=tat_ms, next_ms=max(tat_ms - tolerance_ms, now_ms))
