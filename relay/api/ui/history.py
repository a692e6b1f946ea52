"""What happened to the subject of an event, before and after?  Found by the chain of sequences, not by a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from relay.api.ui.event_view import EventRow, event_row
from relay.api.ui.visits import Visit
from relay.core.operational import rfc3339

MOST_BEFORE: Final = 20
MOST_AFTER: Final = 20
APART_MS: Final = 1000
"""A sequence is the time of its commit in milliseconds, or little more."""


@dataclass(frozen=True, slots=True)
class History:
    """Events of one subject, oldest first.

    Attributes:
        earlier: there are more before, or were.
    """

    rows: tuple[EventRow, ...]
    earlier: bool


async def history(visit: Visit, event: Mapping[str, Any]) -> History:
    """The events of a subject around one of them.

    Each names the sequence of the one before, and a sequence is a time: so each step back looks at two seconds of the
    log. Those after are among the next of the log.
    """
    found = [dict(event)]
    while len(found) <= MOST_BEFORE and found[0]["previous_sequence"] is not None:
        before = await _one_at(visit, event, found[0]["previous_sequence"])
        if before is None:
            break
        found.insert(0, before)
    earlier = found[0]["previous_sequence"] is not None
    after = await visit.ask(
        "list_events",
        query={**_subject(event), "since": event["timestamp"], "order": "asc", "limit": MOST_AFTER},
    )
    found += [each for each in after["data"] if each["sequence"] > event["sequence"]]
    return History(tuple(event_row(each) for each in found), earlier)


async def _one_at(visit: Visit, event: Mapping[str, Any], sequence: int) -> dict[str, Any] | None:
    answer = await visit.ask(
        "list_events",
        query={
            **_subject(event),
            "since": rfc3339(sequence - APART_MS),
            "until": rfc3339(sequence + APART_MS),
            "limit": 200,
        },
    )
    return next((each for each in answer["data"] if each["sequence"] == sequence), None)


def _subject(event: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: event[name] for name in ("brand", "venue_id") if event[name] is not None}
    return {**named, "subject": event["subject"]}
