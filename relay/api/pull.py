"""Pulling: a subscription's events in log order, from a cursor that the client keeps."""

from typing import Annotated, Final

from pydantic import Field

from relay.api import cursors
from relay.api.cursors import MAX_CURSOR_CHARS
from relay.api.events import EventOut
from relay.api.fields import duration, duration_schema, seconds
from relay.api.operations import (
    DEFAULT_LIMIT,
    EVERYBODY,
    MAX_LIMIT,
    Call,
    Operation,
    Query,
    QueryInt,
    Reply,
)
from relay.api.problems import ProblemError
from relay.api.reach import reached, sees_brand
from relay.api.validation import Answer
from relay.core.events import EVENT_TYPES, render
from relay.store.positions import first_at
from relay.store.subscriptions import Subscription

WAIT: Final = ("0s", "60s")
DEADLINE_S: Final = 65.0


class PullQuery(Query):
    """From where, how long."""

    cursor: str | None = Field(None, max_length=MAX_CURSOR_CHARS)
    """``next_cursor`` of the answer before; absent: the oldest that is retained."""
    limit: QueryInt = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    """How many at most."""
    wait: Annotated[str, duration(*WAIT), duration_schema(*WAIT)] = "0s"
    """Hold the request until there is an event, at most that long."""


class PulledEvents(Answer):
    """What comes next."""

    data: list[EventOut]
    """Events, filtered and masked as for pushing."""
    next_cursor: str
    """Where to go on; never null. Valid as long as events are retained: keep it, and ask again before that."""


async def pull(call: Call) -> Reply:
    """Give what comes after the cursor."""
    query, services = call.query_as(PullQuery), call.services
    stored = await reached(call, call.path["id"])
    bound = cursors.bound_to("pull", stored.id)  # not to the caller: who takes over goes on from there
    made = 0 if query.cursor is None else cursors.decode(query.cursor, bound, kinds=[int])[0]
    if made and made < first_at(call.now_ms - int(services.retention_s * 1000)):
        raise ProblemError(
            "bad_cursor", "The cursor is older than what is retained: events may be missing. Start again without it."
        )
    bodies, place = await _next(call, stored.value, made, query.limit)
    wait_s = seconds(query.wait)
    if not bodies and wait_s:
        await services.waiting.until_more(stored.id, place, timeout_s=wait_s)
        bodies, place = await _next(call, stored.value, place, query.limit)
    cursor = cursors.encode(bound, [place])
    return Reply(body=b'{"data":[%b],"next_cursor":"%b"}' % (b",".join(bodies), cursor.encode()))


async def _next(call: Call, subscription: Subscription, made: int, limit: int) -> tuple[list[bytes], int]:
    """Bodies of the next events, and the place after them; that moves on also where there are none.

    A place that stayed behind while nothing happened would be taken for one that missed something.
    """
    last, told = await call.services.lane_log.after(subscription.id, made, limit=limit)
    events = await call.services.log.at([each.position for each in told])
    bodies = [
        render(event, subscription.shape_at(event.position))
        for event in events
        if event is not None and sees_brand(call.principal, event.brand)
    ]
    if len(told) == limit:
        return bodies, told[-1].made
    return bodies, max(made, last, told[-1].made if told else 0)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/subscriptions/{id}/events",
        name="pull_events",
        tag="subscriptions",
        summary="Pull a subscription's events",
        description="In log order, filtered and masked as for pushing. The client keeps the cursor.",
        handler=pull,
        roles=EVERYBODY,
        query=PullQuery,
        answer=PulledEvents,
        problems=["not_found", "bad_cursor", "too_many_requests"],
        deadline_s=DEADLINE_S,
        example={
            "data": [EVENT_TYPES["order.status_changed"].example],
            "next_cursor": "WyJkM2V4YW1wbGUiLDM2MjUwNDE4MTU3NjAwMF0",
        },
    ),
)
