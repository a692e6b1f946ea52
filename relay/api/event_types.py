"""Event types: what a subscription may ask for, with the JSON Schema and an example of each."""

from typing import Any, Final

from pydantic import Field

from relay.api.operations import EVERYBODY, Call, Operation, Query, Reply
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


class EventTypeList(Answer):
    """Every type of event there is."""

    data: list[EventTypeAnswer]
    """The types."""
    next_cursor: None
    """All of them are here."""


async def get_list(_call: Call) -> Reply:
    """List all types."""
    return Reply(body={"data": [_shown(each) for each in EVENT_TYPES.values()], "next_cursor": None})


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
        query=Query,
        answer=EventTypeList,
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
