from typing import Any

import orjson
import pytest

from relay.api.ui.order_view import HIDDEN, changes_view, masked, order_view
from relay.core.event_types import EVENT_TYPES

DATA: dict[str, Any] = dict(EVENT_TYPES["order.status_changed"].example["data"])
ORDER: dict[str, Any] = DATA["order"]
PERSONAL = ("A. Customer", "+994705401040", "123 Main St", "Leave at the door")


def test_an_order_reads_as_its_source_states_it() -> None:
    view = order_view({**ORDER, "currency": "AZN"}, reveal=False)
    assert [(line.quantity, line.name, line.price, line.portion) for line in view.lines] == [
        ("2", "Pizza", "8.5", None)
    ]
    assert [(fact.label, fact.value) for fact in view.amounts] == [
        ("Delivery", "2.5"),
        ("Discount (type 1)", "10"),
        ("Service charge", "5"),
        ("Total", "not stated by Clopos"),
    ]
    assert (view.status, view.source_status, view.currency) == ("accepted", "RECEIVED", "AZN")
    assert ("Placed", "2026-02-02 13:45:53 on Clopos' clock") in [(fact.label, fact.value) for fact in view.times]


def test_who_ordered_is_kept_back_unless_asked_for() -> None:
    order = {**ORDER, "items": [{**ORDER["items"][0], "note": "for Aysel"}]}
    kept, shown = order_view(order, reveal=False), order_view(order, reveal=True)
    assert kept.keeps_back
    assert not shown.keeps_back
    assert {fact.value for fact in kept.customer} == {HIDDEN}
    assert [fact.label for fact in kept.customer] == ["Name", "Phone", "Address"]
    assert all(text not in repr(kept) for text in (*PERSONAL, "Aysel"))
    assert all(text in repr(shown) for text in (*PERSONAL, "Aysel"))


def test_there_is_nothing_to_ask_for_where_nobody_is_known() -> None:
    view = order_view({**ORDER, "customer": None, "comment": None}, reveal=False)
    assert view.customer == ()
    assert not view.keeps_back


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_every_type_of_event_can_be_masked(name: str) -> None:
    data = dict(EVENT_TYPES[name].example["data"])
    text = orjson.dumps(masked(data)).decode()
    assert all(each not in text for each in PERSONAL)
    assert masked(masked(data)) == masked(data)


def test_the_row_of_clopos_is_masked_too() -> None:
    raw = {"payload": {"customer": {"name": "A. Customer", "phone": "+994705401040"}, "delivery_fee": 2.5}}
    content = masked({**DATA, "raw": raw})
    assert content["raw"]["payload"] == {"customer": None, "delivery_fee": 2.5}
    assert masked({**DATA, "raw": None})["raw"] is None


def test_changes_are_brief_and_tell_of_nobody() -> None:
    changes = {
        "status": ["pending", "accepted"],
        "customer": [None, ORDER["customer"]],
        "comment": ["Leave at the door", "Ring twice"],
        "items": [ORDER["items"], []],
        "discount": [None, {"type": 1, "value": "10"}],
        "total": ["1" * 500, None],
    }
    kept = {each.field: (each.old, each.new) for each in changes_view(changes, reveal=False)}
    assert kept["status"] == ("pending", "accepted")
    assert kept["customer"] == kept["comment"] == (HIDDEN, HIDDEN)
    assert kept["items"] == ("1 line", "0 lines")
    assert kept["discount"] == ("nothing", "type 1, value 10")
    assert len(kept["total"][0]) < 130
    shown = {each.field: each.new for each in changes_view(changes, reveal=True)}
    assert "A. Customer" in shown["customer"]
    assert shown["comment"] == "Ring twice"
