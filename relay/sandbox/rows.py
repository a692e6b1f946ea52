"""An order as text on the wire: the documented row, bent the way the switches say."""

from collections.abc import Mapping
from typing import Any

from relay.sandbox.model import Order, Receipt, Venue, dumps
from relay.sandbox.stamps import local_time
from relay.sandbox.switches import Switches

_AMOUNTS = frozenset({"price", "delivery_fee", "count", "portion_size", "discount_value", "service_charge_value"})
_OPTIONAL_IN_PAYLOAD = (
    "payload_updated_at",
    "delivery_fee",
    "customer",
    "products",
    "meta",
    "customer_id",
    "sale_type_id",
)
_OPTIONAL_IN_META = ("comment", "discount", "orderTotal")
_CASH = {"id": 1, "name": "Cash"}


def order_text(
    order: Order, switches: Switches, *, payload: bool = True, related: Mapping[str, Any] | None = None
) -> str:
    """Write an order's row.

    Args:
        order: which; one with ``raw`` text is that text.
        switches: how to bend it.
        payload: False leaves the payload out, as a PUT's answer does.
        related: what ``with`` asked for, by key.
    """
    if order.raw is not None:
        return order.raw
    if switches.bends_rows:
        row = order.row() if payload else order.head()
        return dumps({**_bent_row(row, order, switches), **(related or {})})
    head = order.head()
    if not payload:
        return dumps(head)
    # The payload is stored as text already; parsing it only to write it again would be most of the work of a page.
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    rest = False
    for name, value in head.items():
        rest = rest or name == "created_at"
        (after if rest else before)[name] = value
    tail = dumps(after | dict(related or {}))
    return f'{dumps(before)[:-1]},"payload":{order.payload_json},{tail[1:]}'


def receipt_row(receipt: Receipt) -> dict[str, Any]:
    """A receipt's row; its times carry no zone and are the venue's."""
    closed_at = None if receipt.closed_s is None else local_time(receipt.closed_s)
    return {
        "id": receipt.id,
        "venue_id": receipt.venue_id,
        "service_notification_id": receipt.service_notification_id,
        "status": receipt.status,
        "total": receipt.total,
        "payment_methods": [] if closed_at is None else [{**_CASH, "amount": receipt.total}],
        "created_at": local_time(receipt.opened_s),
        "updated_at": closed_at or local_time(receipt.opened_s),
        "closed_at": closed_at,
    }


def related(order: Order, venue: Venue, relations: tuple[str, ...]) -> dict[str, Any]:
    """What ``with`` adds to a row: ``receipt`` and ``customer`` are known, with a list of columns after a colon."""
    found: dict[str, Any] = {}
    for relation in relations:
        name, _, columns = relation.partition(":")
        if name == "receipt":
            receipt = venue.receipts.get(order.receipt_id or 0)
            found[name] = None if receipt is None else _only(receipt_row(receipt), columns)
        elif name == "customer":
            payload = order.payload
            customer = payload.get("customer") if isinstance(payload, dict) else None
            found[name] = _only(customer, columns) if isinstance(customer, dict) else None
    return found


def _only(row: dict[str, Any], columns: str) -> dict[str, Any]:
    wanted = [column for column in columns.split(",") if column]
    return {column: row.get(column) for column in wanted} if wanted else row


def _bent_row(row: dict[str, Any], order: Order, switches: Switches) -> dict[str, Any]:
    payload = row.get("payload")
    if isinstance(payload, dict):
        row["payload"] = _completed(payload, switches)
    if switches.empty_objects_as_lists and row["integration_response"] is None:
        row["integration_response"] = {}
    if switches.extra_fields:
        row |= {
            "receive_user_id": None if order.receipt_id is None else 7,
            "receive_terminal_id": None if order.receipt_id is None else 2,
            "receipt_id": order.receipt_id,
            "payment_status": "unpaid",
            "properties": {},
            "deleted_at": None,
            "not_in_any_document": {"nested": [1, {"deep": True}]},
        }
    return {name: _bent(value, name, switches) for name, value in row.items()}


def _completed(payload: dict[str, Any], switches: Switches) -> dict[str, Any]:
    """The payload with the keys that other switches then bend: absent ones as null, an absent discount as ``{}``."""
    meta = payload.get("meta", {})
    if switches.nulls_for_missing:
        payload = dict.fromkeys(_OPTIONAL_IN_PAYLOAD) | payload
        meta = dict.fromkeys(_OPTIONAL_IN_META) | meta if isinstance(meta, dict) else meta
    if switches.empty_objects_as_lists and isinstance(meta, dict):
        meta = {**meta, "discount": meta.get("discount") or {}}
    return {**payload, "meta": meta} if "meta" in payload else payload


def _bent(value: Any, name: str, switches: Switches) -> Any:
    if isinstance(value, dict):
        if not value and switches.empty_objects_as_lists:
            return []
        return {key: _bent(inner, key, switches) for key, inner in value.items()}
    if isinstance(value, list):
        return [_bent(inner, name, switches) for inner in value]
    if isinstance(value, bool):
        return int(value) if switches.booleans_as_numbers else value
    if isinstance(value, int | float) and switches.numbers_as_strings and name in _AMOUNTS:
        return f"{value:.4f}"
    return value
