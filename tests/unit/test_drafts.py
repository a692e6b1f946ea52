import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.changes import Change, Feed, compare
from relay.core.drafts import Draft, draft, event_id
from relay.core.orders import normalize

DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


def reversed_deeply(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_deeply(each) for key, each in reversed(value.items())}
    return [reversed_deeply(each) for each in value] if isinstance(value, list) else value


def drafted(change: Change, **changed: Any) -> Draft:
    wanted: dict[str, Any] = {
        "brand": "openapitest",
        "venue_id": 1,
        "subject": "order/1",
        "origin": "poll",
        "previous_id": None,
    }
    return draft(change, **(wanted | changed))


CHANGE = Change("order.created", {"order": {"id": 1, "status": "pending"}, "previous_status": None, "changes": {}})


def test_an_id_is_a_prefix_and_thirty_two_characters() -> None:
    event = drafted(CHANGE)

    assert event.id.startswith("evt_")
    assert len(event.id) == 36
    assert set(event.id[4:]) <= set("0123456789abcdefghijklmnopqrstuv")


def test_an_id_never_changes_between_versions() -> None:
    # Partners drop what they have seen by this id: a change here is a second delivery of everything in flight.
    assert drafted(CHANGE).id == "evt_46186tplkmuqdnb03d00cj8lfkbf98nn"


def test_the_same_change_has_the_same_id_however_it_was_seen() -> None:
    assert drafted(CHANGE, origin="reconcile", raw=b"{}").id == drafted(CHANGE).id


@pytest.mark.parametrize(
    "other",
    [
        {"brand": "other"},
        {"brand": None},
        {"venue_id": 2},
        {"venue_id": None},
        {"subject": "order/11"},
        {"previous_id": "evt_x"},
    ],
)
def test_whatever_else_is_another_event_has_another_id(other: dict[str, Any]) -> None:
    assert drafted(CHANGE, **other).id != drafted(CHANGE).id


def test_another_type_or_other_data_is_another_id() -> None:
    assert drafted(Change("order.updated", CHANGE.data)).id != drafted(CHANGE).id
    assert drafted(Change("order.created", {**CHANGE.data, "changes": {"a": [1, 2]}})).id != drafted(CHANGE).id


def test_parts_that_run_together_are_told_apart() -> None:
    one = event_id(CHANGE, brand="a", venue_id=1, subject="order/1", previous_id=None)
    two = event_id(CHANGE, brand='a",1', venue_id=1, subject="order/1", previous_id=None)
    three = event_id(CHANGE, brand="a", venue_id=11, subject="order/1", previous_id=None)

    assert len({one, two, three}) == 3


def test_each_flip_of_a_status_is_an_event_of_its_own() -> None:
    a, b = {"id": 1, "status": "pending"}, {"id": 1, "status": "accepted"}
    previous, ids = None, []
    for before, after in [(a, b), (b, a), (a, b), (b, a)]:
        change = compare(Feed.ORDERS, before, after)
        assert change is not None
        previous = drafted(change, previous_id=previous).id
        ids.append(previous)

    assert len(set(ids)) == 4


@given(DATA)
def test_the_order_of_keys_is_no_part_of_the_id(data: Any) -> None:
    change = Change("order.created", {"order": data, "changes": {}})
    turned = Change("order.created", reversed_deeply(change.data))

    assert drafted(turned).id == drafted(change).id


@given(DATA, DATA)
def test_only_equal_data_has_an_equal_id(one: Any, two: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)

    assert (drafted(Change("t", {"order": one})).id == drafted(Change("t", {"order": two})).id) == same


def test_the_spelling_of_a_number_is_no_part_of_the_id() -> None:
    ids = set()
    for fee in (Decimal("8.5"), "8.50", "8.5000", 8.5):
        change = compare(Feed.ORDERS, None, normalize({"id": 1, "payload": {"delivery_fee": fee}}, currency=None))
        assert change is not None
        ids.add(drafted(change).id)

    assert len(ids) == 1


def test_data_is_compact_json_in_the_contracts_order() -> None:
    assert drafted(CHANGE).data == b'{"order":{"id":1,"status":"pending"},"previous_status":null,"changes":{}}'


def test_a_row_is_kept_as_it_came_but_for_half_surrogates() -> None:
    assert drafted(CHANGE, raw=b'{"a": 1.50}').raw == b'{"a": 1.50}'
    assert drafted(CHANGE, raw=b'{"a":"\\ud83d"}').raw == b'{"a":"\\ufffd"}'


def test_what_is_personal_is_not_shown_in_a_log() -> None:
    event = drafted(Change("order.created", {"order": {"phone": "+994705401040"}}), raw=b'{"phone":"+994705401040"}')

    assert "99470" not in repr(event)
