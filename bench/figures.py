"""How is what a bench found held against what it should be, shown, and kept?

Each bench makes a list of figures. One that has a bound is reached or not; one without is there to be read. What counts
are ratios of two things measured in the same run: absolute figures are of the machine.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was found.

    Attributes:
        least: it should be no smaller.
        most: it should be no larger.
        note: what one must know to read it; also why it has no bound here.
    """

    bench: str
    what: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether it is as it should be; None where nothing is said of that."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def bound(self) -> str:
        """What it should be, in words."""
        parts = [f"≥ {number(self.least)}"] if self.least is not None else []
        parts += [f"≤ {number(self.most)}"] if self.most is not None else []
        return ", ".join(parts)


def number(value: float | None) -> str:
    """A number as one reads it."""
    if value is None or math.isnan(value):
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", " ")
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.3g}"


def rows_of(figures: Sequence[Figure]) -> list[tuple[str, str, str, str, str]]:
    """All of them, in words."""
    verdicts = {True: "reached", False: "NOT REACHED", None: ""}
    return [
        (each.bench, each.what, f"{number(each.value)} {each.unit}".strip(), each.bound, verdicts[each.reached])
        for each in figures
    ]


def markdown(figures: Sequence[Figure]) -> str:
    """All of them, as docs/performance.md has them."""
    rows = (" | ".join(row).replace("|   ", "| &nbsp;&nbsp;") for row in rows_of(figures))
    return "\n".join(["| bench | what | value | wanted | |", "|---|---|---:|---|---|", *(f"| {row} |" for row in rows)])


def table(figures: Sequence[Figure]) -> str:
    """All of them, one a line."""
    rows = [("bench", "what", "value", "wanted", ""), *rows_of(figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """All of them, to be kept."""
    return [{**asdict(each), "reached": each.reached} for each in figures]


def from_json(rows: Sequence[dict[str, Any]]) -> list[Figure]:
    """What :func:`as_json` made."""
    return [Figure(**{name: value for name, value in row.items() if name != "reached"}) for row in rows]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options that every bench has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return made


def conclude(figures: Sequence[Figure], file: Path | None) -> int:
    """Show figures, keep them where asked to; the exit status: 1 where one is not as it should be."""
    print(table(figures), flush=True)
    if file is not None:
        file.write_text(json.dumps(as_json(figures), indent=1) + "\n", encoding="utf-8")
    return int(any(each.reached is False for each in figures))


def run(main: Callable[[], Coroutine[Any, Any, list[Figure]]], file: Path | None) -> int:
    """Run a bench on the event loop that the workers use, and conclude."""
    return conclude(uvloop.run(main()), file)


def run_for(
    measure: Callable[..., Coroutine[Any, Any, list[Figure]]], doc: str | None, *, seconds: float, rate: float
) -> int:
    """Run a bench that takes so many seconds at so many events a second, which options may change, and conclude."""
    options = parser(doc)
    options.add_argument("--seconds", type=float, default=seconds)
    options.add_argument("--rate", type=float, default=rate)
    chosen = options.parse_args()
    return run(lambda: measure(seconds=chosen.seconds, rate=chosen.rate), chosen.json)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
