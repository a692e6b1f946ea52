"""How one event looks to one subscription: what it does not get, and whether it gets Clopos' own row.

A masked value must not come back by another door: it is masked in ``data.order``, in both sides of ``data.changes``,
and in ``data.raw`` at every place it is read from (``SOURCES``), at every place that is known to repeat it, and, for
what names or reaches a person, wherever the same text turns up. A raw row that cannot be masked is left out.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson

from relay.core.choices import check_choices
from relay.core.errors import Problem

MAX_REDACT: Final = 64
"""Paths in one subscription's mask."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a subscription wants its events.

    Attributes:
        redact: paths in ``data.order`` that it gets as null, checked by ``check_redact``.
        include_raw: whether ``data.raw`` holds the row as Clopos sent it.
    """

    redact: tuple[str, ...] = ()
    include_raw: bool = False


PLAIN: Final = Shape()

ROUTING: Final = frozenset({"id", "venue_id", "status", "source_status"})
"""Fields of an order that tell what and where it is and how it stands; they cannot be masked."""

_CUSTOMERS: Final = ("payload.customer", "customer", "receipt.customer")
_PRODUCTS: Final = ("payload.products",)
_ORDERED: Final = "meta.order_product"
_METAS: Final = ("payload.meta", "meta")


def _each(places: Sequence[str], *fields: str) -> tuple[str, ...]:
    return tuple(f"{place}.{name}" for place in places for name in fields)


_CUSTOMER_IDS: Final = ("payload.customer_id", "customer_id", "receipt.customer_id")
_EXTRAS: Final = _each(_PRODUCTS, "product_modificators", f"{_ORDERED}.product_modificators")

SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "channel": ("type", "integration", "integration_id", "integration_uuid", "integration_status"),
    "channel.type": ("type",),
    "channel.integration": ("integration",),
    "channel.integration_id": ("integration_id",),
    "channel.integration_uuid": ("integration_uuid",),
    "channel.integration_status": ("integration_status",),
    "customer": (*_CUSTOMERS, *_CUSTOMER_IDS, "customer_ref_id"),
    "customer.id": (*_each(_CUSTOMERS, "id"), *_CUSTOMER_IDS),
    "customer.name": _each(_CUSTOMERS, "name"),
    "customer.phone": _each(_CUSTOMERS, "phone"),
    "customer.address": _each(_CUSTOMERS, "address"),
    "customer.ref": ("customer_ref_id",),
    "items": _PRODUCTS,
    "items.product_id": _each(_PRODUCTS, "product_id", f"{_ORDERED}.product.id"),
    "items.name": _each(_PRODUCTS, "name", "meta.name", f"{_ORDERED}.product.name"),
    "items.quantity": _each(_PRODUCTS, "count", f"{_ORDERED}.count"),
    "items.unit_price": _each(_PRODUCTS, "meta.price", f"{_ORDERED}.price", f"{_ORDERED}.product.price"),
    "items.portion_size": _each(_PRODUCTS, "portion_size", f"{_ORDERED}.portion_size"),
    "items.note": _each(
        _PRODUCTS, "note", "comment", "meta.note", "meta.comment", f"{_ORDERED}.note", f"{_ORDERED}.comment"
    ),
    "items.status": _each(_PRODUCTS, "status", f"{_ORDERED}.status"),
    "items.modifiers": _EXTRAS,
    "items.modifiers.id": _each(_EXTRAS, "modificator_id", "id", "modificator.id"),
    "items.modifiers.name": _each(_EXTRAS, "name", "modificator.name"),
    "items.modifiers.quantity": _each(_EXTRAS, "count", "quantity"),
    "items.modifiers.unit_price": _each(_EXTRAS, "price", "modificator.price"),
    "delivery_fee": ("payload.delivery_fee",),
    "total": _each(_METAS, "orderTotal"),
    "discount": _each(_METAS, "discount"),
    "discount.type": _each(_METAS, "discount.discount_type"),
    "discount.value": _each(_METAS, "discount.discount_value"),
    "service_charge": _each(_METAS, "apply_service_charge", "service_charge_value"),
    "service_charge.applied": _each(_METAS, "apply_service_charge"),
    "service_charge.value": _each(_METAS, "service_charge_value"),
    "currency": (),
    "sale_type_id": ("payload.sale_type_id", "payload.service.sale_type_id"),
    "comment": (*_each(_METAS, "comment"), "payload.comment"),
    "created_at": ("created_at",),
    "updated_at": ("updated_at",),
}
"""Every path of ``data.order`` that can be masked, and where in Clopos' row its value is read from or repeated.

A path goes through lists: ``items.note`` is the note of every item.
"""

PERSONAL: Final = ("customer", "comment", "items.note")
"""What ``forget`` takes away: who the customer is, and the free text in which people leave names and door codes."""

_FOLLOWED: Final = ("customer.name", "customer.phone", "customer.address", "customer.ref", "comment", "items.note")
"""Paths whose text, once masked, is masked wherever in the row it turns up, as in ``integration_response``."""

_FEEDS: Final = (b'{"order":', b'{"station":', b'{"venue":')
_ORDER: Final = _FEEDS[0]


def check_redact(paths: Sequence[object]) -> list[Problem]:
    """Check a mask before it is stored; an empty list means that all is well.

    Returns:
        A problem for each path that is unknown (with the nearest known one), not maskable, or there twice; pointers are
        relative to the list.
    """
    if len(paths) > MAX_REDACT:
        return [Problem("", f"At most {MAX_REDACT} paths.")]
    barred = dict.fromkeys(ROUTING, "Tells what and where the order is and how it stands; it cannot be masked.")
    return check_choices(paths, SOURCES, what="a path in data.order", example="customer.phone", barred=barred)


def apply_shape(data: bytes, raw: bytes | None, shape: Shape) -> bytes:
    """Give an event's data as a subscription wants it; deterministic, byte for byte.

    Args:
        data: the data as it was committed.
        raw: the row, where one was kept.
        shape: the subscription's wishes.

    Returns:
        The data; with ``include_raw`` a feed's event has ``raw`` as its last key, null where no row was kept or where
        it could not be masked. Operational events are left as they are.
    """
    if shape.redact and data.startswith(_ORDER):
        data, raw = redact(data, raw if shape.include_raw else None, shape.redact)
    if shape.include_raw and data.startswith(_FEEDS):
        return b'%b,"raw":%b}' % (data[:-1], b"null" if raw is None else raw)
    return data


def forget(data: bytes, raw: bytes | None) -> tuple[bytes, bytes | None]:
    """Take the customer out of an order's event: what ``forget_customer`` does to an order, to data and row alike."""
    return redact(data, raw, PERSONAL) if data.startswith(_ORDER) else (data, raw)


def redact(data: bytes, raw: bytes | None, paths: Sequence[str]) -> tuple[bytes, bytes | None]:
    """Null ``paths`` in an order's event, and what they were read from in its row."""
    content = orjson.loads(data)
    sides = {name: ({name: old}, {name: new}) for name, (old, new) in content["changes"].items()}
    holders = [content["order"], *(side for pair in sides.values() for side in pair)]
    followed = [each for each in _FOLLOWED if any(each == path or each.startswith(f"{path}.") for path in paths)]
    texts = _values(holders, followed) if raw is not None else []
    _null(holders, paths)
    content["changes"] = {name: [old[name], new[name]] for name, (old, new) in sides.items()}
    return orjson.dumps(content), None if raw is None else _redact_raw(raw, paths, followed, texts)


def _find(holders: Iterable[Any], path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Find where ``path`` leads to in each holder, through lists and PHP's lists with gaps: an object and its key."""
    head, _, rest = path.partition(".")
    for holder in holders:
        if isinstance(holder, list):
            yield from _find(holder, path)
        elif isinstance(holder, dict):
            if head in holder:
                if rest:
                    yield from _find([holder[head]], rest)
                else:
                    yield holder, head
            elif _is_php_list(holder):
                yield from _find(holder.values(), path)


def _values(holders: Sequence[Any], paths: Iterable[str]) -> list[Any]:
    return [holder[key] for path in paths for holder, key in _find(holders, path)]


def _null(holders: Sequence[Any], paths: Iterable[str]) -> None:
    for path in paths:
        for holder, key in _find(holders, path):
            holder[key] = None


def _is_php_list(holder: dict[str, Any]) -> bool:
    return bool(holder) and all(isinstance(value, dict) for value in holder.values())


def _verbatim(digits: str) -> msgspec.Raw:
    return msgspec.Raw(digits.encode())


def _redact_raw(raw: bytes, paths: Sequence[str], followed: Sequence[str], texts: Sequence[Any]) -> bytes | None:
    """Mask a row; numbers stay as they are spelled. None if it cannot be read: rather nothing than too much."""
    try:
        row = json.loads(raw, parse_int=_verbatim, parse_float=_verbatim)
        hides = _hider([*texts, *_values([row], (source for path in followed for source in SOURCES[path]))])
        _null([row], (source for path in paths for source in SOURCES[path]))
        return msgspec.json.encode(_scrub(row, hides) if hides else row)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None


_SHORT: Final = 5
"""Shorter texts are masked where they are the whole of a value, longer ones also where they are part of one."""

_PHONE_DIGITS: Final = 7

_NOT_DIGITS: Final = re.compile(r"\D+", re.ASCII)


def _hider(values: Sequence[Any]) -> Callable[[str], bool] | None:
    """Make the test for whether a text repeats one of the masked values."""
    texts = {text.strip() for value in values for text in _texts(value)} - {""}
    if not texts:
        return None
    parts = {form for text in texts if len(text) >= _SHORT for form in _spellings(text)}
    phones = {digits for text in texts if len(digits := _NOT_DIGITS.sub("", text)) >= _PHONE_DIGITS}

    def hides(text: str) -> bool:
        if text.strip() in texts or any(part in text for part in parts):
            return True
        digits = _NOT_DIGITS.sub("", text) if phones else ""
        return any(phone in digits for phone in phones)

    return hides


def _spellings(text: str) -> set[str]:
    """Give a text as it may stand in a value, and as it stands in a value that is itself JSON."""
    forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return forms | {form.replace("/", "\\/") for form in forms}


def _texts(value: Any) -> Iterator[str]:
    """Walk the texts in a masked value. Numbers count where they are phone numbers, so not ids and amounts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, msgspec.Raw) and len(digits := bytes(value).decode()) >= _PHONE_DIGITS:
        yield digits


def _scrub(value: Any, hides: Callable[[str], bool]) -> Any:
    if isinstance(value, str):
        return None if hides(value) else value
    if isinstance(value, dict):
        return {key: _scrub(each, hides) for key, each in value.items()}
    if isinstance(value, list):
        return [_scrub(each, hides) for each in value]
    if isinstance(value, msgspec.Raw):
        digits = bytes(value).decode()
        return None if len(digits) >= _PHONE_DIGITS and hides(digits) else value
    return value
