"""Did anybody write who was not the owner any more, and did a watermark lead?  Judged from the scripts that Redis ran.

Every claim gives a lane, or a brand, a higher number: what a script does for a lower one afterwards must be nothing. A
watermark says that all that was touched before it is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tests.simulation.journal import ScriptRun

REFUSED_BY_SETTLE = 0
LOST_BY_KEEP = -1


def late_writes(scripts: Sequence[ScriptRun]) -> Iterator[str]:
    """One sentence for each script that wrote for somebody who had lost what it wrote to."""
    highest: dict[bytes, int] = {}
    for run in scripts:
        match run.name:
            case "claim_lanes":
                highest.update({name: number for name, number, *_ in run.reply[2]})
            case "poll_claim":
                highest.update({b"brand/" + name: number for name, number, *_ in run.reply[2]})
            case name:
                for what, number in _WRITES[name](run):
                    if number < highest.get(what, 0):
                        yield f"{run.process}: {name} wrote to {what.decode()} as number {number} of {highest[what]}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A watermark as it was written down.

    Attributes:
        at_s: when.
        venue_id: None for all venues.
        mark: ``updated_at``.
    """

    at_s: float
    venue_id: int | None
    mark: datetime


def marks(scripts: Sequence[ScriptRun]) -> list[Mark]:
    """Every watermark of orders that was written down."""
    found: list[Mark] = []
    for run in scripts:
        if run.name != "poll_note" or run.reply[0] < 0:
            continue
        for at in range(5, 5 + 2 * int(run.args[4]), 2):
            name, value = str(run.args[at]), run.args[at + 1]
            if name == "b":
                state = msgspec.json.decode(value).get("whole_orders", {})
            elif name.startswith("v:"):
                state = msgspec.json.decode(value).get("orders", {})
            else:
                continue
            if state.get("mark"):
                venue_id = None if name == "b" else int(name[2:])
                found.append(Mark(run.at_s, venue_id, datetime.fromisoformat(state["mark"])))
    return found


def _take(run: ScriptRun) -> Iterator[tuple[bytes, int]]:
    for (name, number, *_), packed in zip(msgspec.msgpack.decode(run.args[1]), run.reply[3], strict=True):
        if msgspec.msgpack.decode(packed)[0] == "ok":
            yield name.encode(), number


def _settle(run: ScriptRun) -> Iterator[tuple[bytes, int]]:
    for (name, number, *_), answers in zip(msgspec.msgpack.decode(run.args[1]), run.reply, strict=True):
        if any(answer != REFUSED_BY_SETTLE for answer in answers):
            yield name.encode(), number


def _keep(run: ScriptRun) -> Iterator[tuple[bytes, int]]:
    for (name, number, _), answer in zip(msgspec.msgpack.decode(run.args[3]), run.reply[1], strict=True):
        if answer != LOST_BY_KEEP:
            yield name.encode(), number


def _commit(run: ScriptRun) -> Iterator[tuple[bytes, int]]:
    if run.args[0] and run.reply[0] == b"":
        yield b"brand/" + str(run.keys[6]).rpartition(":")[2].encode(), int(run.args[0])


def _note(run: ScriptRun) -> Iterator[tuple[bytes, int]]:
    if run.reply[0] >= 0:
        yield b"brand/" + str(run.args[2]).encode(), int(run.args[0])


_WRITES: dict[str, Callable[[ScriptRun], Iterator[tuple[bytes, int]]]] = {
    "take": _take,
    "settle": _settle,
    "keep_lanes": _keep,
    "commit": _commit,
    "poll_note": _note,
}
