"""Stations and venues as last known."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from relay.api import cursors
from relay.api.fields import QueryId
from relay.api.operations import READERS, Call, ListQuery, Operation, Page, Reply
from relay.api.orders import brand_of, venues_of
from relay.api.validation import wrong
from relay.core.changes import Feed
from relay.core.events import EVENT_TYPES
from relay.core.schemas import Station, Venue
from relay.store.snapshots import REMOVED, Scope


def _flag(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("true", "false", "1", "0"):
            raise wrong("type", "Must be true or false.")
        return value in ("true", "1")
    return value


class StationQuery(ListQuery):
    """Which stations."""

    venue_id: QueryId | None = None
    """Of that venue."""
    status: Literal["active", "inactive"] | None = None
    """In that status."""
    can_print: Annotated[bool, BeforeValidator(_flag)] | None = None
    """Whether they print."""


class StationAnswer(Station):
    """A station as last known."""

    venue_id: int
    """Where it is."""


class StationPage(Page[StationAnswer]):
    """Some stations, by venue and id."""


class VenuePage(Page[Venue]):
    """Some venues, by id."""


async def get_stations(call: Call) -> Reply:
    """List stations by venue and id."""
    query = call.query_as(StationQuery)
    stored = await brand_of(call)
    bound = call.bound(query)
    place = (0, 0) if query.cursor is None else tuple(cursors.decode(query.cursor, bound, kinds=[int, int]))
    found: list[tuple[tuple[int, int], dict[str, Any]]] = []
    for venue in await venues_of(call, stored, query.venue_id):
        known = await _known(call, Scope(stored.id, venue, Feed.STATIONS.value))
        for station_id, station in sorted(known.items()):
            if (
                (venue, station_id) > place
                and query.status in (None, station["status"])
                and query.can_print in (None, station["printable"])
            ):
                found.append(((venue, station_id), {**station, "venue_id": venue}))
        if len(found) > query.limit:
            break
    page = found[: query.limit]
    cursor = cursors.encode(bound, page[-1][0]) if len(found) > len(page) else None
    return Reply(body={"data": [station for _, station in page], "next_cursor": cursor})


async def get_venues(call: Call) -> Reply:
    """List venues by id."""
    query = call.query_as(ListQuery)
    stored = await brand_of(call)
    bound = call.bound(query)
    after = 0 if query.cursor is None else cursors.decode(query.cursor, bound, kinds=[int])[0]
    known = await _known(call, Scope(stored.id, None, Feed.VENUES.value))
    rest = [venue for venue_id, venue in sorted(known.items()) if venue_id > after]
    page = rest[: query.limit]
    cursor = cursors.encode(bound, [page[-1]["id"]]) if len(rest) > len(page) else None
    return Reply(body={"data": page, "next_cursor": cursor})


async def _known(call: Call, scope: Scope) -> dict[int, dict[str, Any]]:
    """What is known and not removed, by id."""
    heads = await call.services.snapshots.all_heads(scope)
    objects = await call.services.snapshots.all_objects(scope)
    return {
        thing_id: objects[thing_id].object
        for thing_id, head in heads.items()
        if REMOVED not in head.flags and thing_id in objects
    }


_STATION: Final = {**EVENT_TYPES["station.created"].example["data"]["station"], "venue_id": 1}
_VENUE: Final = EVENT_TYPES["venue.created"].example["data"]["venue"]

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/brands/{brand}/stations",
        name="list_stations",
        tag="stations",
        summary="List stations as last known",
        handler=get_stations,
        roles=READERS,
        query=StationQuery,
        answer=StationPage,
        problems=["not_found"],
        example={"data": [_STATION], "next_cursor": None},
    ),
    Operation(
        method="GET",
        path="/v1/brands/{brand}/venues",
        name="list_venues",
        tag="venues",
        summary="List venues as last known",
        handler=get_venues,
        roles=READERS,
        query=ListQuery,
        answer=VenuePage,
        problems=["not_found"],
        example={"data": [_VENUE], "next_cursor": None},
    ),
)
