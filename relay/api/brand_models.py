"""What does the API take and give of a brand?"""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from relay.api.fields import BrandName, Credential, Currency, Moment, VenueIds, sentence
from relay.api.operations import Page, Rfc3339
from relay.api.validation import Answer, Body, wrong
from relay.core.addresses import NOWHERE
from relay.core.clopos_urls import MAX_URL_CHARS, check_clopos_url


def _clopos_url(text: str, info: ValidationInfo) -> str:
    allow = NOWHERE if info.context is None else info.context.allow
    try:
        return check_clopos_url(text, allow=allow)
    except ValueError as error:
        raise wrong("url", sentence(error)) from None


CloposUrl = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_URL_CHARS),
    AfterValidator(_clopos_url),
    Field(examples=["https://integrations.clopos.com/open-api/v2"]),
]


class Poll(Body):
    """What is looked at."""

    orders: bool = True
    """Orders, as often as the quota allows."""
    stations: bool = True
    """Stations, every few minutes."""
    venues: bool = True
    """The list of venues itself."""


class BrandCreate(Body):
    """A brand to look at."""

    brand: BrandName
    """Its name at Clopos; unique here."""
    client_id: Credential
    """Of the integration at Clopos."""
    client_secret: Credential
    """Write-only."""
    integrator_id: Credential
    """Clopos counts requests by it and the brand."""
    venues: VenueIds | None = None
    """Ids of the venues to look at; null: all that the credential sees."""
    currency: Currency | None = None
    """What orders say in ``currency``: Clopos does not tell."""
    clopos_url: CloposUrl | None = None
    """Of the API, where it is not the installation's."""
    poll: Poll = Poll()
    """What is looked at."""
    backfill: Moment | None = None
    """Announce orders created since then, at the first look; null: what exists then is remembered, not announced."""
    enabled: bool = True
    """False: it is not looked at."""


class PollChange(Body):
    """What is looked at; what is left out stays."""

    orders: bool = True
    """Orders."""
    stations: bool = True
    """Stations."""
    venues: bool = True
    """The list of venues."""


class BrandChange(Body):
    """What to change of a brand; what is left out stays."""

    client_id: Credential = ""
    """Of the integration at Clopos."""
    client_secret: Credential = ""
    """Write-only."""
    integrator_id: Credential = ""
    """Clopos counts requests by it and the brand."""
    venues: VenueIds | None = None
    """Ids of the venues to look at; null: all that the credential sees."""
    currency: Currency | None = None
    """What orders say in ``currency``."""
    clopos_url: CloposUrl | None = None
    """Of the API; null: the installation's."""
    poll: PollChange = PollChange()
    """What is looked at."""
    backfill: Moment | None = None
    """For venues that were not looked at yet."""
    enabled: bool = True
    """False: it is not looked at."""


class Quota(Answer):
    """Requests to Clopos, of all workers."""

    limit: int
    """A minute."""
    remaining: int
    """Left now."""
    resets_in: int
    """Seconds until all are free again."""


class VenueOrders(Answer):
    """How a venue's orders are looked at."""

    last_poll_at: Rfc3339 | None
    """The last look that was committed."""
    last_change_at: Rfc3339 | None
    """The last look that brought an event."""
    next_poll_at: Rfc3339 | None
    """When the next is meant to begin."""
    open_orders: int
    """Orders neither delivered nor cancelled."""


class VenueOfBrand(Answer):
    """A venue that is looked at."""

    id: int
    """At Clopos."""
    name: str | None
    """As far as Clopos has told."""
    orders: VenueOrders
    """How its orders are looked at."""
    error: str | None
    """What is wrong with this venue alone."""


class RowSetAside(Answer):
    """A row of Clopos' that cannot be read."""

    feed: str
    """orders, stations or venues."""
    venue_id: int | None
    """Of which venue."""
    id: int | None
    """Where it could be told."""
    reason: str
    """Why."""
    since: Rfc3339 | None
    """When it was first seen like that."""


class SetAside(Answer):
    """Rows that cannot be read; the others go on."""

    count: int
    """All of them."""
    rows: list[RowSetAside]
    """The latest."""


class BrandState(Answer):
    """How a brand is doing."""

    status: str = Field(json_schema_extra={"enum": ["waiting", "ok", "failing", "disabled"]})
    """``waiting`` until the first look at every venue is committed."""
    error: str | None
    """What is wrong, in words."""
    since: Rfc3339 | None
    """When it began to fail."""
    quota: Quota
    """Requests to Clopos."""
    token_expires_at: Rfc3339 | None
    """Of the token that all workers share."""
    venues: list[VenueOfBrand]
    """Those that are looked at."""
    notes: list[str]
    """What is unusual, and may be as it should be."""
    set_aside: SetAside
    """Rows that cannot be read."""


class PollAnswer(Answer):
    """What is looked at."""

    orders: bool
    """Orders."""
    stations: bool
    """Stations."""
    venues: bool
    """The list of venues."""


class BrandAnswer(Answer):
    """A brand and how it is doing."""

    brand: str
    """Its name at Clopos."""
    client_id: str
    """Of the integration at Clopos."""
    integrator_id: str
    """Clopos counts requests by it and the brand."""
    venues: list[int] | None
    """Null: all that the credential sees."""
    currency: str | None
    """What orders say in ``currency``."""
    clopos_url: str | None
    """Null: the installation's."""
    poll: PollAnswer
    """What is looked at."""
    backfill: Rfc3339 | None
    """Orders created since then were announced at the first look."""
    enabled: bool
    """False: it is not looked at."""
    created_at: Rfc3339
    """When it was made here."""
    updated_at: Rfc3339
    """When it was last changed here."""
    state: BrandState
    """How it is doing."""


class BrandPage(Page[BrandAnswer]):
    """Some brands, by name."""


class PollRequested(Answer):
    """That a look was asked for."""

    brand: str
    """Whose."""
    requested: bool
    """A look begins as soon as a worker is free and the quota has room."""


EXAMPLE_BODY: Final[dict[str, Any]] = {
    "brand": "openapitest",
    "client_id": "demo-client",
    "client_secret": "demo-secret",
    "integrator_id": "demo-integrator",
}

EXAMPLE: Final[dict[str, Any]] = {
    "brand": "openapitest",
    "client_id": "demo-client",
    "integrator_id": "demo-integrator",
    "venues": None,
    "currency": None,
    "clopos_url": None,
    "poll": {"orders": True, "stations": True, "venues": True},
    "backfill": None,
    "enabled": True,
    "created_at": "2026-02-02T13:40:00.000Z",
    "updated_at": "2026-02-02T13:40:00.000Z",
    "state": {
        "status": "ok",
        "error": None,
        "since": None,
        "quota": {"limit": 300, "remaining": 271, "resets_in": 42},
        "token_expires_at": "2026-02-02T14:40:01.000Z",
        "venues": [
            {
                "id": 1,
                "name": "Main",
                "orders": {
                    "last_poll_at": "2026-02-02T13:46:05.120Z",
                    "last_change_at": "2026-02-02T13:46:05.120Z",
                    "next_poll_at": "2026-02-02T13:46:07.120Z",
                    "open_orders": 1,
                },
                "error": None,
            }
        ],
        "notes": [],
        "set_aside": {"count": 0, "rows": []},
    },
}
