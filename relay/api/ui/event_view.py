"""What does an event say, in words?  Pure: an event of the log in, a heading and what became of its subject out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from relay.api.ui.formats import epoch_ms
from relay.api.ui.statuses import Badge, Level, badge

ORIGINS: Final = {
    "poll": "seen at a look",
    "reconcile": "found by the full compare",
    "command": "caused through the API",
    "backfill": "from before the first look",
    "test": "a test",
}

_HAPPENED: Final = {
    "created": "placed",
    "updated": "changed",
    "removed": "removed",
    "status_changed": "changed status",
}
_OPERATIONAL: Final = {
    "relay.test": ("Test", Level.IDLE),
    "relay.delivery_dead": ("Delivery given up", Level.BAD),
    "relay.subscription_disabled": ("Subscription disabled", Level.BAD),
    "relay.subscription_enabled": ("Subscription enabled", Level.OK),
    "relay.brand_failing": ("Brand failing", Level.BAD),
    "relay.brand_recovered": ("Brand works again", Level.OK),
}


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event in a list.

    Attributes:
        what: "Order 17 accepted".
        badge: the state that its subject is in after it.
        before: the state before, where that is another.
    """

    id: str
    type: str
    what: str
    badge: Badge | None
    before: str | None
    brand: str | None
    venue_id: int | None
    subject: str
    at_ms: int
    origin: str
    sequence: int


def event_row(event: Mapping[str, Any]) -> EventRow:
    """Show an event in a line."""
    group, _, happened = event["type"].partition(".")
    data = event["data"]
    thing = data.get(group) if group != "relay" else None
    state, before = None, None
    if isinstance(thing, Mapping) and isinstance(thing.get("status"), str):
        removed = happened == "removed"
        state = Badge(Level.IDLE, "removed") if removed else badge("order", thing["status"])
        previous = data.get("previous_status")
        before = previous if previous not in (None, thing["status"]) else None
    elif group == "relay":
        text, level = _OPERATIONAL.get(event["type"], (event["type"], Level.IDLE))
        state = Badge(level, text)
    timestamp = epoch_ms(event["timestamp"])
    return EventRow(
        id=event["id"],
        type=event["type"],
        what=_what(event, group, happened),
        badge=state,
        before=before,
        brand=event["brand"],
        venue_id=event["venue_id"],
        subject=event["subject"],
        at_ms=0 if timestamp is None else timestamp,
        origin=_origin(event["origin"], group),
        sequence=event["sequence"],
    )


def _origin(origin: str, group: str) -> str:
    if group == "relay" and origin != "test":
        return "said by the relay itself"
    return ORIGINS.get(origin, origin)


def _what(event: Mapping[str, Any], group: str, happened: str) -> str:
    if group == "relay":
        return str(_OPERATIONAL.get(event["type"], (event["type"],))[0])
    kind, _, thing_id = event["subject"].partition("/")
    thing = event["data"].get(group)
    name = thing.get("name") if isinstance(thing, Mapping) else None
    called = f"{kind.capitalize()} {thing_id}" + (f" ({name})" if name else "")
    if happened == "status_changed" and isinstance(thing, Mapping):
        return f"{called} {str(thing.get('status', 'changed status')).replace('_', ' ')}"
    added = {"order": "placed"}.get(group, "added")
    return f"{called} {added if happened == 'created' else _HAPPENED.get(happened, happened)}"
