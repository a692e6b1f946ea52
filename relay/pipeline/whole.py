"""Does a list without a venue cover all venues, and what does a look at it mean for each of them?

Clopos says that a token has a venue of its own, and nothing of what a list without ``x-venue`` holds. Where it holds
the orders of all venues, one request does the work of all; so that is found out, and watched: the venues go on being
looked at one by one, now and then, and a change that only such a look finds ends it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from relay.clopos.rowkeys import RowKey, row_key
from relay.core.errors import RowUnreadable
from relay.pipeline.judge import moment
from relay.pipeline.reading import Reader, Tally
from relay.store.findings import FeedState, VenueState
from relay.store.quota import Granted

ROWS: Final = 200
VENUES_TO_TELL: Final = 2
"""Rows of fewer venues on the list tell nothing."""


async def see_venues(reader: Reader, state: FeedState, *, grant: Granted | None) -> list[RowKey]:
    """Read what a list without a venue begins with, and take nothing in.

    Raises:
        CloposError: see ``core.errors``.
    """
    limit = min(ROWS, state.limit)
    page = await reader.client.get_page(
        reader.access,
        reader.source.path,
        [*reader.source.latest_first, *([("limit", str(limit))] if limit else [])],
        venue_id=None,
        purpose=reader.purpose,
        grant=grant,
    )
    keys = []
    for raw in page.rows:
        try:
            keys.append(row_key(raw))
        except RowUnreadable:
            continue
    return keys


def tells_all(seen: list[RowKey], venues: Mapping[int, FeedState]) -> bool | None:
    """Tell whether a list covers all venues: every one that changed since its last row has a row on it.

    Args:
        seen: the rows that were touched last, of whatever venues.
        venues: the orders of each venue, with their watermarks.

    Returns:
        None where too little is going on to tell.
    """
    rows: dict[int | None, list[datetime]] = {}
    for key in seen:
        when = moment(key.updated_at)
        if when is not None:
            rows.setdefault(key.venue_id, []).append(when)
    if None in rows or not rows:
        return False if rows else None
    oldest = min(min(times) for times in rows.values())
    marks = {venue_id: mark for venue_id, state in venues.items() if (mark := moment(state.mark)) is not None}
    recent = {venue_id for venue_id, mark in marks.items() if mark > oldest}
    if len(recent) < VENUES_TO_TELL:
        return None
    return recent <= rows.keys()


def cover_all(venues: Mapping[int, VenueState], tally: Tally, *, now_ms: int) -> None:
    """Take in for each venue that it was looked at, and what was found of it."""
    for venue_id, venue in venues.items():
        venue.orders.looked_ms = now_ms
        part = tally.venues.get(venue_id)
        if part is None:
            continue
        if part.events:
            venue.orders.changed_ms = now_ms
        if part.touched:
            venue.orders.mark = max(part.touched).isoformat()
            venue.orders.mark_ms = now_ms
