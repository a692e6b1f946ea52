import json
from typing import Any

from relay.core.changes import Change
from relay.core.events import StoredEvent, committed, draft, render, rfc3339
from relay.core.shaping import Shape

ORDER = {"id": 1, "venue_id": 1, "status": "pending", "comment": "Ring", "customer": {"phone": "+994705401040"}}
DATA = {"order": ORDER, "previous_status": None, "changes": {}}


def stored(**changed: Any) -> StoredEvent:
    event = draft(
        Change("order.created", DATA),
        brand='Café "7"',
        venue_id=1,
        subject="order/1",
        origin="poll",
        previous_id=None,
        raw=b'{"id": 1, "price": 1.50}',
    )
    given: dict[str, Any] = {
        "position": 7,
        "sequence": 1770039965120,
        "previous_sequence": None,
        "timestamp_ms": 1770039965120,
    }
    return committed(event, **(given | changed))


def test_the_body_has_the_contracts_keys_in_its_order() -> None:
    body = json.loads(render(stored()))

    assert list(body) == [
        "id",
        "type",
        "timestamp",
        "brand",
        "venue_id",
        "subject",
        "sequence",
        "previous_sequence",
        "origin",
        "data",
    ]
    assert body["timestamp"] == "2026-02-02T13:46:05.120Z"
    assert body["brand"] == 'Café "7"'
    assert (body["sequence"], body["previous_sequence"]) == (1770039965120, None)
    assert body["data"] == DATA


def test_the_data_is_sent_byte_for_byte_as_it_was_committed() -> None:
    assert render(stored()).endswith(b',"data":' + stored().data + b"}")


def test_the_place_in_the_log_is_not_told() -> None:
    assert render(stored(position=1)) == render(stored(position=2))


def test_a_row_is_sent_as_it_came_only_to_who_asks_for_it() -> None:
    assert b'"raw"' not in render(stored())
    assert render(stored(), Shape(include_raw=True)).endswith(b',"raw":{"id": 1, "price": 1.50}}}')


def test_a_mask_holds_in_the_body() -> None:
    body = json.loads(render(stored(), Shape(redact=("customer.phone",))))

    assert body["data"]["order"]["customer"] == {"phone": None}


def test_times_are_written_with_milliseconds_in_utc() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1770039965007) == "2026-02-02T13:46:05.007Z"
    assert rfc3339(253402300799999) == "9999-12-31T23:59:59.999Z"


def test_what_is_personal_is_not_shown_in_a_log() -> None:
    assert "99470" not in repr(stored())
