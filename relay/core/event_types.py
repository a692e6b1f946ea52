"""Which types of event there are: a title, a sentence, a JSON Schema and a whole example for each.

A new type is an entry here, and a model in ``schemas`` if its data has a new shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, create_model

from relay.core.schemas import (
    BrandData,
    DeliveryDeadData,
    Event,
    OrderData,
    StationData,
    SubscriptionData,
    TestData,
    VenueData,
)


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of event.

    Attributes:
        name: its ``type``.
        title: three words.
        description: a sentence for partners.
        model: the whole event, envelope and data.
        example: a whole event, as it is sent.
    """

    name: str
    title: str
    description: str
    model: type[Event]
    example: Mapping[str, Any]

    def schema(self, ref_template: str = "#/$defs/{model}") -> dict[str, Any]:
        """Give the JSON Schema (2020-12) of the whole event, with its example."""
        schema = self.model.model_json_schema(mode="serialization", ref_template=ref_template)
        return {**schema, "title": self.title, "description": self.description, "examples": [dict(self.example)]}


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.replace(".", "_").split("_")) + "Event"


_ORDER: Final = {
    "id": 1,
    "venue_id": 1,
    "status": "accepted",
    "source_status": "RECEIVED",
    "channel": {
        "type": "CALL_CENTER_ORDER",
        "integration": "call_center_new",
        "integration_id": None,
        "integration_uuid": None,
        "integration_status": "CREATED",
    },
    "customer": {"id": 1, "name": "A. Customer", "phone": "+994705401040", "address": "123 Main St", "ref": None},
    "items": [
        {
            "product_id": 51,
            "name": "Pizza",
            "quantity": "2",
            "unit_price": "8.5",
            "portion_size": "1",
            "note": None,
            "status": "new",
            "modifiers": [],
        }
    ],
    "delivery_fee": "2.5",
    "total": None,
    "discount": {"type": 1, "value": "10"},
    "service_charge": {"applied": True, "value": "5"},
    "currency": None,
    "sale_type_id": 2,
    "comment": "Leave at the door",
    "created_at": "2026-02-02T13:45:53.000000Z",
    "updated_at": "2026-02-02T17:46:02.000000Z",
}
_PENDING: Final = {**_ORDER, "status": "pending", "source_status": "PENDING"}
_STATION: Final = {
    "id": 2,
    "name": "Bar",
    "status": "active",
    "type": "other",
    "printable": True,
    "created_at": "2026-01-13T14:08:49.000000Z",
    "updated_at": "2026-01-13T14:08:49.000000Z",
}
_VENUE: Final = {"id": 1, "name": "Main", "is_main": True}
_SUBSCRIPTION: Final = "sub_k3m5q7r2t4u6v2x4z6b3"


_UPSTREAM: Final = (
    "Clopos has a fault of its own (5xx). It is tried again by itself. (Clopos: 503, “Service Unavailable”)"
)


def _type(
    name: str,
    title: str,
    description: str,
    model: type[BaseModel],
    data: dict[str, Any],
    *,
    subject: str | None = None,
    brand: str | None = "openapitest",
    origin: str | None = None,
    venue_id: int | None = None,
    follows: bool = False,
) -> EventType:
    thing = name.partition(".")[0]
    own = thing == "relay"
    event = create_model(
        _camel(name),
        __base__=Event,
        __doc__=description,
        type=(Literal[name], ...),  # type: ignore[arg-type]  # a literal that is known at run time only
        data=(model, ...),
    )
    example = {
        "id": "evt_0fkq3vq6m8t1c2d4e5g7h9i0j3k5l7n9",
        "type": name,
        "timestamp": "2026-02-02T13:46:05.120Z",
        "brand": brand,
        "venue_id": venue_id if own else 1,
        "subject": subject if subject is not None else f"{thing}/{data[thing]['id']}",
        "sequence": 1770039965120,
        "previous_sequence": 1770039953007 if follows else None,
        "origin": origin or ("command" if own else "poll"),
        "data": data,
    }
    return EventType(name, title, description, event, example)


_ALL: Final = (
    _type(
        "order.created",
        "Order placed",
        "An order was seen for the first time, and is newer than the relay's first look at the venue.",
        OrderData,
        {"order": _PENDING, "previous_status": None, "changes": {}},
    ),
    _type(
        "order.status_changed",
        "Order changed status",
        "The status of an order changed; its content may have changed too.",
        OrderData,
        {
            "order": _ORDER,
            "previous_status": "pending",
            "changes": {"status": ["pending", "accepted"], "source_status": ["PENDING", "RECEIVED"]},
        },
        follows=True,
    ),
    _type(
        "order.updated",
        "Order changed content",
        "The content of an order changed, its status did not. With previous_status null and no changes: an order older "
        "than the relay's memory was touched.",
        OrderData,
        {
            "order": {**_ORDER, "comment": "Ring twice"},
            "previous_status": "accepted",
            "changes": {"comment": ["Leave at the door", "Ring twice"]},
        },
        follows=True,
    ),
    _type(
        "order.removed",
        "Order removed",
        "An order was deleted; it is given as last known.",
        OrderData,
        {"order": _ORDER, "previous_status": "accepted", "changes": {}},
        follows=True,
    ),
    _type(
        "station.created",
        "Station added",
        "A station was seen for the first time.",
        StationData,
        {"station": _STATION, "previous_status": None, "changes": {}},
    ),
    _type(
        "station.status_changed",
        "Station switched",
        "A station became active or inactive; its other fields may have changed too.",
        StationData,
        {
            "station": {**_STATION, "status": "inactive"},
            "previous_status": "active",
            "changes": {"status": ["active", "inactive"]},
        },
        follows=True,
    ),
    _type(
        "station.updated",
        "Station changed",
        "A station changed, its status did not.",
        StationData,
        {
            "station": {**_STATION, "printable": False},
            "previous_status": "active",
            "changes": {"printable": [True, False]},
        },
        follows=True,
    ),
    _type(
        "station.removed",
        "Station removed",
        "A station is gone; it is given as last known.",
        StationData,
        {"station": _STATION, "previous_status": "active", "changes": {}},
        follows=True,
    ),
    _type(
        "venue.created",
        "Venue added",
        "The credential sees a venue that it did not see before.",
        VenueData,
        {"venue": _VENUE, "changes": {}},
    ),
    _type(
        "venue.updated",
        "Venue changed",
        "A venue changed.",
        VenueData,
        {"venue": _VENUE, "changes": {"name": ["Old Town", "Main"]}},
        follows=True,
    ),
    _type(
        "venue.removed",
        "Venue removed",
        "The credential no longer sees a venue; it is given as last known.",
        VenueData,
        {"venue": _VENUE, "changes": {}},
        follows=True,
    ),
    _type(
        "relay.test",
        "Test",
        "Sent on request, to see whether an endpoint answers and verifies.",
        TestData,
        {"message": "This is a test."},
        subject=f"subscription/{_SUBSCRIPTION}",
        brand=None,
        origin="test",
    ),
    _type(
        "relay.delivery_dead",
        "Delivery given up",
        "The retry schedule of a delivery is used up; it can be retried by hand.",
        DeliveryDeadData,
        {
            "subscription": _SUBSCRIPTION,
            "delivery": "dlv_k3m5q7r2t4u6v2x4z6b3_1078u6ggxi3",
            "event": "evt_0fkq3vq6m8t1c2d4e5g7h9i0j3k5l7n9",
            "type": "order.created",
            "subject": "order/1",
            "attempts": 10,
            "last_error": "status: answered 503",
        },
        subject=f"subscription/{_SUBSCRIPTION}",
        venue_id=1,
    ),
    _type(
        "relay.subscription_disabled",
        "Subscription disabled",
        "A subscription was disabled, by hand, by a 410, or after five days without a success; its events queue up.",
        SubscriptionData,
        {
            "subscription": _SUBSCRIPTION,
            "name": "courier",
            "reason": "the endpoint answered 410 Gone",
            "since": "2026-02-02T13:46:05.120Z",
        },
        subject=f"subscription/{_SUBSCRIPTION}",
        brand=None,
    ),
    _type(
        "relay.subscription_enabled",
        "Subscription enabled",
        "A disabled subscription was enabled; what waits for it is sent.",
        SubscriptionData,
        {
            "subscription": _SUBSCRIPTION,
            "name": "courier",
            "reason": "the endpoint answered 410 Gone",
            "since": "2026-02-03T08:00:00.000Z",
        },
        subject=f"subscription/{_SUBSCRIPTION}",
        brand=None,
        follows=True,
    ),
    _type(
        "relay.brand_failing",
        "Brand failing",
        "Clopos refuses a brand's credentials or cannot be reached for it; its events will be late.",
        BrandData,
        {"error": _UPSTREAM, "since": "2026-02-02T13:46:05.120Z"},
        subject="brand/openapitest",
    ),
    _type(
        "relay.brand_recovered",
        "Brand works again",
        "A failing brand is looked at again; what happened meanwhile follows as events.",
        BrandData,
        {"error": _UPSTREAM, "since": "2026-02-02T13:46:05.120Z"},
        subject="brand/openapitest",
        follows=True,
    ),
)

EVENT_TYPES: Final[Mapping[str, EventType]] = {each.name: each for each in _ALL}
"""Every type of event there is."""

OPERATIONAL: Final = frozenset(name for name in EVENT_TYPES if name.startswith("relay."))
"""The types that are about the relay itself; only a subscription that asks for them gets them."""
