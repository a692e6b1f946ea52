"""How are figures and times written for people?  Pure: now is an argument."""

import re
from datetime import UTC, datetime
from typing import Final

NEVER: Final = "never"
NOTHING: Final = "\u2013"
"""Stands where there is no figure."""

_SPACE: Final = "\u202f"
"""A narrow space that does not break: between thousands, and before a unit."""

_MANY: Final = 10_000
_CLASSED: Final = re.compile(r"[a-z_]{2,20}: (.+)", re.DOTALL)
_LONG_S: Final = (
    (86_400, "d", 3_600, "h"),
    (3_600, "h", 60, "min"),
)
"""From two days on in days and hours, from two hours on in hours and minutes."""


def count(number: int) -> str:
    """Write a whole number: 12 345."""
    return f"{number:,}".replace(",", _SPACE) if abs(number) >= _MANY else str(number)


def plural(number: int, one: str, many: str) -> str:
    """Write a number with its noun: "1 delivery", "2 deliveries"."""
    return f"{count(number)} {one if number == 1 else many}"


def share(rate: float | None) -> str:
    """Write a share between 0 and 1: 100 %, 99.8 %; never 100 % for less."""
    if rate is None:
        return NOTHING
    if rate >= 1:
        return f"100{_SPACE}%"
    percent = min(rate * 100, 99.9) if rate > 0.99 else rate * 100  # noqa: PLR2004
    return f"{percent:.1f}".removesuffix(".0") + f"{_SPACE}%"


def span(seconds: float) -> str:
    """Write a duration: 40 ms, 12 s, 3 min, 2 h 5 min, 3 d 4 h."""
    if round(seconds * 1000) < 1000:  # noqa: PLR2004
        return f"{round(seconds * 1000)}{_SPACE}ms"
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.1f}".removesuffix(".0") + f"{_SPACE}s"
    whole = round(seconds)
    if whole < 120:  # noqa: PLR2004
        return f"{whole}{_SPACE}s"
    for size, unit, rest_size, rest_unit in _LONG_S:
        if whole >= 2 * size:
            large, rest = divmod(whole, size)
            small = rest // rest_size
            return f"{large}{_SPACE}{unit}" + (f" {small}{_SPACE}{rest_unit}" if small else "")
    return f"{whole // 60}{_SPACE}min"


def age(seconds: float | None) -> str:
    """Write how old something is: under 1 s, 4 s, 3 min."""
    if seconds is None:
        return NOTHING
    return f"under 1{_SPACE}s" if seconds < 1 else span(int(seconds))


def ago(at_ms: int | None, now_ms: int) -> str:
    """Write how long ago something was, or in how long it will be."""
    if at_ms is None:
        return NEVER
    seconds = (now_ms - at_ms) / 1000
    if -1 < seconds < 1:
        return "just now"
    text = span(int(abs(seconds)))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def lasting(since_ms: int, now_ms: int) -> str:
    """Write for how long something has been so."""
    return age(max(0.0, (now_ms - since_ms) / 1000))


def in_words(error: str) -> str:
    """Write what an attempt ended with, without the class before it: that one is for programs."""
    found = _CLASSED.fullmatch(error)
    return error if found is None else found[1]


def epoch_ms(rfc3339: str | None) -> int | None:
    """Read a time of the API's; None for none."""
    return None if rfc3339 is None else round(datetime.fromisoformat(rfc3339).timestamp() * 1000)


def full(at_ms: int) -> str:
    """Write a time whole: 2 Feb 2026, 13:46:05 UTC."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at.day} {at:%b %Y, %H:%M:%S} UTC"


def clock(at_ms: int, now_ms: int) -> str:
    """Write a time as short as it is clear: 13:46:05 today, else 2 Feb 13:46."""
    at, now = datetime.fromtimestamp(at_ms // 1000, UTC), datetime.fromtimestamp(now_ms // 1000, UTC)
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at.day} {at:%b %H:%M}"
