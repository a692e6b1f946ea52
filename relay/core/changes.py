"""What happened between two looks at the same thing, as the contract's event types."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Feed(StrEnum):
    """One kind of thing that Clopos is asked for."""

    ORDERS = "orders"
    STATIONS = "stations"
    VENUES = "venues"

    @property
    def noun(self) -> str:
        """What one of it is called: in subjects, in event types, and as the key in an event's data."""
        return _NOUNS[self]

    @property
    def has_status(self) -> bool:
        """Whether its things have a status, whose change is an event type of its own."""
        return self is not Feed.VENUES

    def subject(self, thing_id: int) -> str:
        """Name one of its things, for example ``order/1``; unique with brand and venue."""
        return f"{_NOUNS[self]}/{thing_id}"


_NOUNS: Final[Mapping[str, str]] = {Feed.ORDERS: "order", Feed.STATIONS: "station", Feed.VENUES: "venue"}

_NOT_A_CHANGE: Final = frozenset({"updated_at"})
"""Fields that say when something was touched, not what became of it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one thing.

    Attributes:
        type: an event type, for example ``order.status_changed``.
        data: the event's data: the thing, ``previous_status`` where it has statuses, and ``changes``.
    """

    type: str
    data: dict[str, Any]


def compare(
    feed: Feed,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    removed: bool = False,
    unknown_before: bool = False,
) -> Change | None:
    """Tell what happened to one thing between two looks at it.

    Args:
        feed: what kind of thing it is.
        before: it as last known, normalized; None if it was not known.
        after: it as it is now, normalized; None if it was not looked at or is gone.
        removed: it is known to be gone, by its ``deleted_at`` or by a 404. A missing row alone is no proof.
        unknown_before: with ``before`` None: it is older than memory (it existed at the first look, and nothing was
            kept of it), so it is not ``created`` but ``updated``, with ``previous_status`` null and ``changes`` empty.

    Returns:
        The change, or None when nothing happened that is an event: content equal, only ``updated_at`` moved, or a thing
        removed that was never known.

        ``previous_status`` is the status before, also where it stayed the same or the thing was removed, and None where
        there was none. ``changes`` holds every top-level field that differs, but ``updated_at``, as ``[old, new]``.
    """
    if removed:
        return None if before is None else _change(feed, "removed", before, before=before, changes={})
    if after is None:
        return None
    if before is None:
        return _change(feed, "updated" if unknown_before else "created", after, before=None, changes={})
    changes = differences(before, after)
    if not changes:
        return None
    verb = "status_changed" if feed.has_status and "status" in changes else "updated"
    return _change(feed, verb, after, before=before, changes=changes)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Give every top-level field that differs, but ``updated_at``, as ``[old, new]``, in the order of ``after``.

    A field that only one of the two has differs if it is not null in the one that has it.
    """
    changes = {
        key: [before.get(key), value]
        for key, value in after.items()
        if before.get(key) != value and key not in _NOT_A_CHANGE
    }
    for key, value in before.items():
        if value is not None and key not in after and key not in _NOT_A_CHANGE:
            changes[key] = [value, None]
    return changes


def _change(
    feed: Feed,
    verb: str,
    thing: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None,
    changes: dict[str, list[Any]],
) -> Change:
    data: dict[str, Any] = {feed.noun: dict(thing)}
    if feed.has_status:
        data["previous_status"] = None if before is None else before.get("status")
    data["changes"] = changes
    return Change(f"{feed.noun}.{verb}", data)
