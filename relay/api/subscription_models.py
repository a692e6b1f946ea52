"""What does the API take of a subscription?"""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from relay.api.fields import (
    BrandNames,
    Text,
    VenueIds,
    duration,
    duration_schema,
    parse_moment,
    sentence,
    whole,
    write_moment,
)
from relay.api.validation import Body, wrong
from relay.core.headers import MAX_HEADERS
from relay.core.netpolicy import MAX_URL_CHARS
from relay.core.rates import parse_rate
from relay.core.retry import MAX_STEPS, format_schedule, parse_schedule
from relay.core.shaping import MAX_REDACT, SOURCES
from relay.core.signing import parse_private_key, parse_secret
from relay.core.subscriptions import PATTERNS

MAX_CONCURRENCY: Final = 500
MAX_AGE: Final = ("100ms", "365d")
OVERLAP: Final = ("0s", "30d")
DEFAULT_OVERLAP: Final = "24h"


def _rate(text: str) -> str:
    try:
        parse_rate(text)
    except ValueError as error:
        raise wrong("rate", sentence(error)) from None
    return text


def _schedule(value: Any) -> Any:
    """A text as RELAY_RETRY_SCHEDULE has it, or its parts as a list."""
    if isinstance(value, list) and value and all(isinstance(part, str) and "," not in part for part in value):
        value = ",".join(value[: MAX_STEPS + 1])
    if not isinstance(value, str):
        raise wrong("type", 'Must be a text such as "5s,5m,30m", or a list of such delays.')
    try:
        return format_schedule(parse_schedule(value))
    except ValueError as error:
        raise wrong("schedule", sentence(error)) from None


def _secret(text: str) -> str:
    """Either kind; which one the signature takes is checked with the signature."""
    try:
        parse_private_key(text) if text.startswith("whsk_") else parse_secret(text)
    except ValueError as error:
        raise wrong("secret", sentence(error)) from None
    return text


_DELAY: Final = r"[0-9]{1,12}(\.[0-9]{1,9})?(ms|s|m|h|d)"

Url = Annotated[
    str,
    StringConstraints(max_length=MAX_URL_CHARS),
    Field(json_schema_extra={"format": "uri"}, examples=["https://courier.example/hooks"]),
]
EventTypes = Annotated[
    list[str],
    Field(
        json_schema_extra={"items": {"type": "string", "enum": list(PATTERNS)}, "minItems": 1, "uniqueItems": True},
        examples=[["order.*"]],
    ),
]
Headers = Annotated[
    dict[str, str],
    Field(json_schema_extra={"maxProperties": MAX_HEADERS}, examples=[{"x-tenant": "42"}]),
]
Redact = Annotated[
    list[str],
    Field(
        json_schema_extra={
            "items": {"type": "string", "enum": list(SOURCES)},
            "maxItems": MAX_REDACT,
            "uniqueItems": True,
        },
        examples=[["customer.phone"]],
    ),
]
Secret = Annotated[
    str,
    StringConstraints(max_length=256),
    AfterValidator(_secret),
    Field(json_schema_extra={"pattern": "^whs(ec|k)_[A-Za-z0-9+/]{32,88}={0,2}$", "writeOnly": True}),
]
RateLimit = Annotated[
    str,
    StringConstraints(max_length=32),
    AfterValidator(_rate),
    Field(json_schema_extra={"pattern": "^[1-9][0-9]{0,8}/[smh]$"}, examples=["50/s"]),
]
RetrySchedule = Annotated[
    str,
    BeforeValidator(_schedule),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^{_DELAY}(,{_DELAY}){{0,{MAX_STEPS - 1}}}$"},
                {
                    "type": "array",
                    "items": {"type": "string", "pattern": f"^{_DELAY}$"},
                    "minItems": 1,
                    "maxItems": MAX_STEPS,
                },
            ],
            "examples": ["5s,5m,30m"],
        }
    ),
]
MaxAge = Annotated[str, duration(*MAX_AGE), duration_schema(*MAX_AGE), Field(examples=["10m"])]
Concurrency = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY), BeforeValidator(whole)]
Signature = Literal["v1", "v1a"]
Ordering = Literal["subject", "none"]


def _start(text: str) -> str:
    if text in ("now", "open_orders"):
        return text
    try:
        return write_moment(parse_moment(text))
    except ValueError:
        raise wrong("choice", "Must be now, open_orders or an RFC 3339 time with a zone.") from None


Start = Annotated[
    str,
    AfterValidator(_start),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "enum": ["now", "open_orders"]}, {"type": "string", "format": "date-time"}],
            "default": "now",
        }
    ),
]


class SubscriptionCreate(Body):
    """A subscription to be made."""

    name: Text | None = None
    """Unique among subscriptions; the natural key of `relay apply`."""
    url: Url | None
    """Where events are pushed to; null: they are only pulled."""
    event_types: EventTypes
    """Exact types, ``order.*`` and the like, or ``*``, which leaves out ``relay.*``."""
    brands: BrandNames | None = None
    """Only those; null: all. A partner's subscription has those of its key."""
    venues: VenueIds | None = None
    """Only those; null: all."""
    description: Text | None = None
    """For people."""
    partner: Text | None = None
    """Whose it is; null: the operator's."""
    secret: Secret | None = None
    """``whsec_…`` (``whsk_…`` for v1a); made where it is left out. Write-only."""
    signature: Signature = "v1"
    """``v1`` HMAC-SHA256, ``v1a`` ed25519."""
    headers: Headers = Field(default_factory=dict)
    """Sent with each request. Their values are write-only."""
    redact: Redact = Field(default_factory=list)
    """Paths in ``data.order`` that come as null."""
    include_raw: bool = False
    """``data.raw`` holds the row as Clopos sent it."""
    ordering: Ordering = "subject"
    """``subject``: an event waits until the one before it of the same subject is delivered or dead."""
    max_concurrency: Concurrency = 10
    """Requests at a time."""
    rate_limit: RateLimit | None = None
    """At most so many requests: ``50/s``, ``600/m``."""
    retry_schedule: RetrySchedule | None = None
    """Delays before attempt 2, 3, …; null: the installation's."""
    max_age: MaxAge | None = None
    """What is older expires; null: as long as it is retained."""
    start: Start = "now"
    """What it is told of the past: nothing, an ``order.created`` for each open order, or the log since a time."""
    enabled: bool = True
    """False: events queue up, nothing is sent."""


class SubscriptionChange(Body):
    """What to change of a subscription; what is left out stays."""

    name: Text | None = None
    """Unique among subscriptions."""
    url: Url | None = None
    """Where events are pushed to; null: they are only pulled."""
    event_types: EventTypes = Field(default_factory=list)
    """Exact types, ``order.*`` and the like, or ``*``."""
    brands: BrandNames | None = None
    """Only those; null: all."""
    venues: VenueIds | None = None
    """Only those; null: all."""
    description: Text | None = None
    """For people."""
    partner: Text | None = None
    """Whose it is."""
    secret: Secret = ""
    """The new secret, at once; `rotate-secret` lets the old one sign on for a while."""
    signature: Signature = "v1"
    """Cannot be changed; sending what it is, is no error."""
    headers: Headers = Field(default_factory=dict)
    """All of them, anew."""
    redact: Redact = Field(default_factory=list)
    """For events from now on; what is queued already keeps its body."""
    include_raw: bool = False
    """Likewise."""
    ordering: Ordering = "subject"
    """For events from now on."""
    max_concurrency: Concurrency = 10
    """Requests at a time."""
    rate_limit: RateLimit | None = None
    """At most so many requests; null: no limit."""
    retry_schedule: RetrySchedule | None = None
    """Delays before attempt 2, 3, …; null: the installation's."""
    max_age: MaxAge | None = None
    """What is older expires; null: as long as it is retained."""
    enabled: bool = True
    """False disables; true ends being paused, or disabled."""


class RotateSecret(Body):
    """A new secret."""

    overlap: Annotated[str, duration(*OVERLAP), duration_schema(*OVERLAP)] = DEFAULT_OVERLAP
    """How long the old secret signs beside the new one; ``0s`` ends it, and any before it, at once."""
    secret: Secret | None = None
    """The new one; made where it is left out. Write-only."""
