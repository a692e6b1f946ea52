"""From a row as Clopos spells it to the id of its event: spelling, order of keys and noise are no part of it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relay.core.changes import Feed, compare
from relay.core.digests import content_digest
from relay.core.drafts import event_id
from relay.core.orders import Order, normalize
from tests.unit.test_orders import orders_and_rows


def id_of(known: Any, seen: Any, *, previous_id: str | None = None) -> str | None:
    change = compare(Feed.ORDERS, known, seen)
    if change is None:
        return None
    return event_id(change, brand="b", venue_id=1, subject="order/1", previous_id=previous_id)


def shuffled(value: Any, data: st.DataObject) -> Any:
    """The same value, its objects' keys in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], data) for key in data.draw(st.permutations(list(value)))}
    if isinstance(value, list):
        return [shuffled(each, data) for each in value]
    return value


@given(orders_and_rows(), st.data())
def test_every_spelling_of_a_row_is_the_same_event(both: tuple[Order, dict[str, Any]], data: st.DataObject) -> None:
    order, row = both
    seen = normalize(shuffled(row, data), currency=None)
    assert id_of(None, seen) == id_of(None, order)
    assert content_digest(dict(seen)) == content_digest(dict(order))


@given(orders_and_rows())
def test_a_row_spelt_otherwise_is_no_change(both: tuple[Order, dict[str, Any]]) -> None:
    order, row = both
    assert id_of(order, normalize(row, currency=None)) is None


@given(orders_and_rows(), orders_and_rows())
def test_a_change_and_its_reverse_and_its_repeat_have_three_ids(
    one: tuple[Order, dict[str, Any]], other: tuple[Order, dict[str, Any]]
) -> None:
    there = id_of(one[0], other[0])
    if there is None:
        return
    back = id_of(other[0], one[0], previous_id=there)
    again = id_of(one[0], other[0], previous_id=back)
    assert len({there, back, again}) == 3


@given(st.integers(-(10**30), 10**30), st.integers(0, 12))
def test_amounts_that_are_equal_are_written_alike(digits: int, scale: int) -> None:
    amount = Decimal(digits).scaleb(-scale)
    plain = f"{amount:f}"
    spelt = [str(amount), plain, f"{amount:e}", plain + ("0" if "." in plain else ".0")]
    rows = [json.loads(f'{{"id": 1, "payload": {{"delivery_fee": {text}}}}}', parse_float=Decimal) for text in spelt]
    rows += [{"id": 1, "payload": {"delivery_fee": text}} for text in spelt]
    assert len({id_of(None, normalize(row, currency=None)) for row in rows}) == 1
