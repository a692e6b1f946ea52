"""The stream of events, live; and one of them: its order, what became of it, and its deliveries."""

import asyncio
from typing import Any, Final

from starlette.responses import Response

from relay.api.problems import ProblemError
from relay.api.ui import gathering
from relay.api.ui.event_view import event_row
from relay.api.ui.forms import Form
from relay.api.ui.health import name_of
from relay.api.ui.history import history
from relay.api.ui.order_view import changes_view, masked, order_view
from relay.api.ui.sessions import Notice
from relay.api.ui.statuses import Level
from relay.api.ui.visits import Visit, refusal
from relay.core.subscriptions import PATTERNS

FILTERS: Final = ("type", "brand", "venue_id", "subject")
MOST_DELIVERIES: Final = 20
"""Of one event, shown with their attempts; the others are listed on the page of deliveries."""

MOST_BRANDS: Final = 200


async def show_all(visit: Visit) -> Response:
    """The log, newest first."""
    filters = {name: visit.param(name) for name in FILTERS if visit.param(name)}
    cursor = visit.param("cursor")
    brands = [] if visit.is_part else [each["brand"] for each in await gathering.brands(visit)][:MOST_BRANDS]
    fault = None
    found: dict[str, Any] = {"data": [], "next_cursor": None}
    try:
        found = await visit.ask("list_events", query={**filters, **({"cursor": cursor} if cursor else {})})
    except ProblemError as problem:
        if problem.kind.status not in (400, 422):
            raise
        fault = refusal(problem)
    return visit.show(
        "events.html",
        part="_events.html",
        rows=[event_row(event) for event in found["data"]],
        next_cursor=found["next_cursor"],
        filters=filters,
        fault=fault,
        brands=brands,
        types=PATTERNS,
        live=not cursor and fault is None and visit.param("live") != "off",
        first_page=not cursor,
    )


async def show_one(visit: Visit) -> Response:
    """One event."""
    event = await visit.ask("get_event", path={"id": visit.path("id")})
    deliveries = event.pop("deliveries")
    past, names, *attempts = await asyncio.gather(
        history(visit, event),
        gathering.subscriptions(visit),
        *[visit.ask("get_delivery", path={"id": each["id"]}) for each in deliveries[:MOST_DELIVERIES]],
    )
    reveal = visit.notice is not None and visit.notice.more.get("reveal") == event["id"]
    data = event["data"]
    return visit.show(
        "event.html",
        event=event,
        row=event_row(event),
        order=order_view(data["order"], reveal=reveal) if "order" in data else None,
        changes=changes_view(data.get("changes") or {}, reveal=reveal),
        revealed=reveal,
        as_sent={**event, "data": data if reveal else masked(data)},
        past=past,
        deliveries=attempts,
        more_deliveries=len(deliveries) - len(attempts),
        names={each["id"]: name_of(each) for each in names},
    )


async def reveal(visit: Visit, _form: Form) -> Response:
    """Show whose order it is, this once; the audit log has who asked."""
    event_id = visit.path("id")
    return await visit.attempt(
        f"/ui/events/{event_id}",
        visit.ask("reveal_event", path={"id": event_id}, body={}),
        lambda _: Notice(
            level=Level.IDLE, text="The customer is shown this once; the audit log notes it.", more={"reveal": event_id}
        ),
    )
