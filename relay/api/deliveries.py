"""Deliveries: what became of each event for each subscription; and once more."""

from typing import Final, Literal

from relay.api import cursors
from relay.api.delivery_views import EXAMPLE, EXAMPLE_ROW, DeliveryAnswer, DeliveryPage, one, rows
from relay.api.fields import Moment, epoch_ms, parse_moment
from relay.api.identifiers import is_id
from relay.api.operations import EVERYBODY, PARTNERS, Call, ListQuery, Nothing, Operation, Reply
from relay.api.problems import ProblemError, not_found
from relay.api.reach import all_reached, sees, sees_brand
from relay.core.deliveries import State
from relay.pipeline.replay import queue_for
from relay.store.documents import Stored
from relay.store.lane_walk import Cursor, Delivery
from relay.store.positions import first_at, parse_delivery_id
from relay.store.subscriptions import Subscription


class DeliveryQuery(ListQuery):
    """Which deliveries."""

    subscription: str | None = None
    """Of that subscription."""
    status: Literal["pending", "delivered", "dead", "expired", "discarded"] | None = None
    """In that state."""
    event: str | None = None
    """Of that event."""
    since: Moment | None = None
    """Made since then."""


async def get_list(call: Call) -> Reply:
    """List deliveries, newest first."""
    query = call.query_as(DeliveryQuery)
    bound = call.bound(query)
    place = None if query.cursor is None else cursors.decode(query.cursor, bound, kinds=[int, str])
    status = None if query.status is None else State(query.status)
    since = 0 if query.since is None else first_at(epoch_ms(parse_moment(query.since)))
    names = await _names(call)
    if query.subscription is not None:
        names = [name for name in names if name == query.subscription]
    if query.event is not None:
        found = await _of_event(call, query.event, names)
        found = [each for each in found if each.made >= since and status in (None, each.record.state)]
        found.sort(key=lambda each: (-each.made, each.subscription_id))
        if place is not None:
            found = [each for each in found if (-each.made, each.subscription_id) > (-place[0], place[1])]
        here, more = found[: query.limit], len(found) > query.limit
        following = cursors.encode(bound, [here[-1].made, here[-1].subscription_id]) if more else None
        return Reply(body=DeliveryPage(data=await rows(call.services, here), next_cursor=following))
    page = await call.services.deliveries.newest(
        names, limit=query.limit, after=None if place is None else Cursor(*place), status=status, since=since
    )
    shown = [each for each in page.deliveries if sees_brand(call.principal, each.brand)]
    following = None if page.next is None else cursors.encode(bound, [page.next.made, page.next.subscription_id])
    return Reply(body=DeliveryPage(data=await rows(call.services, shown), next_cursor=following))


async def _names(call: Call) -> list[str]:
    """Subscriptions within reach; for the operator also deleted ones, as long as their deliveries are kept."""
    names = list(await all_reached(call))
    if call.principal.role != "partner":
        names += await call.services.maintenance.gone_lanes()
    return names


async def _of_event(call: Call, event_id: str, names: list[str]) -> list[Delivery]:
    position = await call.services.log.position_of(event_id) if is_id("evt", event_id) else None
    if position is None:
        return []
    found = await call.services.deliveries.of_event(position, names)
    return [each for each in found if sees_brand(call.principal, each.brand)]


async def get_one(call: Call) -> Reply:
    """Show a delivery with its attempts."""
    delivery, _ = await _reached(call)
    return Reply(body=await one(call.services, delivery))


async def retry(call: Call) -> Reply:
    """Make a delivery pending again."""
    services = call.services
    delivery, stored = await _reached(call)
    (event,) = await services.log.at([delivery.position])
    if event is None:
        raise ProblemError("conflict", "Its event is not retained any more: there is nothing left to send.")
    if stored is None:
        raise ProblemError("conflict", "Its subscription is deleted.")
    subscription = stored.value
    (outcome,) = await services.deliveries.reopen(
        subscription.id,
        [(delivery.position, queue_for(subscription, event), event.brand or "")],
        pull_only=subscription.url is None,
    )
    if outcome == "gone":
        raise ProblemError("conflict", "Its event is not retained any more: there is nothing left to send.")
    await services.wake("deliver")
    again = await services.deliveries.get(subscription.id, delivery.position)
    return Reply(body=await one(services, again or delivery), target=f"delivery/{delivery.id}")


async def _reached(call: Call) -> tuple[Delivery, Stored[Subscription] | None]:
    """The delivery that a path names, and its subscription where it is not deleted."""
    try:
        subscription_id, position = parse_delivery_id(call.path["id"])
    except ValueError:
        raise not_found("delivery") from None
    if not is_id("sub", subscription_id):
        raise not_found("delivery")
    stored = await call.services.subscriptions.get(subscription_id)
    delivery = await call.services.deliveries.get(subscription_id, position)
    if delivery is None or (stored is None and call.principal.role == "partner"):
        raise not_found("delivery")
    reach = stored is None or sees(call.principal, stored.value)
    if not (reach and sees_brand(call.principal, delivery.brand)):
        raise not_found("delivery", hidden=f"delivery/{delivery.id}")
    return delivery, stored


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/deliveries",
        name="list_deliveries",
        tag="deliveries",
        summary="List deliveries",
        description="Newest first. Where few of many match, a page may be short and still have a next.",
        handler=get_list,
        roles=EVERYBODY,
        query=DeliveryQuery,
        answer=DeliveryPage,
        example={"data": [EXAMPLE_ROW], "next_cursor": None},
    ),
    Operation(
        method="GET",
        path="/v1/deliveries/{id}",
        name="get_delivery",
        tag="deliveries",
        summary="Show a delivery with its attempts",
        handler=get_one,
        roles=EVERYBODY,
        answer=DeliveryAnswer,
        problems=["not_found"],
        etag=True,
        example=EXAMPLE,
    ),
    Operation(
        method="POST",
        path="/v1/deliveries/{id}/retry",
        name="retry_delivery",
        tag="deliveries",
        summary="Deliver once more",
        description="In any state: it is pending again, and waits its turn within its subject. Attempt numbers go on.",
        handler=retry,
        roles=PARTNERS,
        body=Nothing,
        body_optional=True,
        answer=DeliveryAnswer,
        status=202,
        problems=["not_found", "conflict"],
        action="delivery.retry",
        example={**EXAMPLE, "status": "pending"},
    ),
)
