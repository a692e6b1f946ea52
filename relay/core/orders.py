"""What an order is: a Clopos row read as the contract's ``data.order``.

The rows are Clopos' (``GET /orders``); the result has the same fields in the same order whatever the row lacks. Quirks
that were met: ``[]`` where an object is meant, money as int, decimal or string, ids as strings, 0 for "no customer", a
``payload`` that a PUT's answer leaves out, ``meta`` beside the payload, statuses that nobody documented.
"""

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from relay.core.errors import RowUnreadable
from relay.core.normalize import decimal, first, flag, identity, integer, mapping, objects, text

STATUSES: Final[Mapping[str, str]] = {
    "PENDING": "pending",
    "RECEIVED": "accepted",
    "IGNORE": "cancelled",
    "DELIVERED": "delivered",
}
"""The documented statuses and what they are called here; any other is passed on in lower case."""

TERMINAL_STATUSES: Final = frozenset(
    {
        "delivered",
        "cancelled",
        "canceled",
        "completed",
        "closed",
        "rejected",
        "refunded",
        "removed",
        "deleted",
    }
)
"""Statuses after which an order is no longer open. Only the first two are documented."""

UNKNOWN_STATUS: Final = "unknown"
"""The status of a row that states none."""


class Channel(TypedDict):
    """Where an order came from."""

    type: str | None
    integration: str | None
    integration_id: str | None
    integration_uuid: str | None
    integration_status: str | None


class Customer(TypedDict):
    """Who ordered: personal data."""

    id: int | None
    name: str | None
    phone: str | None
    address: str | None
    ref: str | None


class Modifier(TypedDict):
    """An extra on a line of an order."""

    id: int | None
    name: str | None
    quantity: str | None
    unit_price: str | None


class Item(TypedDict):
    """A line of an order."""

    product_id: int | None
    name: str | None
    quantity: str | None
    unit_price: str | None
    portion_size: str | None
    note: str | None
    status: str | None
    modifiers: list[Modifier]


class Discount(TypedDict):
    """A discount as the source states it; the type is a number there, of unknown meaning."""

    type: int | str | None
    value: str | None


class ServiceCharge(TypedDict):
    """A service charge as the source states it."""

    applied: bool | None
    value: str | None


class Order(TypedDict):
    """The contract's ``data.order``; amounts are decimal strings."""

    id: int
    venue_id: int | None
    status: str
    source_status: str | None
    channel: Channel
    customer: Customer | None
    items: list[Item]
    delivery_fee: str | None
    total: str | None
    discount: Discount | None
    service_charge: ServiceCharge | None
    currency: str | None
    sale_type_id: int | None
    comment: str | None
    created_at: str | None
    updated_at: str | None


def normalize(row: Mapping[str, Any], *, currency: str | None) -> Order:
    """Read a row of ``GET /orders`` as an order.

    Args:
        row: the row; numbers as int or Decimal.
        currency: what the brand's amounts are in, as it is configured; Clopos does not say.

    Returns:
        The order, its keys in the contract's order. What the row lacks, or holds in an unreadable form, is None.

    Raises:
        RowUnreadable: it has no usable id, so nothing can be said about it.
    """
    order_id = identity(row.get("id"))
    if order_id is None:
        raise RowUnreadable("The order has no usable id.", reason="no_id")
    payload = mapping(row.get("payload"))
    service = mapping(payload.get("service"))
    meta = mapping(payload.get("meta")) or mapping(row.get("meta"))
    source_status = text(row.get("status"))
    return {
        "id": order_id,
        "venue_id": integer(first(row.get("venue_id"), service.get("venue_id"))),
        "status": status_of(source_status),
        "source_status": source_status,
        "channel": _channel(row),
        "customer": _customer(payload.get("customer"), ref=text(row.get("customer_ref_id"))),
        "items": [_item(product) for product in objects(payload.get("products"))],
        "delivery_fee": decimal(payload.get("delivery_fee")),
        "total": decimal(meta.get("orderTotal")),
        "discount": _discount(mapping(meta.get("discount"))),
        "service_charge": _service_charge(meta),
        "currency": currency,
        "sale_type_id": integer(first(payload.get("sale_type_id"), service.get("sale_type_id"))),
        "comment": text(first(meta.get("comment"), payload.get("comment"))),
        "created_at": text(row.get("created_at")),
        "updated_at": text(row.get("updated_at")),
    }


def status_of(source_status: str | None) -> str:
    """Name a status of Clopos' as the contract does; an unknown one is passed on in lower case."""
    if source_status is None:
        return UNKNOWN_STATUS
    known = STATUSES.get(source_status)
    if known is not None:
        return known
    bare = source_status.strip()
    return STATUSES.get(bare.upper()) or bare.lower() or UNKNOWN_STATUS


def is_deleted(row: Mapping[str, Any]) -> bool:
    """Tell whether a row says that its order was removed; a zero date is no date."""
    deleted_at = row.get("deleted_at")
    return bool(deleted_at) and not (isinstance(deleted_at, str) and not deleted_at.strip(" 0-:TZ."))


def is_open(order: Mapping[str, Any]) -> bool:
    """Tell whether something may still happen to an order: it is neither delivered, cancelled nor otherwise done."""
    return order["status"] not in TERMINAL_STATUSES


def merge_without_payload(known: Order, row: Mapping[str, Any]) -> Order:
    """Bring a known order up to date with a row that lacks its ``payload``, as the answer to a PUT does.

    Args:
        known: the order as last known.
        row: the answer; a field that it does not name stays as known.

    Returns:
        A new order: status, channel, customer reference and times from the row, the content from ``known``.

    Raises:
        RowUnreadable: the row has no usable id, or another order's.
    """
    if identity(row.get("id")) != known["id"]:
        raise RowUnreadable("The answer is about another order, or has no usable id.", reason="no_id")
    merged: Order = {**known}
    if row.get("status") is not None:
        merged["source_status"] = text(row["status"])
        merged["status"] = status_of(merged["source_status"])
    for key in ("created_at", "updated_at"):
        if row.get(key) is not None:
            merged[key] = text(row[key])
    merged["channel"] = _channel({**known["channel"], **row})
    customer = known["customer"]
    ref = text(row.get("customer_ref_id"))
    if customer is not None and ref is not None:
        merged["customer"] = {**customer, "ref": ref}
    return merged


def forget_customer(order: Order) -> Order:
    """Give the order without its customer: what names or reaches a person is gone, what was ordered stays.

    The customer goes as a whole, its id too, as that leads back to the person in Clopos. So do the comment and the
    items' notes: free text in which people leave names, phone numbers and door codes.
    """
    items: list[Item] = [{**item, "note": None} for item in order["items"]]
    return {**order, "customer": None, "items": items, "comment": None}


def _channel(row: Mapping[str, Any]) -> Channel:
    return {
        "type": text(row.get("type")),
        "integration": text(row.get("integration")),
        "integration_id": text(row.get("integration_id")),
        "integration_uuid": text(row.get("integration_uuid")),
        "integration_status": text(row.get("integration_status")),
    }


def _customer(value: Any, *, ref: str | None) -> Customer | None:
    source = mapping(value)
    if not source and ref is None:
        return None
    customer: Customer = {
        "id": identity(source.get("id")),
        "name": text(source.get("name")),
        "phone": text(source.get("phone")),
        "address": text(source.get("address")),
        "ref": ref,
    }
    return customer if any(each is not None for each in customer.values()) else None


def _item(product: Mapping[str, Any]) -> Item:
    meta = mapping(product.get("meta"))
    ordered = mapping(meta.get("order_product"))
    catalogued = mapping(ordered.get("product"))
    extras = objects(product.get("product_modificators")) or objects(ordered.get("product_modificators"))
    return {
        "product_id": integer(first(product.get("product_id"), catalogued.get("id"))),
        "name": text(first(catalogued.get("name"), meta.get("name"), product.get("name"))),
        "quantity": decimal(first(product.get("count"), ordered.get("count"))),
        "unit_price": decimal(first(meta.get("price"), ordered.get("price"), catalogued.get("price"))),
        "portion_size": decimal(first(product.get("portion_size"), ordered.get("portion_size"))),
        "note": text(_note(product, meta, ordered)),
        "status": text(first(ordered.get("status"), product.get("status"))),
        "modifiers": [_modifier(extra) for extra in extras],
    }


def _note(*places: Mapping[str, Any]) -> Any:
    for place in places:
        found = first(place.get("note"), place.get("comment"))
        if found is not None:
            return found
    return None


def _modifier(extra: Mapping[str, Any]) -> Modifier:
    catalogued = mapping(extra.get("modificator"))
    return {
        "id": integer(first(extra.get("modificator_id"), catalogued.get("id"), extra.get("id"))),
        "name": text(first(extra.get("name"), catalogued.get("name"))),
        "quantity": decimal(first(extra.get("count"), extra.get("quantity"))),
        "unit_price": decimal(first(extra.get("price"), catalogued.get("price"))),
    }


def _discount(source: Mapping[str, Any]) -> Discount | None:
    kind = source.get("discount_type")
    value = decimal(source.get("discount_value"))
    if kind is None and value is None:
        return None
    number = integer(kind)
    return {"type": number if number is not None else text(kind), "value": value}


def _service_charge(meta: Mapping[str, Any]) -> ServiceCharge | None:
    applied = flag(meta.get("apply_service_charge"))
    value = decimal(meta.get("service_charge_value"))
    return None if applied is None and value is None else {"applied": applied, "value": value}
