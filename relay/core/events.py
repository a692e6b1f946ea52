"""What an event is once it is committed, and the webhook body it becomes."""

import msgspec
import orjson

from relay.core.drafts import Draft, Origin, draft, event_id
from relay.core.event_types import EVENT_TYPES, OPERATIONAL, EventType
from relay.core.operational import (
    brand_failing,
    brand_recovered,
    brand_subject,
    delivery_dead,
    rfc3339,
    subscription_disabled,
    subscription_enabled,
    subscription_subject,
    test_sent,
)
from relay.core.packing import pack_static, unpack_static
from relay.core.shaping import PLAIN, Shape, apply_shape

__all__ = [
    "EVENT_TYPES",
    "OPERATIONAL",
    "Draft",
    "EventType",
    "Origin",
    "StoredEvent",
    "brand_failing",
    "brand_recovered",
    "brand_subject",
    "committed",
    "delivery_dead",
    "draft",
    "event_id",
    "pack_static",
    "render",
    "rfc3339",
    "subscription_disabled",
    "subscription_enabled",
    "subscription_subject",
    "test_sent",
    "unpack_static",
]


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of the log.

    Attributes:
        position: its place in the log.
        id: as in ``Draft``, like the fields not named here.
        sequence: strictly increasing for one subject in one venue; given by the commit.
        previous_sequence: that of the event before of the same subject, None for the first.
        timestamp_ms: when it was committed; Unix, milliseconds.
    """

    position: int
    id: str
    type: str
    brand: str | None
    venue_id: int | None
    subject: str
    origin: str
    sequence: int
    previous_sequence: int | None
    timestamp_ms: int
    data: bytes
    raw: bytes | None = None

    def __repr__(self) -> str:
        return f"StoredEvent({self.position}, {self.id}, {self.type}, {self.brand}, {self.venue_id}, {self.subject})"


def committed(
    event: Draft, *, position: int, sequence: int, previous_sequence: int | None, timestamp_ms: int
) -> StoredEvent:
    """Put together what was packed and what the commit gave."""
    return StoredEvent(
        position,
        event.id,
        event.type,
        event.brand,
        event.venue_id,
        event.subject,
        event.origin,
        sequence,
        previous_sequence,
        timestamp_ms,
        event.data,
        event.raw,
    )


def render(event: StoredEvent, shape: Shape = PLAIN) -> bytes:
    """Write the body of the webhook request, the same bytes for the same event and shape."""
    head = orjson.dumps(
        {
            "id": event.id,
            "type": event.type,
            "timestamp": rfc3339(event.timestamp_ms),
            "brand": event.brand,
            "venue_id": event.venue_id,
            "subject": event.subject,
            "sequence": event.sequence,
            "previous_sequence": event.previous_sequence,
            "origin": event.origin,
        }
    )
    data = event.data if shape == PLAIN else apply_shape(event.data, event.raw, shape)
    return b'%b,"data":%b}' % (head[:-1], data)
