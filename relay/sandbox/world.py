"""The make-believe Clopos itself, in memory and without HTTP: what exists, and what the restaurant can do to it."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from random import Random
from typing import Any

from relay.sandbox import stamps
from relay.sandbox.book import OrderBook
from relay.sandbox.menu import draw_payload
from relay.sandbox.model import (
    DELIVERED,
    IGNORE,
    PENDING,
    RECEIVED,
    ROW_FIELDS,
    Change,
    Client,
    Integrator,
    Order,
    Receipt,
    Station,
    Venue,
    dumps,
)
from relay.sandbox.switches import Switches

_REMEMBERED_CHANGES = 200_000


class UnknownError(LookupError):
    """The world holds no such brand, venue, order or station."""


@dataclass(slots=True)
class Brand:
    """A tenant: its venues, its orders, and which resources it has not bought (``missing_modules``)."""

    name: str
    is_test: bool = True
    venues: dict[int, Venue] = field(default_factory=dict)
    orders: OrderBook = field(default_factory=OrderBook)
    missing_modules: set[str] = field(default_factory=set)
    last_order_id: int = 0
    last_receipt_id: int = 0


class World:
    """All state of the stand-in.

    Args:
        clock: Unix seconds; give a virtual one to run an evening in a blink.
        seed: of the chance that makes up orders nobody described.
        switches: how it misbehaves; the defaults when None.

    Attributes:
        history: the changes that happened, oldest first (the last 200 000).
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, seed: int = 0, switches: Switches | None = None
    ) -> None:
        self.clock = clock
        self.draw = Random(seed)  # noqa: S311 - make-believe, and meant to be repeatable
        self.switches = switches or Switches()
        self.brands: dict[str, Brand] = {}
        self.clients: dict[str, Client] = {}
        self.integrators: dict[str, Integrator] = {}
        self.history: deque[Change] = deque(maxlen=_REMEMBERED_CHANGES)

    def add_brand(self, name: str, *, is_test: bool = True, missing_modules: Iterable[str] = ()) -> Brand:
        """Make a brand, or change what one is allowed."""
        brand = self.brands.setdefault(name, Brand(name))
        brand.is_test, brand.missing_modules = is_test, set(missing_modules)
        return brand

    def add_client(
        self,
        client_id: str,
        client_secret: str,
        *,
        brands: Iterable[str],
        enabled: bool = True,
        forbidden: Iterable[str] = (),
    ) -> Client:
        """Make credentials, or replace those of that ``client_id``."""
        client = Client(client_id, client_secret, set(brands), enabled, set(forbidden))
        self.clients[client_id] = client
        return client

    def add_integrator(self, integrator_id: str, *, active: bool = True, is_test: bool = True) -> Integrator:
        """Make an integrator, or replace the one of that id."""
        integrator = Integrator(integrator_id, active=active, is_test=is_test)
        self.integrators[integrator_id] = integrator
        return integrator

    def add_venue(self, brand: str, venue: Venue) -> Venue:
        """Open a venue, or put another in its place."""
        self.brand(brand).venues[venue.id] = venue
        self._note(brand, venue.id, "venue.changed", venue.id)
        return venue

    def remove_venue(self, brand: str, venue_id: int) -> None:
        """Close a venue: it is listed no more, and asking for it is a 404."""
        del self.brand(brand).venues[self.venue(brand, venue_id).id]
        self._note(brand, venue_id, "venue.removed", venue_id)

    def brand(self, name: str) -> Brand:
        """The brand.

        Raises:
            UnknownError: there is none of that name.
        """
        if name not in self.brands:
            raise UnknownError(f"there is no brand {name!r}")
        return self.brands[name]

    def venue(self, brand: str, venue_id: int) -> Venue:
        """The venue.

        Raises:
            UnknownError: the brand has none of that id.
        """
        venues = self.brand(brand).venues
        if venue_id not in venues:
            raise UnknownError(f"brand {brand!r} has no venue {venue_id}")
        return venues[venue_id]

    def order(self, brand: str, venue_id: int, order_id: int) -> Order:
        """The order.

        Raises:
            UnknownError: that venue has none of that id.
        """
        order = self.brand(brand).orders.get(venue_id, order_id)
        if order is None:
            raise UnknownError(f"venue {venue_id} of {brand!r} has no order {order_id}")
        return order

    def place(self, brand: str, venue_id: int, **fields: Any) -> Order:
        """Place an order: a made-up one, but for the fields given.

        Args:
            brand: an existing brand.
            venue_id: an existing venue of it.
            fields: any of the row's fields. ``payload`` replaces the whole made-up payload; ``id`` defaults to the
                brand's next; ``created_at`` and ``updated_at`` to now. Keys that the documented row lacks are added.

        Raises:
            UnknownError: there is no such brand or venue.
        """
        self.venue(brand, venue_id)
        shelf = self.brand(brand)
        wanted = dict(fields)
        order_id = wanted.pop("id", shelf.last_order_id + 1)
        payload = wanted.pop("payload") if "payload" in wanted else draw_payload(self.draw, venue_id)
        now = self.clock()
        order = Order(brand, venue_id, order_id, PENDING, dumps(payload), stamps.stamp(now), self._now_as_updated())
        _set_fields(order, wanted)
        self.insert(order)
        self._note(brand, venue_id, "order.placed", order.id, order.status)
        return order

    def place_many(
        self, brand: str, venue_id: int, *, count: int, spacing_s: float = 0.0, **fields: Any
    ) -> list[Order]:
        """Place orders that came in one after the other, the last of them now.

        Args:
            brand: an existing brand.
            venue_id: an existing venue of it.
            count: how many.
            spacing_s: from one to the next, in seconds.
            fields: as for ``place``, the same for all.
        """
        now_s, offset_s = self.clock(), self._updated_offset_s()
        placed = []
        for nth in range(count):
            at_s = now_s - (count - 1 - nth) * spacing_s
            times = {"created_at": stamps.stamp(at_s), "updated_at": stamps.stamp(at_s + offset_s)}
            placed.append(self.place(brand, venue_id, **(times | fields)))
        return placed

    def insert(self, order: Order) -> None:
        """Put a finished row in, as it is, without noting a change."""
        shelf = self.brand(order.brand)
        shelf.orders.add(order)
        shelf.last_order_id = max(shelf.last_order_id, order.id)

    def accept(self, order: Order) -> None:
        """A clerk confirms: RECEIVED, and a receipt is opened."""
        self.set_status(order, RECEIVED)

    def deliver(self, order: Order) -> None:
        """It arrived: DELIVERED, and the receipt is closed."""
        self.set_status(order, DELIVERED)

    def ignore(self, order: Order) -> None:
        """It is cancelled: IGNORE, as a PUT does it."""
        self.set_status(order, IGNORE)

    def set_status(self, order: Order, status: str) -> None:
        """Give an order any status, documented or not; the one that it has changes nothing, ``updated_at`` included."""
        if order.status == status:
            return
        with self.brand(order.brand).orders.changing(order):
            order.status = status
            order.updated_at = self._updated_at(order.updated_at, status_only=True)
        if status in {RECEIVED, DELIVERED}:
            self.open_receipt(order, at_s=self.clock())
        if status == DELIVERED:
            self.close_receipt(order, at_s=self.clock())
        self._note(order.brand, order.venue_id, "order.status", order.id, status)

    def edit(self, order: Order, *, touch: bool = True, merge: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Change an order's content.

        Args:
            order: which.
            touch: whether ``updated_at`` moves; an ``updated_at`` among the fields is written as given.
            merge: merged into the payload, object by object; lists and scalars are replaced.
            fields: row fields to set, ``payload`` (whole) among them.
        """
        with self.brand(order.brand).orders.changing(order):
            if "payload" in fields:
                order.payload_json = dumps(fields.pop("payload"))
            if merge:
                order.payload_json = dumps(_merged(order.payload, merge))
            if touch:
                order.updated_at = self._updated_at(order.updated_at, status_only=False)
            _set_fields(order, fields)
        self._note(order.brand, order.venue_id, "order.edited", order.id, order.status)

    def write_raw(self, order: Order, text: str | None) -> None:
        """From now on the row is this text, verbatim, JSON or not; None gives the real row back."""
        order.raw = text

    def remove(self, order: Order) -> None:
        """Make an order vanish, as a deletion does."""
        self.brand(order.brand).orders.remove(order)
        self._note(order.brand, order.venue_id, "order.removed", order.id)

    def put_station(self, brand: str, venue_id: int, station_id: int, **fields: Any) -> Station:
        """Change a station, or make one; ``updated_at`` moves unless given.

        Raises:
            UnknownError: there is no such venue, or a field that stations do not have.
        """
        venue = self.venue(brand, venue_id)
        now = stamps.stamp(self.clock())
        station = venue.stations.get(station_id) or Station(station_id, f"Station {station_id}", now, now)
        for name, value in ({"updated_at": now} | fields).items():
            if name not in Station.__slots__ or name == "id":
                raise UnknownError(f"a station has no field {name!r} to set")
            setattr(station, name, value)
        venue.stations[station_id] = station
        self._note(brand, venue_id, "station.changed", station_id, station.status)
        return station

    def remove_station(self, brand: str, venue_id: int, station_id: int) -> None:
        """Make a station disappear."""
        if self.venue(brand, venue_id).stations.pop(station_id, None) is None:
            raise UnknownError(f"venue {venue_id} of {brand!r} has no station {station_id}")
        self._note(brand, venue_id, "station.removed", station_id)

    def set_stop(self, brand: str, venue_id: int, product_id: int, limit: float | None) -> None:
        """Limit a product's remaining count, 0 for sold out; None lifts the limit."""
        stops = self.venue(brand, venue_id).stop_list
        if limit is None:
            stops.pop(product_id, None)
        else:
            stops[product_id] = (limit, int(self.clock() * 1000))
        self._note(brand, venue_id, "stop.changed", product_id)

    def open_receipt(self, order: Order, *, at_s: float) -> None:
        """Open an order's receipt, once."""
        if order.receipt_id is None and (venue := self.brand(order.brand).venues.get(order.venue_id)):
            shelf = self.brand(order.brand)
            shelf.last_receipt_id += 1
            order.receipt_id = shelf.last_receipt_id
            venue.receipts[order.receipt_id] = Receipt(
                order.receipt_id, order.venue_id, order.id, _total(order.payload), at_s
            )

    def close_receipt(self, order: Order, *, at_s: float) -> None:
        """Close an order's receipt."""
        venue = self.brand(order.brand).venues.get(order.venue_id)
        if venue and order.receipt_id in venue.receipts:
            receipt = venue.receipts[order.receipt_id]
            receipt.status, receipt.closed_s = 2, at_s

    def _updated_at(self, before: str, *, status_only: bool) -> str:
        if self.switches.updated_at == "still" and status_only:
            return before
        if self.switches.updated_at == "backwards":
            with suppress(ValueError, TypeError):  # a row may hold anything, if somebody wrote it there
                return stamps.stamp(stamps.epoch_s(before) - 1)
        return self._now_as_updated()

    def _now_as_updated(self) -> str:
        return stamps.stamp(self.clock() + self._updated_offset_s())

    def _updated_offset_s(self) -> int:
        return 0 if self.switches.updated_at == "honest" else stamps.BAKU_OFFSET_S

    def _note(self, brand: str, venue_id: int, what: str, subject_id: int, status: str | int | None = None) -> None:
        self.history.append(Change(self.clock(), brand, venue_id, what, subject_id, status))


def _set_fields(order: Order, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name in {"id", "venue_id"}:
            raise UnknownError(f"{name} of an order cannot be changed")
        if name in ROW_FIELDS:
            setattr(order, name, value)
        else:
            order.extra = {**(order.extra or {}), name: value}


def _merged(into: Any, changes: Any) -> Any:
    if not (isinstance(into, Mapping) and isinstance(changes, Mapping)):
        return changes
    return {**into, **{key: _merged(into.get(key), value) for key, value in changes.items()}}


def _total(payload: Any) -> str:
    """Add up an order, for its receipt; a payload that is not an order costs nothing."""
    try:
        lines = sum(Decimal(str(line["meta"]["price"])) * Decimal(str(line["count"])) for line in payload["products"])
        total = lines + Decimal(str(payload.get("delivery_fee", 0)))
    except (LookupError, TypeError, AttributeError, InvalidOperation):
        return "0"
    return f"{total:.4f}"
