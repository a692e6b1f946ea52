"""How is a brand doing?  The ``state`` that the admin API shows: put together from what its worker wrote down."""

from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Redis

from relay.core.operational import rfc3339
from relay.store import keys
from relay.store.brands import Brand
from relay.store.documents import Stored
from relay.store.findings import FeedState, Found, VenueState
from relay.store.quota import Account, QuotaStore
from relay.store.venues import FULL_SHARE, PollStore

FAILING_LOOKS: Final = 3
"""Failed looks in a row after which a venue's trouble is shown as the brand's error."""

TOLD_AT_ONCE: Final = ("not_found", "deadly")
"""Reasons that no further look makes any clearer."""

MOST_SHOWN: Final = 20
"""Rows set aside that are listed; all are counted."""


class BrandStates:
    """Reads how brands are doing."""

    def __init__(self, redis: Redis, polls: PollStore, quota: QuotaStore) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._polls = polls
        self._quota = quota

    async def of(self, stored: Stored[Brand]) -> dict[str, Any]:
        """The contract's ``state`` of one brand.

        Beside it: ``since`` (when it began to fail), ``notes`` (what is unusual and needs no hand), ``set_aside`` (rows
        that cannot be read), and ``error`` for each venue.
        """
        brand = stored.value
        found = await self._polls.found(brand.brand, generation=brand.generation)
        quota = await self._quota.state(Account(brand.integrator_id, brand.brand))
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(keys.token(brand.brand), "ends")
            pipe.info("memory")
            ends_ms, memory = await pipe.execute()
        venues = _venues(brand, found)
        status = _status(brand, found, venues)
        looks = last_looks(brand, found)
        return {
            "status": status,
            "error": _error(status, found, venues) or _stopped(status, memory),
            "since": _time(found.brand.failing_ms) if status == "failing" else None,
            "quota": {"limit": quota.limit, "remaining": quota.remaining, "resets_in": quota.resets_in_s},
            "token_expires_at": None if ends_ms is None else _time(int(ends_ms)),
            "venues": [_venue(venue_id, found, state, looks[venue_id]) for venue_id, state in venues.items()],
            "notes": _notes(found, venues),
            "set_aside": {
                "count": len(found.bad),
                "rows": [
                    {
                        "feed": row.feed,
                        "venue_id": row.venue_id,
                        "id": row.id,
                        "reason": row.reason,
                        "since": _time(row.since_ms),
                    }
                    for row in sorted(found.bad.values(), key=lambda row: -row.since_ms)[:MOST_SHOWN]
                ],
            },
        }


def status_of(brand: Brand, found: Found) -> str:
    """``waiting``, ``ok``, ``failing`` or ``disabled``."""
    return _status(brand, found, _venues(brand, found))


def _venues(brand: Brand, found: Found) -> dict[int, VenueState]:
    """The venues that are looked at."""
    ids = list(found.brand.venues) if brand.venues is None else list(brand.venues)
    return {venue_id: found.venues.get(venue_id, VenueState()) for venue_id in ids}


def _status(brand: Brand, found: Found, venues: dict[int, VenueState]) -> str:
    if not brand.enabled:
        return "disabled"
    if found.brand.failing_ms:
        return "failing"
    if not venues:
        return "ok" if found.brand.listed.first_ms else "waiting"
    states = [venue.orders if brand.poll_orders else venue.stations for venue in venues.values()]
    looks = brand.poll_orders or brand.poll_stations
    return "waiting" if looks and any(not state.first_ms for state in states) else "ok"


def last_looks(brand: Brand, found: Found) -> dict[int, int]:
    """When each venue that is to be looked at was looked at last, epoch ms; 0 for never."""
    ids = list(found.brand.venues) if brand.venues is None else list(brand.venues)
    whole_ms = found.brand.whole_orders.looked_ms if found.brand.whole else 0
    looks = {}
    for venue_id in ids:
        venue = found.venues.get(venue_id, VenueState())
        if not brand.poll_orders:
            looks[venue_id] = venue.stations.looked_ms
        else:
            looks[venue_id] = max(venue.orders.looked_ms, whole_ms) if venue.orders.first_ms else 0
    return looks


def _error(status: str, found: Found, venues: dict[int, VenueState]) -> str | None:
    if status == "failing":
        return found.brand.message
    if status == "disabled":
        return None
    if found.brand.listed.failures >= FAILING_LOOKS:
        return f"The list of venues: {found.brand.listed.message}"
    for venue_id, venue in venues.items():
        message = _venue_error(venue)
        if message is not None:
            return f"Venue {venue_id}: {message}"
    return None


def _stopped(status: str, memory: Mapping[str, int]) -> str | None:
    """Why nobody looks although Clopos has no part in it."""
    limit = memory["maxmemory"]
    if status == "disabled" or not limit or memory["used_memory"] <= FULL_SHARE * limit:
        return None
    return (
        f"Redis is fuller than {FULL_SHARE:.0%}: no venue is looked at until there is room. Raise its maxmemory;"
        " deliveries go on meanwhile."
    )


def _venue_error(venue: VenueState) -> str | None:
    if venue.orders.failures >= FAILING_LOOKS or venue.orders.reason in TOLD_AT_ONCE:
        return venue.orders.message
    if venue.stations.failures >= FAILING_LOOKS or venue.stations.reason in TOLD_AT_ONCE:
        return f"Stations: {venue.stations.message}"
    return None


def _venue(venue_id: int, found: Found, state: VenueState, looked_ms: int) -> dict[str, Any]:
    return {
        "id": venue_id,
        "name": found.brand.venues.get(venue_id),
        "orders": {
            "last_poll_at": _time(looked_ms),
            "last_change_at": _time(state.orders.changed_ms),
            "next_poll_at": _time(max(state.next_ms, looked_ms)),
            "open_orders": state.open_orders,
        },
        "error": _venue_error(state),
    }


def _notes(found: Found, venues: dict[int, VenueState]) -> list[str]:
    notes = []
    if found.brand.whole:
        notes.append("A list without venue covers every venue: one request looks at all of them.")
    if found.bad:
        notes.append(f"{len(found.bad)} row(s) cannot be read: set aside, and tried again with every look.")
    for venue_id, venue in venues.items():
        notes += [f"Venue {venue_id}: {note}" for note in _notes_of(venue.orders)]
    return notes


def _notes_of(state: FeedState) -> list[str]:
    notes = []
    if state.unsorted_ms:
        notes.append("Clopos does not sort by updated_at; the orders of the last days are read whole instead.")
    if state.still_ms:
        notes.append("orders change without a new updated_at; open orders are read with every look.")
    if state.strangers:
        notes.append("Clopos sends rows of other venues, too; they are left aside.")
    return notes


def _time(epoch_ms: int) -> str | None:
    return rfc3339(epoch_ms) if epoch_ms else None
