"""What do the small charts look like?  Pure: figures in, the geometry of an SVG out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 240
HEIGHT: Final = 56
"""Units of a chart's own coordinates; the page scales it."""

_GAP: Final = 2.0
_LEAST: Final = 1.5
"""Height of a bar that stands for something, however little."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle, of a kind that the style sheet colours."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, and what it says in words for whoever does not see it."""

    width: int
    height: int
    bars: tuple[Bar, ...]
    label: str
    highest: int


def stacked(columns: Sequence[tuple[int, int]], *, label: str) -> Chart:
    """Draw columns of what went well, and on top of it what failed.

    Args:
        columns: (well, failed) each, oldest first.
        label: the chart in a sentence.
    """
    highest = max((well + failed for well, failed in columns), default=0)
    step = WIDTH / max(len(columns), 1)
    bars = []
    for index, (well, failed) in enumerate(columns):
        x, width = index * step + _GAP / 2, step - _GAP
        base = float(HEIGHT)
        for amount, kind in ((well, "ok"), (failed, "bad")):
            height = _height(amount, highest)
            if height:
                base -= height
                bars.append(Bar(round(x, 2), round(max(base, 0.0), 2), round(width, 2), round(height, 2), kind))
        if not well + failed:
            bars.append(Bar(round(x, 2), HEIGHT - 1.0, round(width, 2), 1.0, "none"))
    return Chart(WIDTH, HEIGHT, tuple(bars), label, highest)


def _height(amount: int, highest: int) -> float:
    return max(_LEAST, amount / highest * (HEIGHT - 2 * _LEAST)) if amount else 0.0


def portion(value: float, limit: float) -> float:
    """How full a bar of width 100 is; at least a trace where there is something."""
    if value <= 0:
        return 0.0
    return round(min(100.0, max(1.5, value / limit * 100)), 2)
