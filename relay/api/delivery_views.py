"""How is a delivery shown?  With its event's facts, and, by itself, with every attempt."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from relay.api.operations import Page, Rfc3339
from relay.api.services import Services
from relay.api.validation import Answer
from relay.core.deliveries import State
from relay.core.events import StoredEvent
from relay.core.operational import rfc3339
from relay.store.lane_walk import Delivery
from relay.store.positions import time_ms


class AttemptAnswer(Answer):
    """One request to the partner."""

    at: Rfc3339
    """When it began."""
    number: int
    """1 for the first; goes on after a retry or a replay."""
    status_code: int | None
    """Of the answer; null when none came."""
    error: str | None
    """One word and a sentence; null after a 2xx."""
    duration_ms: int
    """From the start to the last byte read."""
    response_excerpt: str | None
    """The beginning of the answer's body."""


class DeliveryRow(Answer):
    """The delivery of one event to one subscription."""

    id: str
    """``dlv_…``."""
    subscription: str
    """To whom."""
    event: str | None
    """Id of the event; null where it is retained no more and was never needed."""
    type: str | None
    """Of the event."""
    brand: str | None
    """Of the event."""
    venue_id: int | None
    """Of the event."""
    subject: str | None
    """Of the event."""
    status: str = Field(json_schema_extra={"enum": [state.value for state in State]})
    """``pending`` until delivered, dead, expired or discarded."""
    created_at: Rfc3339
    """When it was made."""
    attempt_count: int
    """Requests made so far."""
    last_status_code: int | None
    """Of the last one."""
    last_error: str | None
    """Of the last one."""
    replay: str | None
    """Id of the replay that made it, or opened it again."""


class DeliveryAnswer(DeliveryRow):
    """One delivery with its attempts."""

    attempts: list[AttemptAnswer]
    """Every attempt, the first first."""


class DeliveryPage(Page[DeliveryRow]):
    """Some deliveries, newest first."""


async def rows(services: Services, deliveries: Sequence[Delivery]) -> list[DeliveryRow]:
    """Show deliveries, in their order."""
    events = await _events(services, deliveries)
    return [DeliveryRow(**_shown(each, events.get(each.position))) for each in deliveries]


async def one(services: Services, delivery: Delivery) -> DeliveryAnswer:
    """Show a delivery with its attempts."""
    events = await _events(services, [delivery])
    attempts = [AttemptAnswer(**line) for line in delivery.record.history()]
    return DeliveryAnswer(**_shown(delivery, events.get(delivery.position)), attempts=attempts)


async def _events(services: Services, deliveries: Sequence[Delivery]) -> dict[int, StoredEvent]:
    positions = sorted({each.position for each in deliveries})
    found = await services.log.at(positions)
    return {event.position: event for event in found if event is not None}


def _shown(delivery: Delivery, event: StoredEvent | None) -> dict[str, Any]:
    record = delivery.record
    last: Mapping[str, Any] = record.history()[-1] if record.lines else {}
    if event is None:
        kept = delivery.facts
        facts = {name: kept.get(name) for name in ("type", "venue_id", "subject")}
        facts |= {"event": kept.get("id"), "brand": kept.get("brand", delivery.brand)}
    else:
        facts = {
            "event": event.id,
            "type": event.type,
            "brand": event.brand,
            "venue_id": event.venue_id,
            "subject": event.subject,
        }
    return {
        "id": delivery.id,
        "subscription": delivery.subscription_id,
        **facts,
        "status": record.state.value,
        "created_at": rfc3339(time_ms(delivery.made)),
        "attempt_count": record.attempts,
        "last_status_code": last.get("status_code"),
        "last_error": last.get("error"),
        "replay": record.replay or None,
    }


EXAMPLE_ROW: Final[dict[str, Any]] = {
    "id": "dlv_k3m5q7r2t4u6v2x4z6b3_1bcd2e3f4g5",
    "subscription": "sub_k3m5q7r2t4u6v2x4z6b3",
    "event": "evt_0fkq3vq6m8t1c2d4e5g7h9i0j3k5l7n9",
    "type": "order.status_changed",
    "brand": "openapitest",
    "venue_id": 1,
    "subject": "order/1",
    "status": "delivered",
    "created_at": "2026-02-02T13:46:05.120Z",
    "attempt_count": 2,
    "last_status_code": 204,
    "last_error": None,
    "replay": None,
}
EXAMPLE: Final[dict[str, Any]] = {
    **EXAMPLE_ROW,
    "attempts": [
        {
            "at": "2026-02-02T13:46:05.140Z",
            "number": 1,
            "status_code": 503,
            "error": "status: answered 503",
            "duration_ms": 38,
            "response_excerpt": "come back later",
        },
        {
            "at": "2026-02-02T13:46:10.160Z",
            "number": 2,
            "status_code": 204,
            "error": None,
            "duration_ms": 41,
            "response_excerpt": "",
        },
    ],
}
