"""Deliveries: what became of each event for each subscription; one with its attempts, request and answers."""

from typing import Any, Final

import orjson
from starlette.responses import Response

from relay.api.problems import ProblemError
from relay.api.ui import gathering
from relay.api.ui.event_view import event_row
from relay.api.ui.formats import epoch_ms
from relay.api.ui.forms import Form
from relay.api.ui.health import name_of
from relay.api.ui.order_view import masked
from relay.api.ui.sessions import Notice
from relay.api.ui.statuses import Level
from relay.api.ui.visits import Visit, refusal
from relay.core.deliveries import State
from relay.core.events import render
from relay.store.positions import parse_delivery_id

FILTERS: Final = ("subscription", "status", "event")


async def show_all(visit: Visit) -> Response:
    """The newest first."""
    filters = {name: visit.param(name) for name in FILTERS if visit.param(name)}
    cursor = visit.param("cursor")
    fault = None
    found: dict[str, Any] = {"data": [], "next_cursor": None}
    try:
        found = await visit.ask("list_deliveries", query={**filters, **({"cursor": cursor} if cursor else {})})
    except ProblemError as problem:
        if problem.kind.status not in (400, 422):
            raise
        fault = refusal(problem)
    return visit.show(
        "deliveries.html",
        part="_deliveries.html",
        rows=found["data"],
        next_cursor=found["next_cursor"],
        filters=filters,
        fault=fault,
        names={each["id"]: name_of(each) for each in await gathering.subscriptions(visit)},
        states=[state.value for state in State],
        live=not cursor and fault is None and visit.param("live") != "off",
        first_page=not cursor,
    )


async def show_one(visit: Visit) -> Response:
    """One delivery."""
    delivery = await visit.ask("get_delivery", path={"id": visit.path("id")})
    subscription = await _subscription(visit, delivery["subscription"])
    reveal = visit.notice is not None and visit.notice.more.get("reveal") == delivery["id"]
    sent = await _sent(visit, delivery["id"])
    hides = sent is not None and not reveal and masked(sent["data"]) != sent["data"]
    if sent is not None and not reveal:
        sent = {**sent, "data": masked(sent["data"])}
    return visit.show(
        "delivery.html",
        part="_delivery.html",
        delivery=delivery,
        subscription=subscription,
        name=delivery["subscription"] if subscription is None else name_of(subscription),
        row=None if sent is None else event_row(sent),
        sent=sent,
        hides=hides,
        revealed=reveal,
        timestamps={each["number"]: (epoch_ms(each["at"]) or 0) // 1000 for each in delivery["attempts"]},
    )


async def retry(visit: Visit, _form: Form) -> Response:
    """Deliver once more."""
    delivery_id = visit.path("id")
    return await visit.attempt(
        f"/ui/deliveries/{delivery_id}",
        visit.ask("retry_delivery", path={"id": delivery_id}),
        lambda _: Notice(level=Level.OK, text="It is pending again, and waits for its turn."),
    )


async def reveal(visit: Visit, _form: Form) -> Response:
    """Show whose order was sent, this once; the audit log has who asked."""
    delivery_id = visit.path("id")
    await visit.ask("get_delivery", path={"id": delivery_id})  # refused where it is another's
    return await visit.attempt(
        f"/ui/deliveries/{delivery_id}",
        visit.ask("reveal_delivery", path={"id": delivery_id}, body={}),
        lambda _: Notice(
            level=Level.IDLE,
            text="The customer is shown this once; the audit log notes it.",
            more={"reveal": delivery_id},
        ),
    )


async def _subscription(visit: Visit, subscription_id: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = await visit.ask("get_subscription", path={"id": subscription_id})
    except ProblemError as problem:
        if problem.kind.status != 404:  # noqa: PLR2004
            raise
        return None
    return found


async def _sent(visit: Visit, delivery_id: str) -> dict[str, Any] | None:
    """The body of the request, as its subscription wanted it; None where that is not known any more."""
    subscription_id, position = parse_delivery_id(delivery_id)
    stored = await visit.services.subscriptions.get(subscription_id)
    (event,) = await visit.services.log.at([position])
    if stored is None or event is None:
        return None
    content: dict[str, Any] = orjson.loads(render(event, stored.value.shape_at(position)))
    return content
