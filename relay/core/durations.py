"""How is a length of time written? As a number and ``ms``, ``s``, ``m``, ``h`` or ``d``: ``250ms``, ``2s``, ``7d``."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Final

UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""Each unit in milliseconds."""

LONGEST: Final = timedelta(days=3650)
"""The longest duration that can be written."""

_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)", re.ASCII)


def parse_duration(text: str, *, at_least: timedelta = timedelta(0), at_most: timedelta = LONGEST) -> timedelta:
    """Read a duration.

    Args:
        text: such as ``"250ms"``, ``"2s"``, ``"1.5h"``; one number, one unit, no sign; space around it is ignored.
        at_least: the shortest that is accepted.
        at_most: the longest that is accepted.

    Returns:
        The duration, exact to the millisecond.

    Raises:
        ValueError: the text is no such duration or out of bounds. The message says what is expected and does not
            repeat the text.
    """
    found = _DURATION.fullmatch(text.strip(" "))
    if found is None:
        raise ValueError("is not a duration: write a number and one of ms, s, m, h, d, such as 250ms, 2s, 5m, 1h or 7d")
    milliseconds = Decimal(found[1]) * UNITS_MS[found[2]]
    if milliseconds != int(milliseconds):
        raise ValueError("is finer than a millisecond: write whole milliseconds")
    if milliseconds > LONGEST / timedelta(milliseconds=1):
        raise ValueError(f"is too long: at most {format_duration(min(at_most, LONGEST))}")
    duration = timedelta(milliseconds=int(milliseconds))
    if duration < at_least:
        raise ValueError(f"is too short: at least {format_duration(at_least)}")
    if duration > at_most:
        raise ValueError(f"is too long: at most {format_duration(at_most)}")
    return duration


def format_duration(duration: timedelta) -> str:
    """Write a duration in the largest unit that keeps it whole.

    Args:
        duration: not negative, a whole number of milliseconds.

    Returns:
        Text that ``parse_duration`` reads back to the same duration, such as ``"90s"`` or ``"2h"``.

    Raises:
        ValueError: the duration is negative or finer than a millisecond.
    """
    milliseconds, rest = divmod(duration, timedelta(milliseconds=1))
    if milliseconds < 0 or rest:
        raise ValueError("only whole, non-negative milliseconds can be written")
    if not milliseconds:
        return "0s"
    unit = next(unit for unit in ("d", "h", "m", "s", "ms") if milliseconds % UNITS_MS[unit] == 0)
    return f"{milliseconds // UNITS_MS[unit]}{unit}"
