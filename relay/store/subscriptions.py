"""What is kept of a subscription, and where?"""

from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from relay.core.shaping import Shape
from relay.core.subscriptions import Route
from relay.store.documents import Documents
from relay.store.scripts import Scripts

Status = Literal["active", "paused", "disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One signing secret.

    Attributes:
        sealed: ``whsec_…`` or ``whsk_…``, sealed by the vault.
        public_key: ``whpk_…`` of an ed25519 key.
        until_ms: it signs until then, epoch ms; None for the present one.
    """

    sealed: str
    public_key: str | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeSince:
    """How events are shaped that were committed at or after a position: what is queued already keeps its body."""

    position: int | str
    redact: tuple[str, ...] = ()
    include_raw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Who is told what, and where.

    Attributes:
        url: normalized; None for a subscription that only pulls.
        brands: None for all (a partner's has a list).
        secrets: the present one first.
        headers: sealed JSON object, None for none.
        shapes: oldest first, never empty.
        retry_schedule_s: delays before attempt 2, 3, …; None for the installation's.
        rate_limit: "50/s"; None for none.
        max_age_s: older deliveries expire; None for RELAY_RETENTION.
        status: what the operator set, or a 410 or five days of failure did.
        created_at: RFC 3339, UTC.
        start: ``now``, ``open_orders`` or an RFC 3339 time: what it is told of the past.
        opening: that past is still being queued; nothing is sent until it is.
        created_position: stamp of its creation: what was committed before is the past.
    """

    id: str
    name: str | None = None
    url: str | None = None
    event_types: tuple[str, ...]
    brands: tuple[str, ...] | None = None
    venues: tuple[int, ...] | None = None
    description: str | None = None
    partner: str | None = None
    secrets: tuple[Secret, ...]
    signature: Literal["v1", "v1a"] = "v1"
    headers: str | None = None
    shapes: tuple[ShapeSince, ...]
    ordering: Literal["subject", "none"] = "subject"
    max_concurrency: int = 10
    rate_limit: str | None = None
    retry_schedule_s: tuple[float, ...] | None = None
    max_age_s: float | None = None
    status: Status = "active"
    disabled_reason: str | None = None
    disabled_at: str | None = None
    created_at: str
    updated_at: str
    start: str = "now"
    opening: bool = False
    created_position: int | str = 0

    @property
    def gate(self) -> str:
        """Why its lane sends nothing; "" when it does."""
        if self.opening:
            return "opening"
        if self.status != "active":
            return self.status
        return "pull" if self.url is None else ""

    @property
    def reference(self) -> str:
        """How commits name it: see the references of commit.lua."""
        if self.url is None:
            return "-" + self.id
        return "~" + self.id if self.ordering == "none" else self.id

    @property
    def route(self) -> Route:
        """What events it wants."""
        return Route(
            subscription_id=self.id,
            patterns=self.event_types,
            brands=None if self.brands is None else frozenset(self.brands),
            venues=None if self.venues is None else frozenset(self.venues),
            partner=self.partner,
        )

    def shape_at(self, position: int) -> Shape:
        """How an event committed at that position is shaped for it, now and ever."""
        chosen = self.shapes[0]
        for shape in self.shapes:
            if int(shape.position) <= position:
                chosen = shape
        return Shape(redact=chosen.redact, include_raw=chosen.include_raw)


class SubscriptionStore(Documents[Subscription]):
    """Every subscription, by id."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        super().__init__(redis, scripts, kind="subscription", model=Subscription, lanes=True)
