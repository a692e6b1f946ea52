"""Subscriptions: who is told what, and where."""

import asyncio
from typing import Final

from relay import logs
from relay.api import cursors
from relay.api.nudges import nudge
from relay.api.operations import EVERYBODY, LOOKUP_DEADLINE_S, PARTNERS, Call, ListQuery, Operation, Reply
from relay.api.problems import Fault, ProblemError, invalid, not_found
from relay.api.reach import all_reached, covers, reached
from relay.api.subscription_answers import (
    EXAMPLE,
    EXAMPLE_WITH_SECRET,
    SubscriptionAnswer,
    SubscriptionPage,
    SubscriptionWithSecret,
)
from relay.api.subscription_checks import check, is_secret_taken, normalized, secret_faults, taken_secret
from relay.api.subscription_documents import changed, made, new_secret
from relay.api.subscription_models import SubscriptionChange, SubscriptionCreate
from relay.api.subscription_views import answers
from relay.api.versions import etag_of, version_wanted
from relay.pipeline.subscriptions import name_of
from relay.store.documents import NameTaken, Stored, Write
from relay.store.subscriptions import Subscription

OPENING_S: Final = 1.0
"""How long the past of a new subscription is queued while its client waits; the rest is done in the background."""

_EXPOSING: Final = frozenset(
    {"url", "headers", "event_types", "brands", "venues", "redact", "include_raw", "secret", "partner"}
)
"""Fields that decide who gets to see what."""


async def create(call: Call) -> Reply:
    """Make a subscription."""
    body, services = call.body_as(SubscriptionCreate), call.services
    url = None if body.url is None else normalized(services, body.url)
    if body.secret is not None:
        await _check_secret(call, body.secret, body.signature, url=url, own_id=None)
    secret = body.secret or new_secret(body.signature, call.nonce)
    subscription = made(call, body, url=url, secret=secret)
    write = Write(
        subscription,
        name=subscription.name,
        gate=subscription.gate,
        placeholder=str(subscription.created_position),
    )
    try:
        stored = await services.subscriptions.create(subscription.id, write)
    except NameTaken:
        earlier = await services.subscriptions.get(subscription.id) if call.repeatable else None
        if earlier is None:
            raise
        stored = earlier  # made by a run of this very request that was cut off
    if stored.value.opening:
        stored = await _opened(call, stored)
    (answer,) = await answers(services, [stored], now_ms=call.now_ms)
    return Reply(
        body=SubscriptionWithSecret(**dict(answer), secret=secret),
        etag=etag_of(stored, generation=stored.id),
        headers={"location": f"/v1/subscriptions/{stored.id}"},
        target=f"subscription/{stored.id}",
    )


async def _opened(call: Call, stored: Stored[Subscription]) -> Stored[Subscription]:
    """Queue what it is to be told of the past, as far as that goes while the client waits."""
    try:
        async with asyncio.timeout(OPENING_S):
            return await call.services.past.open(stored.value)
    except TimeoutError:
        logs.event("past goes on in the background", subscription=stored.id)
        await nudge(call.services, "replay")
        return stored


async def get_list(call: Call) -> Reply:
    """List subscriptions by id."""
    query = call.query_as(ListQuery)
    bound = call.bound(query)
    after = "" if query.cursor is None else cursors.decode(query.cursor, bound, kinds=[str])[0]
    rest = [stored for key, stored in (await all_reached(call)).items() if key > after]
    page = rest[: query.limit]
    following = cursors.encode(bound, [page[-1].id]) if len(rest) > len(page) else None
    data = await answers(call.services, page, now_ms=call.now_ms)
    return Reply(body=SubscriptionPage(data=data, next_cursor=following))


async def get_one(call: Call) -> Reply:
    """Show a subscription."""
    return await reply(call, await reached(call, call.path["id"]))


async def change(call: Call) -> Reply:
    """Change a subscription; what is left out, or is as it was, changes nothing."""
    body, services = call.body_as(SubscriptionChange), call.services
    present = await reached(call, call.path["id"])
    version = version_wanted(call, present, generation=present.id)
    if call.fields & _EXPOSING and not covers(call.principal, present.value.brands):
        raise ProblemError(
            "forbidden", "This subscription also serves brands beyond this key: the operator changes what it is sent."
        )
    url = None if body.url is None else normalized(services, body.url)
    if "signature" in call.fields and body.signature != present.value.signature:
        detail = "Cannot be changed: make another subscription with it."
        raise invalid([Fault(pointer="/signature", detail=detail, code="choice")])
    if "secret" in call.fields:
        endpoint = url if "url" in call.fields else present.value.url
        await _check_secret(call, body.secret, present.value.signature, url=endpoint, own_id=present.id)
    if changed(call, body, present.value, url=url) is None:
        return await reply(call, present, changed=False)
    before: list[Subscription] = []

    def apply(subscription: Subscription) -> Write[Subscription]:
        before[:] = [subscription]
        return changed(call, body, subscription, url=url) or Write(subscription, name=subscription.name)

    async with services.turns.of(present.id):
        stored = await services.subscriptions.update(present.id, apply, name_of=name_of, if_version=version)
    await services.life.announce(before[0], stored.value, at_ms=call.now_ms)
    return await reply(call, stored)


async def delete(call: Call) -> Reply:
    """Delete a subscription: nothing is sent any more, what is queued is discarded."""
    services = call.services
    present = await reached(call, call.path["id"])
    version = version_wanted(call, present, generation=present.id)
    if not await services.subscriptions.delete(present.id, name=present.value.name, if_version=version):
        raise not_found("subscription")
    await nudge(services, "discard")
    return Reply(status=204, target=f"subscription/{present.id}")


async def reply(call: Call, stored: Stored[Subscription], *, changed: bool = True) -> Reply:
    """A subscription as an answer."""
    (answer,) = await answers(call.services, [stored], now_ms=call.now_ms)
    return Reply(
        body=answer,
        etag=etag_of(stored, generation=stored.id),
        target=f"subscription/{stored.id}",
        changed=changed,
    )


async def _check_secret(call: Call, secret: str, signature: str, *, url: str | None, own_id: str | None) -> None:
    faults = secret_faults(secret, signature)
    if not faults and await is_secret_taken(call.services, secret, url=url, own_id=own_id, now_ms=call.now_ms):
        faults = [taken_secret()]
    if faults:
        raise invalid(faults)


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/subscriptions",
        name="create_subscription",
        tag="subscriptions",
        summary="Make a subscription",
        description="The secret is in this answer, and never again but when it is rotated.",
        handler=create,
        roles=PARTNERS,
        body=SubscriptionCreate,
        check=check,
        deadline_s=LOOKUP_DEADLINE_S,
        answer=SubscriptionWithSecret,
        status=201,
        problems=["exists"],
        action="subscription.create",
        etag=True,
        example=EXAMPLE_WITH_SECRET,
        body_examples={
            "orders of all brands": {
                "name": "courier",
                "url": "https://courier.example/hooks",
                "event_types": ["order.*"],
                "redact": ["customer.phone"],
            },
            "to pull from only, with the orders that are open now": {
                "name": "kitchen screen",
                "url": None,
                "event_types": ["order.created", "order.status_changed", "order.removed"],
                "start": "open_orders",
            },
        },
    ),
    Operation(
        method="GET",
        path="/v1/subscriptions",
        name="list_subscriptions",
        tag="subscriptions",
        summary="List subscriptions",
        handler=get_list,
        roles=EVERYBODY,
        query=ListQuery,
        answer=SubscriptionPage,
        example={"data": [EXAMPLE], "next_cursor": None},
    ),
    Operation(
        method="GET",
        path="/v1/subscriptions/{id}",
        name="get_subscription",
        tag="subscriptions",
        summary="Show a subscription and how it is doing",
        handler=get_one,
        roles=EVERYBODY,
        answer=SubscriptionAnswer,
        problems=["not_found"],
        etag=True,
        example=EXAMPLE,
    ),
    Operation(
        method="PATCH",
        path="/v1/subscriptions/{id}",
        name="change_subscription",
        tag="subscriptions",
        summary="Change a subscription",
        handler=change,
        roles=PARTNERS,
        body=SubscriptionChange,
        check=check,
        deadline_s=LOOKUP_DEADLINE_S,
        answer=SubscriptionAnswer,
        problems=["not_found", "exists", "conflict", "precondition_failed"],
        action="subscription.change",
        etag=True,
        conditional=True,
        example=EXAMPLE,
        body_examples={
            "another address": {"url": "https://courier.example/v2/hooks"},
            "disable": {"enabled": False},
        },
    ),
    Operation(
        method="DELETE",
        path="/v1/subscriptions/{id}",
        name="delete_subscription",
        tag="subscriptions",
        summary="Delete a subscription",
        description="Nothing is sent any more; what is queued is discarded.",
        handler=delete,
        roles=PARTNERS,
        status=204,
        problems=["not_found", "precondition_failed"],
        action="subscription.delete",
        conditional=True,
    ),
)
