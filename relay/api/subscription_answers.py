"""What does the API give of a subscription?"""

from typing import Any, Final

from pydantic import Field

from relay.api.operations import Page, Rfc3339
from relay.api.validation import Answer


class SubscriptionState(Answer):
    """How a subscription is doing."""

    status: str = Field(json_schema_extra={"enum": ["active", "paused", "disabled"]})
    """Paused and disabled: events queue up, nothing is sent."""
    disabled_reason: str | None
    """Why it is disabled."""
    pending: int
    """Deliveries that wait."""
    dead: int
    """Deliveries that were given up, as far as they are retained."""
    oldest_pending_at: Rfc3339 | None
    """When the oldest waiting event was seen."""
    success_rate_1h: float | None
    """Of attempts in the last hour, 0 to 1; null without any."""
    latency_p95_ms_1h: float | None
    """From seen to 2xx, in the last hour."""
    failing_since: Rfc3339 | None
    """The first failure since the last success."""
    held_until: Rfc3339 | None
    """Nothing is sent before: the partner asked for it, or its circuit is open."""
    unverified: bool
    """Nothing was delivered there yet, as far as is retained: whether the URL answers, or resolves, is not known."""


class SubscriptionAnswer(Answer):
    """A subscription and how it is doing."""

    id: str
    """``sub_…``."""
    name: str | None
    """Unique among subscriptions."""
    url: str | None
    """Where events are pushed to, normalized; null: they are only pulled."""
    event_types: list[str]
    """What it wants."""
    brands: list[str] | None
    """Only those; null: all."""
    venues: list[int] | None
    """Only those; null: all."""
    description: str | None
    """For people."""
    partner: str | None
    """Whose it is; null: the operator's."""
    signature: str
    """``v1`` or ``v1a``."""
    public_key: str | None
    """``whpk_…`` with v1a: verify with it."""
    headers: dict[str, None]
    """Names of the headers sent with each request; values are write-only."""
    redact: list[str]
    """Paths in ``data.order`` that come as null."""
    include_raw: bool
    """``data.raw`` holds the row as Clopos sent it."""
    ordering: str
    """``subject`` or ``none``."""
    max_concurrency: int
    """Requests at a time."""
    rate_limit: str | None
    """At most so many requests."""
    retry_schedule: str | None
    """Delays before attempt 2, 3, …; null: the installation's."""
    max_age: str | None
    """What is older expires."""
    enabled: bool
    """False: disabled."""
    old_secret_until: Rfc3339 | None
    """The secret before the present one signs on until then."""
    created_at: Rfc3339
    """When it was made."""
    updated_at: Rfc3339
    """When it was last changed."""
    state: SubscriptionState
    """How it is doing."""


class SubscriptionWithSecret(SubscriptionAnswer):
    """A subscription whose secret was just made or changed."""

    secret: str
    """Shown this once: ``whsec_…``, with v1a the private key ``whsk_…``."""


class SubscriptionPage(Page[SubscriptionAnswer]):
    """Some subscriptions, by id."""


EXAMPLE: Final[dict[str, Any]] = {
    "id": "sub_k3m5q7r2t4u6v2x4z6b3",
    "name": "courier",
    "url": "https://courier.example/hooks",
    "event_types": ["order.*"],
    "brands": None,
    "venues": None,
    "description": None,
    "partner": None,
    "signature": "v1",
    "public_key": None,
    "headers": {},
    "redact": ["customer.phone"],
    "include_raw": False,
    "ordering": "subject",
    "max_concurrency": 10,
    "rate_limit": None,
    "retry_schedule": None,
    "max_age": None,
    "enabled": True,
    "old_secret_until": None,
    "created_at": "2026-02-02T13:40:00.000Z",
    "updated_at": "2026-02-02T13:40:00.000Z",
    "state": {
        "status": "active",
        "disabled_reason": None,
        "pending": 3,
        "dead": 0,
        "oldest_pending_at": "2026-02-02T13:46:05.120Z",
        "success_rate_1h": 0.998,
        "latency_p95_ms_1h": 210.0,
        "failing_since": None,
        "held_until": None,
        "unverified": False,
    },
}
EXAMPLE_WITH_SECRET: Final = {**EXAMPLE, "secret": "whsec_dGhpcyBpcyBhbiBleGFtcGxlIG9mIGEgc2VjcmV0"}
