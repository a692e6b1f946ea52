"""Event types: what a subscription may ask for, with the JSON Schema and an example of each."""

from typing import Any, Final

from pydantic import Field

from relay.api import cursors
from relay.api.operations import EVERYBODY, Call, ListQuery, Operation, Page, Reply
from relay.api.validation import Answer
from relay.core.events import EVENT_TYPES, OPERATIONAL, EventType


class EventTypeAnswer(Answer):
    """A type of event."""

    name: str
    """Its ``type``."""
    title: str
    """Three words."""
    description: str
    """What happened."""
    operational: bool
    """About the relay itself: only a subscription that asks for it, or ``relay.*``, gets it."""
    json_schema: dict[str, Any] = Field(alias="schema")
    """JSON Schema (2020-12) of the whole event."""
    example: dict[str, Any]
    """A whole event."""


class EventTypePage(Page[EventTypeAnswer]):
    """Some types, in the order of the documentation."""


async def get_list(call: Call) -> Reply:
    """List types of events."""
    query = call.query_as(ListQuery)
    bound = call.bound(query)
    start = 0 if query.cursor is None else cursors.decode(query.cursor, bound, kinds=[int])[0]
    kinds = list(EVENT_TYPES.values())
    end = start + query.limit
    following = cursors.encode(bound, [end]) if end < len(kinds) else None
    return Reply(body={"data": [_shown(kind) for kind in kinds[start:end]], "next_cursor": following})


def _shown(kind: EventType) -> dict[str, Any]:
    return {
        "name": kind.name,
        "title": kind.title,
        "description": kind.description,
        "operational": kind.name in OPERATIONAL,
        "schema": kind.schema(),
        "example": dict(kind.example),
    }


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/event-types",
        name="list_event_types",
        tag="event-types",
        summary="List event types with their JSON Schemas",
        handler=get_list,
        roles=EVERYBODY,
        query=ListQuery,
        answer=EventTypePage,
        example={
            "data": [
                {
                    "name": "order.created",
                    "title": "Order placed",
                    "description": EVENT_TYPES["order.created"].description,
                    "operational": False,
                    "schema": {"type": "object"},
                    "example": dict(EVENT_TYPES["order.created"].example),
                }
            ],
            "next_cursor": None,
        },
    ),
)
