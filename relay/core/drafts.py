"""What an event is before it is committed, and where its id comes from.

The same change seen again has the same id: it is a hash of the change and of the id of the event before it of the same
subject, whatever the key order in which the change was put together. So a repeat is no second event, and each flip of a
status back and forth is one.
"""

from base64 import b32hexencode
from enum import StrEnum
from hashlib import blake2b
from typing import Final

import msgspec

from relay.core.changes import Change
from relay.core.normalize import canonical_json, repair_json

ID_PREFIX: Final = "evt_"

_ID_BYTES: Final = 20  # 160 bits: 32 characters
_PERSON: Final = b"relay-event-1"


class Origin(StrEnum):
    """How a change came to be seen. The relay's own events say ``command``, and ``test`` where one was asked for."""

    POLL = "poll"
    RECONCILE = "reconcile"
    COMMAND = "command"
    BACKFILL = "backfill"
    TEST = "test"


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event without what the commit gives it: position, sequences and time.

    Attributes:
        id: ``evt_`` and 32 characters.
        type: one of ``EVENT_TYPES``.
        brand: None for an operational event that concerns no brand.
        venue_id: likewise.
        subject: ``order/1``, ``station/2``, ``venue/3``, ``subscription/sub_…``, ``brand/…``.
        origin: one of ``Origin``.
        data: the event's data as compact JSON, keys in the contract's order; personal, so not shown.
        raw: the row it came from as Clopos sent it, half surrogates repaired, where there is one; not shown.
    """

    id: str
    type: str
    brand: str | None
    venue_id: int | None
    subject: str
    origin: str
    data: bytes
    raw: bytes | None = None

    def __repr__(self) -> str:
        return f"Draft({self.id}, {self.type}, {self.brand}, {self.venue_id}, {self.subject}, {self.origin})"


def draft(
    change: Change,
    *,
    brand: str | None,
    venue_id: int | None,
    subject: str,
    origin: str,
    previous_id: str | None,
    raw: bytes | None = None,
) -> Draft:
    """Make an event of a change.

    Args:
        change: what happened.
        brand: whose it is.
        venue_id: where.
        subject: what it happened to.
        origin: how it was seen; not part of the id.
        previous_id: the id of the event before it of the same subject, None for the first.
        raw: the row it was read from, one JSON object, for subscriptions that ask for it.
    """
    return Draft(
        id=event_id(change, brand=brand, venue_id=venue_id, subject=subject, previous_id=previous_id),
        type=change.type,
        brand=brand,
        venue_id=venue_id,
        subject=subject,
        origin=origin,
        data=canonical_json(change.data),
        raw=None if raw is None else repair_json(raw),
    )


def event_id(change: Change, *, brand: str | None, venue_id: int | None, subject: str, previous_id: str | None) -> str:
    """Hash a change to the id of its event; a JSON list of the parts, keys sorted, cannot be read in two ways."""
    parts = [brand, venue_id, subject, change.type, change.data, previous_id]
    digest = blake2b(canonical_json(parts, sort_keys=True), digest_size=_ID_BYTES, person=_PERSON).digest()
    return ID_PREFIX + b32hexencode(digest).decode().lower()
