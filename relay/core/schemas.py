"""What partners may rely on: the shape of the envelope, and of the data of every type of event.

The models describe what is sent; nothing is validated against them on its way out. Fields may be added to them, so none
forbids others. Every field of an order that a subscription can mask may be null.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DecimalText = Annotated[
    str,
    Field(
        pattern=r"^-?(0|[1-9]\d*)(\.\d*[1-9])?$",
        description="A decimal, exactly as the source has it: plain notation, no exponent, no trailing zeros.",
        examples=["8.5"],
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Channel(_Model):
    """Where the order came from."""

    type: str | None = Field(examples=["CALL_CENTER_ORDER"])
    integration: str | None = Field(examples=["call_center_new"])
    integration_id: str | None
    integration_uuid: str | None
    integration_status: str | None = Field(examples=["CREATED"])


class Customer(_Model):
    """Who ordered. Personal data."""

    id: int | None
    name: str | None
    phone: str | None
    address: str | None
    ref: str | None = Field(description="The customer's id at the integration.")


class Modifier(_Model):
    """An extra on a line of the order."""

    id: int | None
    name: str | None
    quantity: DecimalText | None
    unit_price: DecimalText | None


class Item(_Model):
    """A line of the order."""

    product_id: int | None
    name: str | None
    quantity: DecimalText | None
    unit_price: DecimalText | None
    portion_size: DecimalText | None
    note: str | None
    status: str | None = Field(examples=["new"])
    modifiers: list[Modifier] | None


class Discount(_Model):
    """The discount as the source states it."""

    type: int | str | None = Field(description="As the source numbers it.")
    value: DecimalText | None


class ServiceCharge(_Model):
    """The service charge as the source states it."""

    applied: bool | None
    value: DecimalText | None


class Order(_Model):
    """An order as last seen."""

    id: int
    venue_id: int | None
    status: str = Field(
        description="pending, accepted, cancelled, delivered; any other status of the source in lower case.",
        examples=["accepted"],
    )
    source_status: str | None = Field(description="The status, verbatim.", examples=["RECEIVED"])
    channel: Channel | None
    customer: Customer | None
    items: list[Item] | None
    delivery_fee: DecimalText | None
    total: DecimalText | None = Field(description="Only where the source states one; never computed.")
    discount: Discount | None
    service_charge: ServiceCharge | None
    currency: str | None = Field(description="As configured for the brand; the source does not say.")
    sale_type_id: int | None
    comment: str | None
    created_at: str | None = Field(description="As the source says it; do not compare it with your own clock.")
    updated_at: str | None = Field(description="As the source says it; do not compare it with your own clock.")


class Station(_Model):
    """A station as last seen."""

    id: int
    name: str | None
    status: Literal["active", "inactive"]
    type: Literal["kitchen", "other"]
    printable: bool
    created_at: str | None
    updated_at: str | None


class Venue(_Model):
    """A venue as last seen."""

    id: int
    name: str | None
    is_main: bool


Changes = Annotated[
    dict[str, tuple[Any, Any]],
    Field(
        description="Every top-level field that differs, but updated_at, as [old, new]; empty for created and removed."
    ),
]
Raw = Annotated[
    dict[str, Any] | None,
    Field(description="Only with include_raw: the row as the source sent it, null where none was kept."),
]
PreviousStatus = Annotated[
    str | None, Field(description="The status before, also where it is the same; null where none was known.")
]


class OrderData(_Model):
    """An order and what became of it."""

    order: Order
    previous_status: PreviousStatus
    changes: Changes
    raw: Raw = None


class StationData(_Model):
    """A station and what became of it."""

    station: Station
    previous_status: PreviousStatus
    changes: Changes
    raw: Raw = None


class VenueData(_Model):
    """A venue and what became of it."""

    venue: Venue
    changes: Changes
    raw: Raw = None


class TestData(_Model):
    """A test, sent on request."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    message: str


class DeliveryDeadData(_Model):
    """A delivery that was given up."""

    subscription: str
    delivery: str
    event: str
    type: str
    subject: str
    attempts: int
    last_error: str | None


class SubscriptionData(_Model):
    """A subscription that was disabled or enabled."""

    subscription: str
    name: str | None
    reason: str | None
    since: str


class BrandData(_Model):
    """A brand that fails, or works again."""

    error: str | None
    since: str


class Event(_Model):
    """The body of every webhook request."""

    id: str = Field(pattern="^evt_[0-9a-v]{32}$", description="The same on every attempt and every replay.")
    type: str
    timestamp: str = Field(
        description="When the relay saw it: RFC 3339, UTC, milliseconds.", json_schema_extra={"format": "date-time"}
    )
    brand: str | None
    venue_id: int | None
    subject: str = Field(description="What it happened to; unique with brand and venue_id.")
    sequence: int = Field(description="Strictly increasing for one subject in one venue.")
    previous_sequence: int | None = Field(
        description="That of the event before of the same subject, whatever the subscription's filter."
    )
    origin: Literal["poll", "reconcile", "command", "backfill", "test"]
