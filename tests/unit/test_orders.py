import json
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import orders
from relay.core.errors import RowUnreadable
from relay.core.normalize import canonical_json
from relay.core.orders import Order, forget_customer, is_deleted, is_open, merge_without_payload, normalize

DATA = Path(__file__).parent / "data"


def documented_row(**changed: Any) -> dict[str, Any]:
    page: dict[str, Any] = json.loads((DATA / "list-orders.json").read_text(), parse_float=Decimal)
    row: dict[str, Any] = page["data"][0]
    return {**row, **changed}


def documented_put_answer(**changed: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((DATA / "update-order.json").read_text(), parse_float=Decimal)
    return {**body["data"], **changed}


def with_payload(**changed: Any) -> dict[str, Any]:
    row = documented_row()
    row["payload"] = {**row["payload"], **changed}
    return row


def with_meta(**changed: Any) -> dict[str, Any]:
    row = documented_row()
    return with_payload(meta={**row["payload"]["meta"], **changed})


def with_product(**changed: Any) -> dict[str, Any]:
    row = documented_row()
    return with_payload(products=[{**row["payload"]["products"][0], **changed}])


def test_the_documented_row_is_the_contracts_order_key_by_key() -> None:
    expected = {
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
        "customer": {
            "id": 1,
            "name": "Rahid Akhundzada",
            "phone": "+994705401040",
            "address": "123 Main St",
            "ref": None,
        },
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

    # compared as text, as the order of keys is part of it
    assert json.dumps(normalize(documented_row(), currency=None)) == json.dumps(expected)


def test_the_documented_answer_to_a_put_is_an_order_without_content() -> None:
    order = normalize(documented_put_answer(), currency="AZN")

    assert order["id"] == 108
    assert order["status"] == "cancelled"
    assert order["items"] == []
    assert order["customer"] is None
    assert order["discount"] is None
    assert order["service_charge"] is None
    assert order["currency"] == "AZN"


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("PENDING", "pending"),
        ("RECEIVED", "accepted"),
        ("IGNORE", "cancelled"),
        ("DELIVERED", "delivered"),
        ("READY", "ready"),
        ("IN_PROGRESS", "in_progress"),
        ("received", "accepted"),
        (" READY ", "ready"),
        (5, "5"),
    ],
)
def test_a_status_has_the_contracts_name_and_an_unknown_one_is_passed_on(source: object, status: str) -> None:
    order = normalize(documented_row(status=source), currency=None)

    assert order["status"] == status
    assert order["source_status"] == str(source)


@pytest.mark.parametrize("source", [None, [], {}])
def test_a_row_without_a_status_has_an_unknown_one(source: object) -> None:
    order = normalize(documented_row(status=source), currency=None)

    assert (order["status"], order["source_status"]) == ("unknown", None)


@pytest.mark.parametrize("bad", [None, "", "abc", 0, -1, True, 1.5, [], {}, 2**63, "9" * 30])
def test_a_row_without_a_usable_id_is_unreadable(bad: object) -> None:
    with pytest.raises(RowUnreadable) as caught:
        normalize(documented_row(id=bad), currency=None)

    assert caught.value.reason == "no_id"


def test_ids_are_integers_however_they_are_spelled_but_the_channels_which_are_text() -> None:
    row = documented_row(id="1", venue_id="1", integration_id=77, integration_uuid="u-1")
    row["payload"]["customer"]["id"] = "9"
    row["payload"]["products"][0]["product_id"] = "51"
    row["payload"]["sale_type_id"] = "2"

    order = normalize(row, currency=None)

    assert (order["id"], order["venue_id"], order["sale_type_id"]) == (1, 1, 2)
    assert order["customer"] is not None
    assert order["customer"]["id"] == 9
    assert order["items"][0]["product_id"] == 51
    assert (order["channel"]["integration_id"], order["channel"]["integration_uuid"]) == ("77", "u-1")


def test_customer_zero_is_nobody_known_but_keeps_the_name() -> None:
    order = normalize(with_payload(customer={"id": 0, "name": "Guest"}), currency=None)

    assert order["customer"] == {"id": None, "name": "Guest", "phone": None, "address": None, "ref": None}


@pytest.mark.parametrize("nobody", [None, [], {}, "", {"id": 0}, {"customer_discount_type": 1}])
def test_an_empty_customer_is_null(nobody: object) -> None:
    assert normalize(with_payload(customer=nobody), currency=None)["customer"] is None


def test_the_customers_reference_is_the_rows() -> None:
    row = documented_row(customer_ref_id="c-7")
    without = {**with_payload(customer=[]), "customer_ref_id": 7}

    order, bare = normalize(row, currency=None), normalize(without, currency=None)

    assert order["customer"] is not None
    assert order["customer"]["ref"] == "c-7"
    assert bare["customer"] == {"id": None, "name": None, "phone": None, "address": None, "ref": "7"}


def test_modifiers_are_read_from_the_product_or_else_from_what_was_ordered() -> None:
    extras = [{"modificator_id": "187", "count": 1, "name": "Cheese", "price": "0.50"}, {"modificator_id": 201}]
    meta = {"price": 8, "order_product": {"product_modificators": extras}}

    direct = normalize(with_product(product_modificators=extras), currency=None)
    nested = normalize(with_product(product_modificators=[], meta=meta), currency=None)

    assert direct["items"][0]["modifiers"] == [
        {"id": 187, "name": "Cheese", "quantity": "1", "unit_price": "0.5"},
        {"id": 201, "name": None, "quantity": None, "unit_price": None},
    ]
    assert nested["items"][0]["modifiers"] == direct["items"][0]["modifiers"]


def test_a_total_is_only_what_the_source_states() -> None:
    assert normalize(documented_row(), currency=None)["total"] is None
    assert normalize(with_meta(orderTotal="16.2000"), currency=None)["total"] == "16.2"


def test_a_charge_flag_may_be_a_number_and_a_discount_type_a_word() -> None:
    row = with_meta(apply_service_charge=0, discount={"discount_type": "percent", "discount_value": "10.00"})

    order = normalize(row, currency=None)

    assert order["service_charge"] == {"applied": False, "value": "5"}
    assert order["discount"] == {"type": "percent", "value": "10"}


@pytest.mark.parametrize("nothing", [None, [], {}, "", 0, "junk"])
def test_nothing_where_an_object_is_meant_loses_only_that_object(nothing: object) -> None:
    order = normalize(documented_row(payload=nothing), currency=None)
    assert (order["id"], order["items"], order["customer"], order["comment"]) == (1, [], None, None)

    meta = normalize(with_payload(meta=nothing), currency=None)
    assert (meta["discount"], meta["service_charge"], meta["delivery_fee"]) == (None, None, "2.5")

    products = normalize(with_payload(products=nothing), currency=None)
    assert (products["items"], products["sale_type_id"]) == ([], 2)


def test_the_venue_and_the_sale_type_are_also_found_in_the_service() -> None:
    row = documented_row(venue_id=None)
    del row["payload"]["sale_type_id"]

    order = normalize(row, currency=None)

    assert (order["venue_id"], order["sale_type_id"]) == (1, 2)


def test_half_a_surrogate_pair_in_a_name_becomes_the_replacement_character() -> None:
    order = normalize(with_payload(customer={"id": 1, "name": "A\ud83d"}), currency=None)

    assert order["customer"] is not None
    assert order["customer"]["name"] == "A\ufffd"


@pytest.mark.parametrize(
    ("deleted_at", "deleted"),
    [
        ("2026-02-02T13:45:53.000000Z", True),
        (1770039953, True),
        (None, False),
        ("", False),
        (False, False),
        ([], False),
        ("0000-00-00 00:00:00", False),
    ],
)
def test_a_row_with_a_date_of_deletion_is_removed(deleted_at: object, deleted: bool) -> None:  # noqa: FBT001 - a table
    assert is_deleted(documented_row(deleted_at=deleted_at)) is deleted


def test_a_row_that_says_nothing_of_deletion_is_there() -> None:
    assert not is_deleted(documented_row())


@pytest.mark.parametrize(
    ("status", "still_open"),
    [
        ("PENDING", True),
        ("RECEIVED", True),
        ("READY", True),
        ("DELIVERED", False),
        ("IGNORE", False),
        ("CLOSED", False),
    ],
)
def test_an_order_is_open_until_it_is_done(status: str, still_open: bool) -> None:  # noqa: FBT001 - a table
    assert is_open(normalize(documented_row(status=status), currency=None)) is still_open


def test_an_answer_without_payload_changes_the_state_and_keeps_the_content() -> None:
    known = normalize(documented_row(id=108), currency="AZN")
    answer = documented_put_answer(integration_status="CANCELLED", updated_at="2026-02-02T17:47:00.000000Z")

    merged = merge_without_payload(known, answer)

    assert merged == {
        **known,
        "status": "cancelled",
        "source_status": "IGNORE",
        "channel": {**known["channel"], "integration_status": "CANCELLED"},
        "updated_at": "2026-02-02T17:47:00.000000Z",
    }
    assert list(merged) == list(known)
    assert known["status"] == "accepted"


def test_an_answer_that_names_little_leaves_the_rest_as_known() -> None:
    known = normalize(documented_row(integration_id="x"), currency=None)

    assert merge_without_payload(known, {"id": 1}) == known
    assert merge_without_payload(known, {"id": "1", "status": "IGNORE"})["channel"] == known["channel"]


def test_an_answer_about_another_order_is_refused() -> None:
    known = normalize(documented_row(), currency=None)

    with pytest.raises(RowUnreadable):
        merge_without_payload(known, documented_put_answer())


def test_a_forgotten_customer_leaves_nothing_personal_and_the_order_as_it_was() -> None:
    order = normalize(with_product(note="for Rahid"), currency=None)

    forgotten = forget_customer(order)

    written = json.dumps(forgotten)
    assert not any(word in written for word in ("Rahid", "99470", "Main St", "door"))
    assert forgotten == {
        **order,
        "customer": None,
        "comment": None,
        "items": [{**order["items"][0], "note": None}],
    }
    assert list(forgotten) == list(order)
    assert order["customer"] is not None


def test_forgetting_twice_changes_nothing() -> None:
    once = forget_customer(normalize(documented_row(), currency=None))

    assert forget_customer(once) == once


# --- whatever a row holds --------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def loosely(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={name: JSON | field for name, field in fields.items()})


EXTRAS = st.lists(loosely(modificator_id=JSON, count=JSON, price=JSON, modificator=loosely(name=JSON)), max_size=2)
ORDERED = loosely(count=JSON, status=JSON, product=loosely(id=JSON, name=JSON, price=JSON), product_modificators=EXTRAS)
PRODUCTS = st.lists(
    loosely(product_id=JSON, count=JSON, product_modificators=EXTRAS, meta=loosely(price=JSON, order_product=ORDERED)),
    max_size=2,
)
META = loosely(comment=JSON, orderTotal=JSON, discount=loosely(discount_type=JSON, discount_value=JSON))
PAYLOAD = loosely(
    customer=loosely(id=JSON, name=JSON, phone=JSON), products=PRODUCTS, meta=META, service=loosely(venue_id=JSON)
)
ROWS = loosely(venue_id=JSON, status=JSON, type=JSON, payload=PAYLOAD, customer_ref_id=JSON, deleted_at=JSON)


@given(ROWS, st.integers(1, 2**63 - 1))
def test_no_row_with_an_id_is_refused_and_every_order_has_every_field(row: dict[str, Any], order_id: int) -> None:
    order = normalize({**row, "id": order_id}, currency=None)

    assert list(order) == list(get_type_hints(Order))
    assert list(order["channel"]) == list(get_type_hints(orders.Channel))
    for item in order["items"]:
        assert list(item) == list(get_type_hints(orders.Item))
        assert all(list(extra) == list(get_type_hints(orders.Modifier)) for extra in item["modifiers"])
    assert order["customer"] is None or list(order["customer"]) == list(get_type_hints(orders.Customer))
    assert isinstance(order["status"], str)
    assert order["status"]
    # what is kept is what was normalized: no number or text is lost on the way through JSON
    assert json.loads(canonical_json(order)) == order
    is_deleted(row)
    is_open(order)
    forget_customer(order)
    merge_without_payload(order, {**row, "id": order_id})


# --- one order, spelled in every way the source is known to spell ----------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
IDS = st.integers(1, 2**63 - 1)


@st.composite
def plain_decimals(draw: st.DrawFn) -> str:
    whole = draw(st.integers(0, 10**30))
    fraction = draw(st.from_regex(r"\A([0-9]{0,6}[1-9])?\Z"))
    return f"{whole}.{fraction}" if fraction else str(whole)


@st.composite
def spelled_decimals(draw: st.DrawFn, plain: str) -> Any:
    padded = plain + ("0" if "." in plain else ".0") * draw(st.integers(0, 1))
    options: list[Any] = [padded, Decimal(padded), f" {padded}"]
    if "." not in plain:
        options += [int(plain), Decimal(f"{plain}e0")]
    return draw(st.sampled_from(options))


def spelled_ids(number: int) -> st.SearchStrategy[Any]:
    return st.sampled_from([number, str(number), f"{number}.0", Decimal(number)])


@st.composite
def orders_and_rows(draw: st.DrawFn) -> tuple[Order, dict[str, Any]]:
    """Draw an order, and a row that says the same; the expectation is drawn, not computed."""

    def optional(key: str, holder: dict[str, Any], value: Any, spelled: st.SearchStrategy[Any]) -> Any:
        if value is not None:
            holder[key] = draw(spelled)
        elif draw(st.booleans()):
            holder[key] = None
        return value

    row: dict[str, Any] = {}
    payload: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    customer: dict[str, Any] = {}
    order_id, venue_id = draw(IDS), draw(IDS)
    row["id"], row["venue_id"] = draw(spelled_ids(order_id)), draw(spelled_ids(venue_id))
    source_status, status = draw(
        st.sampled_from([("PENDING", "pending"), ("RECEIVED", "accepted"), ("IGNORE", "cancelled"), ("READY", "ready")])
    )
    row["status"] = source_status

    def words(key: str, holder: dict[str, Any]) -> Any:
        value = draw(st.none() | WORDS)
        return optional(key, holder, value, st.just(value))

    def number(key: str, holder: dict[str, Any]) -> Any:
        value = draw(st.none() | plain_decimals())
        return optional(key, holder, value, spelled_decimals(value) if value is not None else st.none())

    def identity(key: str, holder: dict[str, Any]) -> Any:
        value = draw(st.none() | IDS)
        return optional(key, holder, value, spelled_ids(value) if value is not None else st.none())

    channel: Any = {key: words(key, row) for key in ("type", "integration", "integration_id", "integration_uuid")} | {
        "integration_status": words("integration_status", row)
    }
    person: Any = {
        "id": identity("id", customer),
        "name": words("name", customer),
        "phone": words("phone", customer),
        "address": words("address", customer),
        "ref": words("customer_ref_id", row),
    }
    items: list[Any] = []
    products: list[Any] = []
    for _ in range(draw(st.integers(0, 2))):
        product: dict[str, Any] = {}
        product_meta: dict[str, Any] = {}
        ordered: dict[str, Any] = {}
        catalogued: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        items.append(
            {
                "product_id": identity("product_id", product),
                "name": words("name", catalogued),
                "quantity": number("count", product),
                "unit_price": number("price", product_meta),
                "portion_size": number("portion_size", product),
                "note": words("note", product),
                "status": words("status", ordered),
                "modifiers": [
                    {
                        "id": identity("modificator_id", extra),
                        "name": words("name", extra),
                        "quantity": number("count", extra),
                        "unit_price": number("price", extra),
                    }
                ],
            }
        )
        product |= {
            "product_modificators": [extra],
            "meta": {**product_meta, "order_product": {**ordered, "product": catalogued or []}},
        }
        products.append(product)
    discount_source: dict[str, Any] = {}
    discount: Any = {
        "type": identity("discount_type", discount_source),
        "value": number("discount_value", discount_source),
    }
    applied = draw(st.none() | st.booleans())
    optional("apply_service_charge", meta, applied, st.sampled_from([applied, int(bool(applied))]))
    charge: Any = {"applied": applied, "value": number("service_charge_value", meta)}
    order: Order = {
        "id": order_id,
        "venue_id": venue_id,
        "status": status,
        "source_status": source_status,
        "channel": channel,
        "customer": person if any(value is not None for value in person.values()) else None,
        "items": items,
        "delivery_fee": number("delivery_fee", payload),
        "total": number("orderTotal", meta),
        "discount": discount if discount != {"type": None, "value": None} else None,
        "service_charge": charge if charge != {"applied": None, "value": None} else None,
        "currency": None,
        "sale_type_id": identity("sale_type_id", payload),
        "comment": words("comment", meta),
        "created_at": words("created_at", row),
        "updated_at": words("updated_at", row),
    }
    meta["discount"] = discount_source or draw(st.sampled_from([[], {}, None]))
    payload |= {
        "customer": customer or draw(st.sampled_from([[], {}, None])),
        "products": products or draw(st.sampled_from([[], {}, None])),
        "meta": meta or draw(st.sampled_from([[], {}, None])),
    }
    row["payload"] = payload
    for noise in draw(st.lists(st.sampled_from(["receipt_id", "properties", "new_in_2027"]), unique=True)):
        row[noise] = draw(JSON)
    return order, dict(draw(st.permutations(list(row.items()))))


@given(orders_and_rows())
def test_no_spelling_of_a_row_loses_or_alters_a_field(both: tuple[Order, dict[str, Any]]) -> None:
    order, row = both

    assert normalize(row, currency=None) == order
