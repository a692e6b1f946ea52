"""What is kept of a brand, and where?"""

from dataclasses import dataclass

from redis.asyncio import Redis

from relay.store.documents import Documents
from relay.store.scripts import Scripts


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """A tenant at Clopos, as configured.

    Attributes:
        client_secret: sealed by the vault.
        venues: ids to look at; None for all that the credential sees.
        clopos_url: None for the installation's.
        backfill: RFC 3339 time: orders created since are announced at the first look; None: none.
        created_at: RFC 3339, UTC.
        generation: made anew when the brand is created: work for a brand deleted meanwhile is told apart by it.
    """

    brand: str
    client_id: str
    client_secret: str
    integrator_id: str
    venues: tuple[int, ...] | None = None
    currency: str | None = None
    clopos_url: str | None = None
    poll_orders: bool = True
    poll_stations: bool = True
    poll_venues: bool = True
    backfill: str | None = None
    enabled: bool = True
    created_at: str
    updated_at: str
    generation: str


class BrandStore(Documents[Brand]):
    """Every brand, by its name."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        super().__init__(redis, scripts, kind="brand", model=Brand)
