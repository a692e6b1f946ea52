"""What happened in a run, and when?  Every question to Redis, every request, every fault: the oracle's evidence.

Two runs of one seed have the same journal, byte for byte; its digest tells.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import structlog

from relay import logs

if TYPE_CHECKING:
    from tests.simulation.clock import VirtualLoop


@dataclass(frozen=True, slots=True)
class ScriptRun:
    """A script that Redis has run for a process, whether the process heard of it or not."""

    at_s: float
    process: str
    name: str
    keys: tuple[Any, ...]
    args: tuple[Any, ...]
    reply: Any


AUDITED = frozenset({"claim_lanes", "take", "settle", "keep_lanes", "poll_claim", "commit", "poll_note"})
"""Scripts whose runs the oracle looks at."""


class Journal:
    """Notes lines, and what the oracle needs of scripts."""

    def __init__(self, loop: VirtualLoop, *, out: TextIO | None = None) -> None:
        """Begin.

        Args:
            loop: its clock.
            out: shows each line, and the relay's log between them.
        """
        self._loop = loop
        self._out = out
        self._digest = sha256()
        self.scripts: list[ScriptRun] = []
        if out is not None:
            _show_log(self)

    def note(self, what: str) -> None:
        """Write a line."""
        line = f"{self._loop.time():.6f} {what}\n"
        self._digest.update(line.encode())
        if self._out is not None:
            self._out.write(line)

    def audit(self, process: str, name: str, keys: tuple[Any, ...], args: tuple[Any, ...], reply: Any) -> None:
        """Keep what the oracle needs of a script."""
        self.scripts.append(ScriptRun(self._loop.time(), process, name, keys, args, reply))

    def aside(self, what: str) -> None:
        """Show a line that is no part of the journal."""
        if self._out is not None:
            self._out.write(f"{self._loop.time():.6f} {what}\n")

    @property
    def digest(self) -> str:
        """Of all lines so far."""
        return self._digest.hexdigest()[:12]


class _Lines:
    """A structlog logger that shows lines among the journal's, in virtual time."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __call__(self, *_: Any) -> _Lines:
        return self

    def msg(self, line: str) -> None:
        fields = orjson.loads(line)
        fields.pop("timestamp", None)
        self._journal.aside(f"log {orjson.dumps(fields).decode()}")

    debug = info = warning = error = msg


def _show_log(journal: Journal) -> None:
    if not logs.configured():
        logs.configure("json", stream=sys.stderr)
    structlog.configure(logger_factory=_Lines(journal))
