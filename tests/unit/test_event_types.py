import json
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from relay.core import operational, orders, schemas, stations, venues
from relay.core.changes import Change, Feed
from relay.core.event_types import EVENT_TYPES, OPERATIONAL, EventType
from relay.core.events import committed, draft, render
from relay.core.shaping import SOURCES

CONTRACT = [
    "order.created",
    "order.status_changed",
    "order.updated",
    "order.removed",
    "station.created",
    "station.status_changed",
    "station.updated",
    "station.removed",
    "venue.created",
    "venue.updated",
    "venue.removed",
    "relay.test",
    "relay.subscription_disabled",
    "relay.subscription_enabled",
    "relay.delivery_dead",
    "relay.brand_failing",
    "relay.brand_recovered",
]

every_type = pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES.keys())


def test_the_types_are_the_contracts() -> None:
    assert set(EVENT_TYPES) == set(CONTRACT)
    assert {name for name in CONTRACT if name.startswith("relay.")} == OPERATIONAL


@every_type
def test_an_example_is_an_event_of_its_type(event_type: EventType) -> None:
    parsed = event_type.model.model_validate(event_type.example)

    assert parsed.model_dump(mode="json", exclude_unset=True) == event_type.example
    assert parsed.type == event_type.name


@every_type
def test_an_example_is_what_the_relay_would_send(event_type: EventType) -> None:
    example = event_type.example
    event = draft(
        Change(example["type"], example["data"]),
        brand=example["brand"],
        venue_id=example["venue_id"],
        subject=example["subject"],
        origin=example["origin"],
        previous_id=None,
    )
    body = json.loads(
        render(
            committed(
                event,
                position=1,
                sequence=example["sequence"],
                previous_sequence=example["previous_sequence"],
                timestamp_ms=1770039965120,
            )
        )
    )

    assert json.dumps({**body, "id": example["id"]}) == json.dumps(example)
    assert len(event.id) == len(example["id"])


@every_type
def test_a_schema_names_the_type_and_requires_what_is_always_there(event_type: EventType) -> None:
    schema = event_type.schema()

    assert schema["properties"]["type"]["const"] == event_type.name
    assert set(schema["required"]) == set(event_type.example)
    assert schema["examples"] == [event_type.example]
    assert (schema["title"], schema["description"]) == (event_type.title, event_type.description)
    assert "additionalProperties" not in schema


@every_type
def test_a_schema_can_be_put_under_another_path(event_type: EventType) -> None:
    schema = json.dumps(event_type.schema("#/components/schemas/{model}"))

    assert '"#/$defs/' not in schema


@pytest.mark.parametrize(
    ("model", "source"),
    [
        (schemas.Order, orders.Order),
        (schemas.Channel, orders.Channel),
        (schemas.Customer, orders.Customer),
        (schemas.Item, orders.Item),
        (schemas.Modifier, orders.Modifier),
        (schemas.Discount, orders.Discount),
        (schemas.ServiceCharge, orders.ServiceCharge),
        (schemas.Station, stations.Station),
        (schemas.Venue, venues.Venue),
    ],
)
def test_a_model_has_the_fields_that_the_normalizer_gives(model: type[BaseModel], source: type) -> None:
    assert list(model.model_fields) == list(get_type_hints(source))


@pytest.mark.parametrize(
    "row", [{"id": 1}, {"id": 1, "payload": {"products": [{}], "customer": {"id": 0, "name": ""}}}]
)
def test_an_order_of_which_little_is_known_fits_the_model(row: dict[str, Any]) -> None:
    schemas.Order.model_validate(orders.normalize(row, currency=None), strict=True)


def test_whatever_can_be_masked_may_be_null() -> None:
    def nullable(model: type[BaseModel], path: str) -> bool:
        head, _, rest = path.partition(".")
        hints = get_type_hints(model, include_extras=False)[head]
        inner = [each for each in _flat(hints) if isinstance(each, type) and issubclass(each, BaseModel)]
        return nullable(inner[0], rest) if rest else type(None) in _flat(hints)

    assert [path for path in SOURCES if not nullable(schemas.Order, path)] == []


def _flat(hint: Any) -> list[Any]:
    arguments = getattr(hint, "__args__", ())
    return [hint, *(each for argument in arguments for each in _flat(argument))]


@every_type
def test_an_unmasked_example_is_strictly_typed(event_type: EventType) -> None:
    event_type.model.model_validate_json(json.dumps(event_type.example), strict=True)


def test_every_feed_has_the_types_it_can_produce() -> None:
    for feed in Feed:
        verbs = {"created", "updated", "removed"} | ({"status_changed"} if feed.has_status else set())
        assert {name for name in EVENT_TYPES if name.startswith(f"{feed.noun}.")} == {f"{feed.noun}.{v}" for v in verbs}


AT_MS = 1770039965120
BUILT = {
    "relay.test": operational.test_sent("This is a test."),
    "relay.delivery_dead": operational.delivery_dead(
        subscription="sub_1",
        delivery="dlv_1",
        event="evt_1",
        type="order.created",
        subject="order/1",
        attempts=10,
        last_error="x" * 999,
    ),
    "relay.subscription_disabled": operational.subscription_disabled(
        subscription="sub_1", name=None, reason="gone", since_ms=AT_MS
    ),
    "relay.subscription_enabled": operational.subscription_enabled(
        subscription="sub_1", name="courier", reason=None, since_ms=AT_MS
    ),
    "relay.brand_failing": operational.brand_failing(error="unauthorized", since_ms=AT_MS),
    "relay.brand_recovered": operational.brand_recovered(error=None, since_ms=AT_MS),
}


@pytest.mark.parametrize("name", sorted(OPERATIONAL))
def test_what_the_relay_says_of_itself_fits_its_type(name: str) -> None:
    change = BUILT[name]
    example = EVENT_TYPES[name].example

    assert change.type == name
    assert list(change.data) == list(example["data"])
    EVENT_TYPES[name].model.model_validate({**example, "data": change.data}, strict=True)


def test_an_error_that_is_told_is_bounded() -> None:
    assert len(BUILT["relay.delivery_dead"].data["last_error"]) == 300


def test_operational_subjects_name_the_kind_of_thing() -> None:
    assert operational.subscription_subject("sub_1") == "subscription/sub_1"
    assert operational.brand_subject("openapitest") == "brand/openapitest"
