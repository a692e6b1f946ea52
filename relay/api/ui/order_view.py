"""How does a person read an order, and what of it is kept back unless asked for?  Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from relay.api.ui.formats import NOTHING
from relay.core.shaping import PERSONAL, redact

HIDDEN: Final = "hidden"
"""What stands in the place of personal data."""

_CUSTOMER: Final = {"name": "Name", "phone": "Phone", "address": "Address", "ref": "Reference"}
_CHANNEL: Final = {
    "type": "Channel",
    "integration": "Integration",
    "integration_id": "Id there",
    "integration_uuid": "UUID there",
    "integration_status": "Status there",
}
_FREE_TEXT: Final = frozenset(path.rpartition(".")[2] for path in PERSONAL) - {"customer"}
_MOST_SHOWN: Final = 120
"""Characters of a value in the list of changes."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a list of facts; ``hidden`` says that the value is kept back."""

    label: str
    value: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Extra:
    """A modifier of a line."""

    quantity: str
    name: str
    price: str


@dataclass(frozen=True, slots=True)
class Line:
    """What was ordered."""

    quantity: str
    name: str
    price: str
    portion: str | None
    status: str | None
    note: Fact | None
    extras: tuple[Extra, ...]


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as a person reads it.

    Attributes:
        keeps_back: there is something that would be shown if asked for.
    """

    id: int
    status: str
    source_status: str | None
    currency: str | None
    lines: tuple[Line, ...]
    amounts: tuple[Fact, ...]
    customer: tuple[Fact, ...]
    channel: tuple[Fact, ...]
    comment: Fact | None
    times: tuple[Fact, ...]
    keeps_back: bool


@dataclass(frozen=True, slots=True)
class ChangeView:
    """One field that differs."""

    field: str
    old: str
    new: str
    hidden: bool = False


def order_view(order: Mapping[str, Any], *, reveal: bool) -> OrderView:
    """Show an order.

    Args:
        order: the contract's ``data.order``.
        reveal: with who ordered, and with what people wrote.
    """
    customer = order.get("customer") or {}
    facts = tuple(
        _personal(label, customer[name], reveal=reveal) for name, label in _CUSTOMER.items() if customer.get(name)
    )
    comment = _note("Comment", order.get("comment"), reveal=reveal)
    lines = tuple(_line(item, reveal=reveal) for item in order.get("items") or ())
    channel = order.get("channel") or {}
    return OrderView(
        id=order["id"],
        status=order["status"],
        source_status=order.get("source_status"),
        currency=order.get("currency"),
        lines=lines,
        amounts=_amounts(order),
        customer=facts,
        channel=tuple(Fact(label, str(channel[name])) for name, label in _CHANNEL.items() if channel.get(name)),
        comment=comment,
        times=tuple(
            Fact(label, _clopos_time(str(order[name])))
            for name, label in (("created_at", "Placed"), ("updated_at", "Last touched"))
            if order.get(name)
        ),
        keeps_back=not reveal and bool(facts or comment or any(line.note for line in lines)),
    )


def masked(data: Mapping[str, Any]) -> dict[str, Any]:
    """Give an event's data with nulls for who ordered and what people wrote, wherever either is repeated."""
    if "order" not in data:
        return dict(data)
    plain = {name: value for name, value in data.items() if name != "raw"}
    raw = data.get("raw")
    hidden, hidden_raw = redact(orjson.dumps(plain), None if raw is None else orjson.dumps(raw), PERSONAL)
    content: dict[str, Any] = orjson.loads(hidden)
    if "raw" in data:
        content["raw"] = None if hidden_raw is None else orjson.loads(hidden_raw)
    return content


def changes_view(changes: Mapping[str, Sequence[Any]], *, reveal: bool) -> tuple[ChangeView, ...]:
    """Show which fields differ, and how."""
    shown = []
    for name, (old, new) in changes.items():
        if not reveal and (name in _FREE_TEXT or name == "customer"):
            shown.append(ChangeView(_words(name), HIDDEN, HIDDEN, hidden=True))
        else:
            shown.append(ChangeView(_words(name), _brief(old), _brief(new)))
    return tuple(shown)


def _line(item: Mapping[str, Any], *, reveal: bool) -> Line:
    portion = item.get("portion_size")
    return Line(
        quantity=_text(item.get("quantity")),
        name=_text(item.get("name")),
        price=_text(item.get("unit_price")),
        portion=None if portion in (None, "1") else str(portion),
        status=item.get("status"),
        note=_note("Note", item.get("note"), reveal=reveal),
        extras=tuple(
            Extra(_text(extra.get("quantity")), _text(extra.get("name")), _text(extra.get("unit_price")))
            for extra in item.get("modifiers") or ()
        ),
    )


def _amounts(order: Mapping[str, Any]) -> tuple[Fact, ...]:
    """What the source states; nothing is added up here, as it is not known how the restaurant does."""
    found = []
    if order.get("delivery_fee") is not None:
        found.append(Fact("Delivery", str(order["delivery_fee"])))
    discount = order.get("discount")
    if discount and discount.get("value") is not None:
        found.append(Fact(f"Discount (type {_text(discount.get('type'))})", str(discount["value"])))
    charge = order.get("service_charge")
    if charge and charge.get("value") is not None:
        applied = {True: "", False: " (not applied)"}.get(charge.get("applied"), "")
        found.append(Fact(f"Service charge{applied}", str(charge["value"])))
    total = order.get("total")
    found.append(Fact("Total", "not stated by Clopos" if total is None else str(total)))
    return tuple(found)


def _personal(label: str, value: Any, *, reveal: bool) -> Fact:
    return Fact(label, str(value)) if reveal else Fact(label, HIDDEN, hidden=True)


def _note(label: str, value: Any, *, reveal: bool) -> Fact | None:
    return _personal(label, value, reveal=reveal) if value else None


def _text(value: Any) -> str:
    return NOTHING if value is None else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _brief(value: Any) -> str:
    """A value in a few characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return f"{len(value)} line" + ("" if len(value) == 1 else "s")
    if isinstance(value, dict):
        text = ", ".join(f"{_words(name)} {_brief(each)}" for name, each in value.items() if each is not None)
    else:
        text = str(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"


def _clopos_time(text: str) -> str:
    """Clopos' own clock, without zone: what it calls UTC is its restaurant's time in some fields."""
    return text.replace("T", " ").removesuffix("Z").removesuffix(".000000") + " on Clopos' clock"
