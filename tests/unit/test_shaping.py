import copy
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.changes import Feed, compare
from relay.core.drafts import Draft, draft
from relay.core.orders import forget_customer, normalize
from relay.core.shaping import MAX_REDACT, PERSONAL, ROUTING, SOURCES, Shape, apply_shape, check_redact, forget

PAGE = (Path(__file__).parent / "data" / "list-orders.json").read_text()
EXTRA = {"modificator_id": 187, "id": 5, "name": "Cheese", "count": 3, "quantity": 4, "price": "0.70"}
EXTRA |= {"modificator": {"id": 188, "name": "Cheddar", "price": "0.80"}}


def full_row() -> dict[str, Any]:
    """A row that holds something in every place that anything is read from, and copies in places of its own."""
    row: dict[str, Any] = json.loads(PAGE)["data"][0]
    row |= {"integration_id": "int-1", "integration_uuid": "uuid-1", "customer_ref_id": "ref-1"}
    row |= {"customer": {"id": 1, "name": "Rahid Akhundzada", "phone": "+994 70 540 10 40"}, "customer_id": 1}
    row |= {"receipt": {"id": 9, "customer_id": 1, "customer": {"id": 1, "phone": "994705401040"}}}
    row |= {"integration_response": json.dumps({"to": "123 Main St", "for": "Rahid Akhundzada", "call": 994705401040})}
    row |= {"properties": {"note": "Leave at the door, please", "courier": "Aygün"}}
    row |= {"meta": {"orderTotal": "19.00", "comment": "none", "discount": {"discount_type": 3, "discount_value": 4}}}
    payload = row["payload"]
    payload["comment"] = "Second comment"
    payload["meta"]["orderTotal"] = "16.2000"
    product = payload["products"][0]
    product |= {"product_modificators": [copy.deepcopy(EXTRA)], "note": "No onions", "comment": "Extra", "status": "s"}
    product["name"] = "Pizza Name"
    meta = product["meta"]
    meta |= {"name": "Pizza M", "note": "note m", "comment": "comment m"}
    ordered = meta["order_product"]
    ordered |= {"note": "note o", "comment": "comment o", "price": 7.25, "portion_size": 2}
    ordered["product_modificators"] = [copy.deepcopy(EXTRA)]
    return row


def event_of(row: dict[str, Any], before: dict[str, Any] | None = None, *, written: bytes | None = None) -> Draft:
    raw = orjson.dumps(row) if written is None else written
    exact = json.loads(raw, parse_float=Decimal)
    earlier = None if before is None else normalize(before, currency=None)
    change = compare(Feed.ORDERS, earlier, normalize(exact, currency=None))
    assert change is not None
    return draft(change, brand="b", venue_id=1, subject="order/1", origin="poll", previous_id=None, raw=raw)


def shaped(event: Draft, *redact: str, include_raw: bool = True) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(apply_shape(event.data, event.raw, Shape(tuple(redact), include_raw)))
    return data


def at(holder: Any, path: str) -> list[Any]:
    """Everything that a dotted path leads to, through lists."""
    if isinstance(holder, list):
        return [found for each in holder for found in at(each, path)]
    head, _, rest = path.partition(".")
    if not isinstance(holder, dict) or head not in holder:
        return []
    return at(holder[head], rest) if rest else [holder[head]]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list) and value:
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*path, key))
    else:
        yield path


def reach(row: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        if row is None:
            return None
        row = row[key]
    return row


def changed_at(row: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    row = copy.deepcopy(row)
    reach(row, path[:-1])[path[-1]] = value
    return row


def stated(row: dict[str, Any], path: str) -> list[Any]:
    return [value for value in at(normalize(row, currency=None), path) if value is not None]


# --- masking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES)
def test_a_masked_path_is_null_in_the_order_and_wherever_it_is_read_from(path: str) -> None:
    """Found out by trying: a leaf of the row is read for a path if the path's value changes with it."""
    row = full_row()
    for _ in range(7):  # as many places as any value is looked for in
        values = stated(row, path)
        read = [
            leaf
            for leaf in leaves(row)
            if reach(row, leaf) is not None and stated(changed_at(row, leaf, "31"), path) != values
        ]
        data = shaped(event_of(row), path)
        assert {*at(data["order"], path), None} == {None}
        assert [leaf for leaf in read if reach(data["raw"], leaf) is not None] == []
        for leaf in read:
            row = changed_at(row, leaf, None)
    assert read == []


def test_a_mask_leaves_everything_else_as_it_was() -> None:
    event = event_of(full_row())
    plain = shaped(event)

    data = shaped(event, "delivery_fee")

    plain["order"]["delivery_fee"] = None
    plain["raw"]["payload"]["delivery_fee"] = None
    assert data == plain


@pytest.mark.parametrize("path", ["customer.phone", "customer.name", "customer.address", "customer", "comment"])
def test_what_reaches_a_person_is_masked_wherever_it_turns_up(path: str) -> None:
    hidden = {
        "customer.phone": ["+994705401040", "994705401040", "+994 70 540 10 40"],
        "customer.name": ["Rahid Akhundzada"],
        "customer.address": ["123 Main St"],
        "customer": ["+994705401040", "994705401040", "+994 70 540 10 40", "Rahid", "123 Main St", "ref-1"],
        "comment": ["Leave at the door"],
    }

    body = apply_shape(*_parts(event_of(full_row())), Shape((path,), include_raw=True)).decode()

    assert [text for text in hidden[path] if text in body] == []


def _parts(event: Draft) -> tuple[bytes, bytes | None]:
    return event.data, event.raw


@pytest.mark.parametrize("name", ["Aygün Əliyeva", 'Anna "Ann"', "1/2 Long Road", "back\\slash"])
def test_a_name_is_found_in_json_within_a_string_however_it_is_escaped(name: str) -> None:
    for copied in (
        json.dumps({"n": name}),
        json.dumps({"n": name}, ensure_ascii=False),
        json.dumps({"n": name}).replace("/", "\\/"),
    ):
        row = {"id": 1, "payload": {"customer": {"name": name}}, "integration_response": copied}

        assert shaped(event_of(row), "customer.name")["raw"]["integration_response"] is None


def test_a_phone_that_is_a_number_is_masked_like_a_text() -> None:
    row = {"id": 1, "payload": {"customer": {"phone": 994705401040}}, "copy": 994705401040, "total": 17}

    assert shaped(event_of(row), "customer.phone")["raw"] == {
        "id": 1,
        "payload": {"customer": {"phone": None}},
        "copy": None,
        "total": 17,
    }


def test_a_number_of_seven_digits_may_be_a_phone_one_of_six_is_none() -> None:
    row = {
        "id": 1,
        "payload": {"customer": {"phone": "540-10-40"}},
        "copy": 5401040,
        "sum": 540104,
        "text": "540 10 40",
    }
    shown = shaped(event_of(row), "customer.phone")["raw"]
    assert (shown["copy"], shown["sum"], shown["text"]) == (None, 540104, None)
    number = {"id": 1, "payload": {"customer": {"phone": 5401040}}, "copy": "5401040"}
    assert shaped(event_of(number), "customer.phone")["raw"]["copy"] is None
    short = {"id": 1, "payload": {"customer": {"phone": "540104"}}, "copy": 540104}
    assert shaped(event_of(short), "customer.phone")["raw"]["copy"] == 540104


def test_a_short_name_is_masked_as_a_whole_value_and_not_inside_others() -> None:
    row = {"id": 1, "payload": {"customer": {"name": "Li"}}, "by": "Li", "status": "LIMBO", "city": "Lima"}

    raw = shaped(event_of(row), "customer.name")["raw"]

    assert (raw["by"], raw["status"], raw["city"]) == (None, "LIMBO", "Lima")


def test_other_words_about_a_customer_are_not_hunted_through_the_row() -> None:
    row = {"id": 1, "payload": {"customer": {"name": "Ann Lee", "rank": "active"}}, "mode": "inactive", "by": "Ann Lee"}

    raw = shaped(event_of(row), "customer")["raw"]

    assert (raw["mode"], raw["by"], raw["payload"]["customer"]) == ("inactive", None, None)


def test_masks_hold_on_both_sides_of_a_change() -> None:
    row = full_row()
    before = changed_at(row, ("payload", "customer", "phone"), "+994500000000")
    before = changed_at(before, ("payload", "products", 0, "note"), "old note")
    before = changed_at(before, ("payload", "meta", "comment"), "old comment")

    data = shaped(event_of(row, before), "customer.phone", "items.note", "comment")

    assert set(data["changes"]) == {"customer", "items", "comment"}
    assert [side["phone"] for side in data["changes"]["customer"]] == [None, None]
    assert [side["name"] for side in data["changes"]["customer"]] == ["Rahid Akhundzada"] * 2
    assert [side[0]["note"] for side in data["changes"]["items"]] == [None, None]
    assert data["changes"]["comment"] == [None, None]
    assert b"old" not in apply_shape(*_parts(event_of(row, before)), Shape(("items.note", "comment")))


def test_a_mask_of_a_field_within_one_that_was_null_is_harmless() -> None:
    row = full_row()
    before = changed_at(row, ("payload", "customer"), None)
    before["customer_ref_id"] = None

    data = shaped(event_of(row, before), "customer.phone")

    assert data["changes"]["customer"][0] is None
    assert data["changes"]["customer"][1]["phone"] is None


def test_a_list_with_gaps_as_php_writes_it_is_masked_too() -> None:
    row = full_row()
    row["payload"]["products"] = {"0": row["payload"]["products"][0], "2": row["payload"]["products"][0]}

    raw = shaped(event_of(row), "items.note", "items.modifiers.name")["raw"]

    assert "No onions" not in json.dumps(raw)
    assert "Cheese" not in json.dumps(raw)


def test_the_same_key_twice_does_not_let_the_first_one_through() -> None:
    written = b'{"id":1,"payload":{"customer":{"phone":"+994500000000","phone":"+994705401040"}}}'

    body = apply_shape(*_parts(event_of({}, written=written)), Shape(("customer.phone",), include_raw=True))

    assert b"99450" not in body
    assert b"99470" not in body


def test_numbers_of_a_masked_row_stay_as_they_are_spelled() -> None:
    numbers = b'"a":1.50,"b":12345678901234567890123456789.10,"c":1e2'
    written = b'{"id":1,' + numbers + b',"payload":{"customer":{"phone":"5551234"}}}'

    body = apply_shape(*_parts(event_of({}, written=written)), Shape(("customer.phone",), include_raw=True))

    assert numbers in body


def test_a_row_that_cannot_be_masked_is_left_out() -> None:
    event = event_of(full_row())

    for unreadable in (b"{", b"[" * 100_000):
        data = json.loads(apply_shape(event.data, unreadable, Shape(("customer",), include_raw=True)))
        assert data["raw"] is None


def test_without_a_kept_row_raw_is_null() -> None:
    event = event_of(full_row())

    assert json.loads(apply_shape(event.data, None, Shape(include_raw=True)))["raw"] is None


def test_a_plain_shape_is_the_data_byte_for_byte() -> None:
    event = event_of(full_row())

    assert apply_shape(event.data, event.raw, Shape()) is event.data


def test_stations_have_nothing_to_mask_and_may_have_a_row() -> None:
    data = b'{"station":{"id":1},"previous_status":null,"changes":{}}'

    assert apply_shape(data, b'{"id":1}', Shape(("customer",), include_raw=True)) == data[:-1] + b',"raw":{"id":1}}'


def test_operational_events_have_no_row() -> None:
    data = b'{"message":"This is a test."}'

    assert apply_shape(data, None, Shape(("customer",), include_raw=True)) == data


@given(st.lists(st.sampled_from(sorted(SOURCES)), max_size=5, unique=True), st.booleans())
def test_shaping_is_deterministic_and_masks_every_path(paths: list[str], include_raw: bool) -> None:  # noqa: FBT001
    event = event_of(full_row())
    shape = Shape(tuple(paths), include_raw)

    body = apply_shape(event.data, event.raw, shape)

    assert body == apply_shape(event.data, event.raw, shape)
    for path in paths:
        assert not [value for value in at(json.loads(body)["order"], path) if value is not None]
    assert list(json.loads(body)["order"]) == list(json.loads(event.data)["order"])


def test_forgetting_takes_the_customer_out_of_event_and_row() -> None:
    row = full_row()
    event = event_of(row, changed_at(row, ("payload", "customer", "name"), "Somebody Else"))

    data, raw = forget(event.data, event.raw)

    assert raw is not None
    written = (data + raw).decode()
    hidden = ("Rahid", "Somebody", "99470", "540 10 40", "Main St", "door", "onions", "ref-1")
    assert [word for word in hidden if word in written] == []
    assert json.loads(data)["order"] == forget_customer(normalize(json.loads(event.raw or b""), currency=None))
    assert forget(data, raw) == (data, raw)
    assert set(PERSONAL) <= set(SOURCES)


def test_forgetting_leaves_other_events_alone() -> None:
    data = b'{"venue":{"id":1},"changes":{}}'

    assert forget(data, b'{"id":1}') == (data, b'{"id":1}')


# --- checking a mask -------------------------------------------------------------------------------------------------


def test_every_field_of_an_order_can_be_masked_but_those_that_route() -> None:
    order = normalize(full_row(), currency=None)
    paths = set(order) | {f"customer.{key}" for key in order["customer"] or {}}
    paths |= {f"items.{key}" for key in order["items"][0]} | {f"channel.{key}" for key in order["channel"]}
    paths |= {f"items.modifiers.{key}" for key in order["items"][0]["modifiers"][0]}
    paths |= {f"discount.{key}" for key in order["discount"] or {}}
    paths |= {f"service_charge.{key}" for key in order["service_charge"] or {}}

    assert paths == SOURCES.keys() | ROUTING
    assert check_redact(sorted(SOURCES)) == []


@pytest.mark.parametrize(
    "path",
    [
        *("id", "venue_id", "status", "source_status", "data.customer.*", "customer.*", "*", "..", "", "__proto__"),
        *("customer.phone\n", "order.customer", "CUSTOMER", "customer.phone.x", "items[].note", "x" * 100_000),
        *(None, 7, [], {}),
    ],
    ids=lambda path: repr(path)[:20],
)
def test_what_is_no_path_or_must_not_be_masked_is_refused(path: object) -> None:
    problems = check_redact(["comment", path])

    assert [problem.pointer for problem in problems] == ["/1"]
    assert len(problems[0].detail) < 120


def test_a_near_miss_is_helped() -> None:
    assert "did you mean customer.phone?" in check_redact(["customer.phon"])[0].detail


def test_a_path_twice_is_refused_once() -> None:
    assert [problem.pointer for problem in check_redact(["comment", "comment", "total"])] == ["/1"]


def test_ten_thousand_paths_are_one_problem() -> None:
    assert len(check_redact(["comment"] * 10_000)) == 1
    assert len(SOURCES) <= MAX_REDACT


def test_every_problem_is_told_at_once() -> None:
    assert [problem.pointer for problem in check_redact(["id", "comment", "nope", "comment"])] == ["/0", "/2", "/3"]
