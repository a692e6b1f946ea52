"""What exists at the make-believe Clopos: brands, venues, orders, stations, receipts, and who may ask."""

import json
from dataclasses import dataclass, field
from typing import Any

ROW_FIELDS = (
    "id",
    "venue_id",
    "type",
    "integration",
    "integration_uuid",
    "integration_id",
    "customer_ref_id",
    "integration_status",
    "status",
    "payload",
    "created_at",
    "updated_at",
    "integration_response",
)
"""An order row's keys, in the documented order."""

PENDING, RECEIVED, IGNORE, DELIVERED = "PENDING", "RECEIVED", "IGNORE", "DELIVERED"


def dumps(value: Any) -> str:
    """Write JSON as PHP does: compact, everything beyond ASCII escaped (half a surrogate pair survives that way)."""
    return json.dumps(value, separators=(",", ":"))


@dataclass(slots=True)
class Order:
    """One order. Its payload is kept as JSON text, so that 100 000 of them fit in memory.

    Attributes:
        brand: name of the brand it lies in.
        venue_id: the venue that owns it; ids are unique within a venue.
        extra: further keys for the row, appended after the documented ones.
        raw: when set, this text is the row, verbatim and unchecked (for rows that no JSON encoder would write).
        receipt_id: the receipt opened when the order was accepted.
    """

    brand: str
    venue_id: int
    id: int
    status: str
    payload_json: str
    created_at: str
    updated_at: str
    type: str = "CALL_CENTER_ORDER"
    integration: str = "call_center_new"
    integration_uuid: str | None = None
    integration_id: str | int | None = None
    customer_ref_id: str | None = None
    integration_status: str = "CREATED"
    integration_response: Any = None
    extra: dict[str, Any] | None = None
    raw: str | None = None
    receipt_id: int | None = None

    @property
    def payload(self) -> Any:
        """The payload, parsed anew on each read: changing it does not change the order."""
        return json.loads(self.payload_json)

    def head(self) -> dict[str, Any]:
        """The row without its payload, as a PUT answers it."""
        fields = {name: getattr(self, name) for name in ROW_FIELDS if name != "payload"}
        return {**fields, **(self.extra or {})}

    def row(self) -> dict[str, Any]:
        """The row as the documentation shows it, before any switch bends it."""
        fields = {name: getattr(self, name) for name in ROW_FIELDS}
        return {**fields, **(self.extra or {})}


@dataclass(slots=True)
class Station:
    """A printer or a screen in a venue's kitchen; ``status`` is 1 (active) or 0."""

    id: int
    name: str
    created_at: str
    updated_at: str
    status: int = 1
    type: int = 0
    printable: int = 1

    def row(self) -> dict[str, Any]:
        """The documented row."""
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "type": self.type,
            "printable": self.printable,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


@dataclass(slots=True)
class Receipt:
    """What the POS opens for an accepted order; ``status`` is 1 (open) or 2 (closed)."""

    id: int
    venue_id: int
    service_notification_id: int
    total: str
    opened_s: float
    status: int = 1
    closed_s: float | None = None


@dataclass(slots=True)
class Venue:
    """One restaurant of a brand."""

    id: int
    name: str
    is_main: bool = False
    stations: dict[int, Station] = field(default_factory=dict)
    receipts: dict[int, Receipt] = field(default_factory=dict)
    stop_list: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Product id to (remaining count, change time in Unix milliseconds)."""


@dataclass(slots=True)
class Client:
    """A set of credentials: which brands it opens, and which resources it may not touch."""

    client_id: str
    client_secret: str = field(repr=False)
    brands: set[str] = field(default_factory=set)
    enabled: bool = True
    forbidden: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Integrator:
    """The third party that calls."""

    integrator_id: str
    active: bool = True
    is_test: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that truly happened, in the order it happened: what a watcher ought to notice.

    Attributes:
        at_s: when (Unix seconds of the world's clock).
        what: ``order.placed``, ``order.status``, ``order.edited``, ``order.removed``, ``station.changed``, …
        subject_id: id of the order, station, venue or product.
        status: the subject's status afterwards, None where it has none.
    """

    at_s: float
    brand: str
    venue_id: int
    what: str
    subject_id: int
    status: str | int | None = None
