"""What is recorded of one delivery, and in what form?

A record is ``state|attempts|made|replay|facts`` and then a line of JSON an attempt. A delivery without a record is
pending and was never tried. ``made`` is the stamp at which the delivery was made where that is not its event's
position; ``replay`` the id of the replay that opened it again, or ``BY_HAND``, with ``@`` and when (ms); ``facts`` what
is kept of an event that is trimmed.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from relay.core.errors import CorruptStateError

EXCERPT_CHARS = 1024
RECORD_FIELDS = 5

BY_HAND = "-"
"""Stands in place of a replay's id where one delivery was opened again by itself."""


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    EXPIRED = "expired"
    DISCARDED = "discarded"

    @property
    def letter(self) -> str:
        """How a record spells it."""
        return _LETTERS[self]


_LETTERS = {
    State.PENDING: "p",
    State.DELIVERED: "d",
    State.DEAD: "x",
    State.EXPIRED: "e",
    State.DISCARDED: "c",
}
_STATES = {letter: state for state, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class Record:
    """One delivery's state.

    Attributes:
        attempts: how many were made in all.
        made: stamp, 0 for the event's own position.
        replay: id, "" for none.
        by_hand: it was opened again by itself, after whatever replay there was.
        facts: JSON object, b"" for none.
        lines: JSON, one an attempt, oldest first.
    """

    state: State
    attempts: int
    made: int = 0
    replay: str = ""
    facts: bytes = b""
    lines: tuple[bytes, ...] = ()
    by_hand: bool = False

    @property
    def opened(self) -> bool:
        """Whether it was asked for again: it is sent whatever its age, and its latency tells nothing."""
        return self.by_hand or self.replay != ""

    def history(self) -> list[dict[str, Any]]:
        """Every attempt: ``{at, number, status_code, error, duration_ms, response_excerpt}``."""
        return [orjson.loads(line) for line in self.lines]


FRESH = Record(State.PENDING, 0)
"""Pending, never tried."""


def parse_record(text: bytes | None) -> Record:
    """Read a record; None is one that was never tried.

    Raises:
        CorruptStateError: it is no record.
    """
    if not text:
        return FRESH
    head, *lines = text.split(b"\n")
    parts = head.split(b"|", RECORD_FIELDS - 1)
    if len(parts) != RECORD_FIELDS:
        raise CorruptStateError("a delivery's record cannot be read")
    state, attempts, made, replay, facts = parts
    try:
        opened_by = replay.decode().partition("@")[0]
        by_hand = opened_by == BY_HAND
        return Record(
            _STATES[state.decode()],
            int(attempts),
            int(made or 0),
            "" if by_hand else opened_by,
            facts,
            tuple(lines),
            by_hand,
        )
    except (KeyError, ValueError):
        raise CorruptStateError("a delivery's record cannot be read") from None


def attempt_line(
    *, at: str, number: int, status_code: int | None, error: str | None, duration_ms: int, response_excerpt: str | None
) -> bytes:
    """One attempt as its record keeps it.

    Args:
        at: when it began, RFC 3339.
        error: one sentence, None after a success.
        response_excerpt: the beginning of the partner's answer, as text.
    """
    return orjson.dumps(
        {
            "at": at,
            "number": number,
            "status_code": status_code,
            "error": error,
            "duration_ms": duration_ms,
            "response_excerpt": None if response_excerpt is None else response_excerpt[:EXCERPT_CHARS],
        }
    )
