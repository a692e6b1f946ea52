"""Orders as last known; and one that is cancelled at Clopos."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic import Field

from relay.api import cursors
from relay.api.fields import QueryId
from relay.api.operations import PARTNERS, READERS, Call, ListQuery, Nothing, Operation, Page, Query, Reply
from relay.api.problems import ProblemError, not_found
from relay.core.changes import Feed
from relay.core.events import EVENT_TYPES
from relay.core.schemas import Order
from relay.store.brands import Brand
from relay.store.documents import Stored
from relay.store.snapshots import REMOVED, Head, Scope

PART: Final = 100
AT_ONCE: Final = 8
"""Venues whose heads are read at a time."""

IGNORE_DEADLINE_S: Final = 55.0
"""The command waits for its turn in the quota, a PUT and a GET."""

FORGET_DEADLINE_S: Final = 180.0
"""For a copy of a long log."""

MAX_DIGITS: Final = 16


class OrderQuery(ListQuery):
    """Which orders."""

    venue_id: QueryId | None = None
    """Of that venue."""
    status: str | None = Field(None, max_length=64)
    """In that status: pending, accepted, cancelled, delivered, or another in lower case."""


class VenueQuery(Query):
    """In which venue."""

    venue_id: QueryId | None = None
    """Needed where two venues share the id."""


class OrderAnswer(Order):
    """An order as last known."""

    sequence: int | None = Field(description="Of its last event; null where nothing has happened to it yet.")


class OrderPage(Page[OrderAnswer]):
    """Some orders, by id, the highest first."""


async def get_list(call: Call) -> Reply:
    """List orders, the highest id first."""
    query = call.query_as(OrderQuery)
    stored = await brand_of(call)
    bound = call.bound(query)
    place = None if query.cursor is None else tuple(cursors.decode(query.cursor, bound, kinds=[int, int]))
    heads = await _heads(call, stored, query.venue_id)
    wanted = sorted((each for each in heads if place is None or each < place), reverse=True)
    found: list[tuple[tuple[int, int], dict[str, Any]]] = []
    for start in range(0, len(wanted), PART):
        part = wanted[start : start + PART]
        found += [
            (each, order)
            for each, order in zip(part, await _objects(call, stored, part), strict=True)
            if order is not None and query.status in (None, order["status"])
        ]
        if len(found) > query.limit:
            break
    page = found[: query.limit]
    cursor = cursors.encode(bound, page[-1][0]) if len(found) > len(page) else None
    data = [{**order, "sequence": heads[each].sequence or None} for each, order in page]
    return Reply(body={"data": data, "next_cursor": cursor})


async def _heads(call: Call, stored: Stored[Brand], venue_id: int | None) -> dict[tuple[int, int], Head]:
    """Heads of what is not removed, by (order, venue)."""
    venues = await venues_of(call, stored, venue_id)
    gate = asyncio.Semaphore(AT_ONCE)

    async def of(venue: int) -> dict[tuple[int, int], Head]:
        async with gate:
            found = await call.services.snapshots.all_heads(Scope(stored.id, venue, Feed.ORDERS.value))
        return {(order_id, venue): head for order_id, head in found.items() if REMOVED not in head.flags}

    merged: dict[tuple[int, int], Head] = {}
    for each in await asyncio.gather(*[of(venue) for venue in venues]):
        merged |= each
    return merged


async def _objects(call: Call, stored: Stored[Brand], wanted: Sequence[tuple[int, int]]) -> list[dict[str, Any] | None]:
    by_venue: dict[int, list[int]] = {}
    for order_id, venue in wanted:
        by_venue.setdefault(venue, []).append(order_id)
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for venue, ids in by_venue.items():
        scope = Scope(stored.id, venue, Feed.ORDERS.value)
        for order_id, snapshot in zip(ids, await call.services.snapshots.objects(scope, ids), strict=True):
            if snapshot is not None:
                found[order_id, venue] = snapshot.object
    return [found.get(each) for each in wanted]


async def get_one(call: Call) -> Reply:
    """Show an order as last known."""
    stored = await brand_of(call)
    venue_id, order_id = await _located(call, stored)
    known = await call.services.ignorer.known(Scope(stored.id, venue_id, Feed.ORDERS.value), order_id)
    if known is None:
        raise not_found("order")
    return Reply(body=known)


async def ignore(call: Call) -> Reply:
    """Cancel an order at Clopos."""
    services = call.services
    if call.principal.role == "partner" and call.path["brand"] not in call.principal.brands:
        raise not_found("brand", hidden=f"brand/{call.path['brand'][:64]}")
    stored = await brand_of(call)
    venue_id, order_id = await _located(call, stored)
    order = await services.ignorer.ignore(stored, order_id, venue_id=venue_id)
    target = f"brand/{stored.id}/venue/{venue_id}/order/{order_id}"
    return Reply(body=order, target=target)


async def forget(call: Call) -> Reply:
    """Forget the customer of an order."""
    stored = await brand_of(call)
    venue_id, order_id = await _located(call, stored, removed_too=True)
    await call.services.forgetter.forget(stored.id, order_id, venue_id=venue_id)
    return Reply(status=204, target=f"brand/{stored.id}/venue/{venue_id}/order/{order_id}")


async def brand_of(call: Call) -> Stored[Brand]:
    """The brand that a path names."""
    stored = await call.services.brands.get(call.path["brand"])
    if stored is None:
        raise not_found("brand")
    return stored


async def venues_of(call: Call, stored: Stored[Brand], venue_id: int | None) -> Iterable[int]:
    """The venues of a brand that are looked at; one of them, where the query names one."""
    known = {*await call.services.venues_of(stored.id), *(stored.value.venues or ())}
    if venue_id is None:
        return sorted(known)
    return [venue_id] if venue_id in known else []


async def _located(call: Call, stored: Stored[Brand], *, removed_too: bool = False) -> tuple[int, int]:
    """Venue and id of the order that a path names.

    Args:
        removed_too: one that was removed counts.

    Raises:
        ProblemError: 404: there is none; 409: several venues have one.
    """
    text = call.path["id"]
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise not_found("order")
    order_id = int(text)
    query = call.query_as(VenueQuery)
    found = []
    for venue in await venues_of(call, stored, query.venue_id):
        (head,) = await call.services.snapshots.heads(Scope(stored.id, venue, Feed.ORDERS.value), [order_id])
        if head is not None and (removed_too or REMOVED not in head.flags):
            found.append(venue)
    if not found:
        raise not_found("order")
    if len(found) > 1:
        shown = ", ".join(map(str, found))
        raise ProblemError("ambiguous", f"The venues {shown} each have an order of this id: say which with ?venue_id=.")
    return found[0], order_id


_EXAMPLE: Final[dict[str, Any]] = {
    **EVENT_TYPES["order.status_changed"].example["data"]["order"],
    "sequence": 1770039965120,
}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/brands/{brand}/orders",
        name="list_orders",
        tag="orders",
        summary="List orders as last known",
        description="The highest id first. Removed ones are left out.",
        handler=get_list,
        roles=READERS,
        query=OrderQuery,
        answer=OrderPage,
        problems=["not_found"],
        example={"data": [_EXAMPLE], "next_cursor": None},
    ),
    Operation(
        method="GET",
        path="/v1/brands/{brand}/orders/{id}",
        name="get_order",
        tag="orders",
        summary="Show an order as last known",
        handler=get_one,
        roles=READERS,
        query=VenueQuery,
        answer=OrderAnswer,
        problems=["not_found", "ambiguous"],
        etag=True,
        example=_EXAMPLE,
    ),
    Operation(
        method="POST",
        path="/v1/brands/{brand}/orders/{id}/ignore",
        name="ignore_order",
        tag="orders",
        summary="Cancel an order at Clopos",
        description="Sets IGNORE. The change is an event at once, once, however often this is repeated.",
        handler=ignore,
        roles=PARTNERS,
        scope="orders:ignore",
        query=VenueQuery,
        body=Nothing,
        body_optional=True,
        answer=OrderAnswer,
        problems=["not_found", "ambiguous", "refused", "conflict", "upstream", "upstream_timeout"],
        action="order.ignore",
        deadline_s=IGNORE_DEADLINE_S,
        keeps_answer=False,
        example={**_EXAMPLE, "status": "cancelled", "source_status": "IGNORE"},
    ),
    Operation(
        method="DELETE",
        path="/v1/brands/{brand}/orders/{id}/customer",
        name="forget_customer",
        tag="orders",
        summary="Forget the customer of an order",
        description="In what is known, in the log, in what is queued and kept, and in whatever later looks bring: "
        "name, phone, address, ids, comment, notes. Identity and status stay. The log is copied, which takes a while.",
        handler=forget,
        query=VenueQuery,
        status=204,
        problems=["not_found", "ambiguous", "conflict"],
        action="order.forget_customer",
        deadline_s=FORGET_DEADLINE_S,
    ),
)
