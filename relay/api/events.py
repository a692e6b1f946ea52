"""The log: what happened, newest first; and one event with what became of it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, Field

from relay.api import cursors
from relay.api.delivery_views import EXAMPLE_ROW, DeliveryRow, rows
from relay.api.fields import BrandName, Moment, QueryId, epoch_ms, parse_moment
from relay.api.identifiers import is_id
from relay.api.operations import READERS, Call, ListQuery, Operation, Page, Reply
from relay.api.problems import Fault, invalid, not_found
from relay.api.validation import wrong
from relay.core.events import EVENT_TYPES, StoredEvent, render
from relay.core.schemas import Event
from relay.core.subscriptions import PATTERNS, check_event_types, matches
from relay.store.log import Range
from relay.store.positions import LARGEST, first_at

PART: Final = 250
MOST_SCANNED: Final = 10_000
"""Events looked at for one page: with a filter that few match, a page may be short and still have a next."""


def _pattern(text: str) -> str:
    problems = check_event_types([text])
    if problems:
        raise wrong("choice", problems[0].detail)
    return text


Pattern = Annotated[str, AfterValidator(_pattern), Field(json_schema_extra={"enum": list(PATTERNS)})]


class EventQuery(ListQuery):
    """Which events."""

    brand: BrandName | None = None
    """Of that brand."""
    venue_id: QueryId | None = None
    """Of that venue."""
    type: Pattern | None = None
    """Of that type, or ``order.*`` and the like."""
    subject: str | None = Field(None, max_length=128)
    """About that: ``order/1``."""
    since: Moment | None = None
    """Committed at or after that time."""
    until: Moment | None = None
    """Committed before that time."""
    order: Literal["asc", "desc"] = "desc"
    """``desc``: newest first."""


class EventOut(Event):
    """An event, as it is sent to a subscription that masks nothing."""

    data: dict[str, Any]
    """What happened; `GET /v1/event-types` has the schema of each type."""


class EventWithDeliveries(EventOut):
    """One event with its deliveries."""

    deliveries: list[DeliveryRow]
    """One for each subscription that it was for."""


class EventPage(Page[EventOut]):
    """Some events."""


def span(since: str | None, until: str | None) -> Range:
    """The stretch of the log between two times.

    Raises:
        ProblemError: 422: it ends before it begins.
    """
    first = 0 if since is None else first_at(epoch_ms(parse_moment(since)))
    last = LARGEST if until is None else first_at(epoch_ms(parse_moment(until))) - 1
    if since is not None and until is not None and last < first:
        raise invalid([Fault(pointer="/until", detail="Must be later than since.", code="range", place="query")])
    return Range(first, last)


async def get_list(call: Call) -> Reply:
    """List events."""
    query = call.query_as(EventQuery)
    bound = call.bound(query)
    within = span(query.since, query.until)
    downwards = query.order == "desc"
    place = within.last if downwards else within.first
    if query.cursor is not None:
        place = cursors.decode(query.cursor, bound, kinds=[int])[0]
    found: list[StoredEvent] = []
    scanned = 0
    following: int | None = place
    while following is not None and len(found) < query.limit and scanned < MOST_SCANNED:
        if downwards:
            stretch = await call.services.log.backward(Range(within.first, following), limit=PART)
        else:
            stretch = await call.services.log.forward(Range(following, within.last), limit=PART)
        scanned += PART
        following = stretch.next
        for event in stretch.events:
            if len(found) == query.limit:
                following = event.position
                break
            if _matches(query, event):
                found.append(event)
    cursor = None if following is None else cursors.encode(bound, [following])
    return Reply(body={"data": [shown(event) for event in found], "next_cursor": cursor})


def _matches(query: EventQuery, event: StoredEvent) -> bool:
    return (
        query.brand in (None, event.brand)
        and query.venue_id in (None, event.venue_id)
        and query.subject in (None, event.subject)
        and (query.type is None or matches([query.type], event.type))
    )


def shown(event: StoredEvent) -> dict[str, Any]:
    """An event as JSON is made of."""
    content: dict[str, Any] = orjson.loads(render(event))
    return content


async def get_one(call: Call) -> Reply:
    """Show an event with its deliveries."""
    services, event_id = call.services, call.path["id"]
    position = await services.log.position_of(event_id) if is_id("evt", event_id) else None
    (event,) = [None] if position is None else await services.log.at([position])
    if event is None:
        raise not_found("event")
    names = [*(await services.subscriptions.all()), *(await services.maintenance.gone_lanes())]
    deliveries = await services.deliveries.of_event(event.position, names)
    shown_rows = [row.model_dump(mode="json") for row in await rows(services, deliveries)]
    return Reply(body={**shown(event), "deliveries": shown_rows})


_EXAMPLE: Final[Mapping[str, Any]] = EVENT_TYPES["order.status_changed"].example

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/events",
        name="list_events",
        tag="events",
        summary="List events",
        description="Newest first. Where few of many match, a page may be short and still have a next.",
        handler=get_list,
        roles=READERS,
        query=EventQuery,
        answer=EventPage,
        example={"data": [_EXAMPLE], "next_cursor": None},
    ),
    Operation(
        method="GET",
        path="/v1/events/{id}",
        name="get_event",
        tag="events",
        summary="Show an event with its deliveries",
        handler=get_one,
        roles=READERS,
        answer=EventWithDeliveries,
        problems=["not_found"],
        etag=True,
        example={**_EXAMPLE, "deliveries": [EXAMPLE_ROW]},
    ),
)
