"""Brands: which tenants of Clopos are looked at, and how they are doing."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from relay.api import cursors
from relay.api.brand_models import (
    EXAMPLE,
    EXAMPLE_BODY,
    BrandAnswer,
    BrandChange,
    BrandCreate,
    BrandPage,
    PollAnswer,
    PollRequested,
)
from relay.api.brand_models import BrandState as BrandStateAnswer
from relay.api.identifiers import derive
from relay.api.nudges import nudge
from relay.api.operations import READERS, Call, ListQuery, Nothing, Operation, Reply
from relay.api.problems import not_found
from relay.api.seals import is_sealed
from relay.api.versions import etag_of, version_wanted
from relay.core.operational import rfc3339
from relay.store.brands import Brand
from relay.store.documents import NameTaken, Stored, Write

GENERATION_BYTES: Final = 8
MOST_ALIKE: Final = 5


async def create(call: Call) -> Reply:
    """Make a brand and have it looked at."""
    body, services = call.body_as(BrandCreate), call.services
    now = rfc3339(call.now_ms)
    generation = derive(call.nonce, "brand", GENERATION_BYTES).hex()
    made = Brand(
        brand=body.brand,
        client_id=body.client_id,
        client_secret=services.vault.seal(body.client_secret),
        integrator_id=body.integrator_id,
        venues=None if body.venues is None else tuple(body.venues),
        currency=body.currency,
        clopos_url=body.clopos_url,
        poll_orders=body.poll.orders,
        poll_stations=body.poll.stations,
        poll_venues=body.poll.venues,
        backfill=body.backfill,
        enabled=body.enabled,
        created_at=now,
        updated_at=now,
        generation=generation,
    )
    try:
        stored = await services.brands.create(body.brand, Write(made))
    except NameTaken:
        present = await services.brands.get(body.brand)
        if not call.repeatable or present is None or present.value.generation != generation:
            raise
        stored = present  # made by an earlier run of this very request
    if made.enabled:
        await _look_now(call, body.brand)
    return Reply(
        body=await _answer(call, stored),
        etag=etag_of(stored, generation=generation),
        headers={"location": f"/v1/brands/{body.brand}"},
        target=f"brand/{body.brand}",
    )


async def get_list(call: Call) -> Reply:
    """List brands by name."""
    query = call.query_as(ListQuery)
    bound = call.bound(query)
    after = "" if query.cursor is None else cursors.decode(query.cursor, bound, kinds=[str])[0]
    everything = await call.services.brands.all()
    rest = [stored for name, stored in everything.items() if name > after]
    page = rest[: query.limit]
    following = cursors.encode(bound, [page[-1].id]) if len(rest) > len(page) else None
    data = await asyncio.gather(*[_shown(call, stored, everything) for stored in page])
    return Reply(body=BrandPage(data=list(data), next_cursor=following))


async def get_one(call: Call) -> Reply:
    """Show a brand."""
    stored = await _stored(call)
    return Reply(body=await _answer(call, stored), etag=etag_of(stored, generation=stored.value.generation))


async def change(call: Call) -> Reply:
    """Change a brand; what is left out, or is as it was, changes nothing."""
    body, services = call.body_as(BrandChange), call.services
    present = await _stored(call)
    version = version_wanted(call, present, generation=present.value.generation)
    if _changed(call, body, present.value) == present.value:
        stored, changed = present, False
    else:
        name = present.value.brand
        async with services.turns.of(name):
            stored = await services.brands.update(
                name,
                lambda brand: Write(replace(_changed(call, body, brand), updated_at=rfc3339(call.now_ms))),
                name_of=lambda _: None,
                if_version=version,
            )
        changed = True
        if stored.value.enabled:
            await _look_now(call, name)
    return Reply(
        body=await _answer(call, stored),
        etag=etag_of(stored, generation=stored.value.generation),
        target=f"brand/{stored.id}",
        changed=changed,
    )


def _changed(call: Call, body: BrandChange, brand: Brand) -> Brand:
    """What the document becomes; the very same where nothing differs."""
    sent = {name: getattr(body, name) for name in call.fields}
    polls = {f"poll_{name}": getattr(body.poll, name) for name in body.poll.model_fields_set} if "poll" in sent else {}
    sent.pop("poll", None)
    if "client_secret" in sent:
        same = is_sealed(call.services.vault, brand.client_secret, body.client_secret)
        sent["client_secret"] = brand.client_secret if same else call.services.vault.seal(body.client_secret)
    if sent.get("venues") is not None:
        sent["venues"] = tuple(sent["venues"])
    return replace(brand, **sent, **polls)


async def delete(call: Call) -> Reply:
    """Forget a brand: what is queued of it is discarded, its snapshots go."""
    services = call.services
    present = await _stored(call)
    version = version_wanted(call, present, generation=present.value.generation)
    await services.maintenance.brand_gone(present.id)
    if not await services.brands.delete(present.id, if_version=version):
        raise not_found("brand")
    await services.polls.forget(present.id)
    await services.counters.forget_brand(present.id)
    await nudge(services, "discard")
    return Reply(status=204, target=f"brand/{present.id}")


async def poll_now(call: Call) -> Reply:
    """Have a brand looked at now."""
    stored = await _stored(call)
    await _look_now(call, stored.id)
    return Reply(body=PollRequested(brand=stored.id, requested=True), target=f"brand/{stored.id}")


async def _look_now(call: Call, brand: str) -> None:
    if await call.services.polls.request(brand):
        await call.services.wake("poll")


async def _stored(call: Call) -> Stored[Brand]:
    stored = await call.services.brands.get(call.path["brand"])
    if stored is None:
        raise not_found("brand")
    return stored


async def _answer(call: Call, stored: Stored[Brand]) -> BrandAnswer:
    return await _shown(call, stored, await call.services.brands.all())


async def _shown(call: Call, stored: Stored[Brand], everything: Mapping[str, Stored[Brand]]) -> BrandAnswer:
    brand = stored.value
    state: dict[str, Any] = await call.services.brand_states.of(stored)
    alike = [name for name, other in everything.items() if _shares_credentials(other.value, brand)]
    if alike:
        named = ", ".join(alike[:MOST_ALIKE]) + (", …" if len(alike) > MOST_ALIKE else "")
        note = f"The client_id is that of {named}, too, and a credential of Clopos is one brand's."
        state["notes"] = [*state["notes"], note]
    return BrandAnswer(
        brand=brand.brand,
        client_id=brand.client_id,
        integrator_id=brand.integrator_id,
        venues=None if brand.venues is None else list(brand.venues),
        currency=brand.currency,
        clopos_url=brand.clopos_url,
        poll=PollAnswer(orders=brand.poll_orders, stations=brand.poll_stations, venues=brand.poll_venues),
        backfill=brand.backfill,
        enabled=brand.enabled,
        created_at=brand.created_at,
        updated_at=brand.updated_at,
        state=BrandStateAnswer.model_validate(state),
    )


def _shares_credentials(one: Brand, other: Brand) -> bool:
    """Whether two brands sign in with the same credentials at the same place: one of them is a slip, most likely."""
    return one.brand != other.brand and all(
        getattr(one, name) == getattr(other, name) for name in ("client_id", "integrator_id", "clopos_url")
    )


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/brands",
        name="create_brand",
        tag="brands",
        summary="Look at a brand",
        description="Stores the credentials, sealed, and begins to look. `relay check` tells whether they work.",
        handler=create,
        body=BrandCreate,
        answer=BrandAnswer,
        status=201,
        problems=["exists"],
        action="brand.create",
        etag=True,
        example=EXAMPLE,
        body_examples={
            "the sandbox": EXAMPLE_BODY,
            "two venues, with a currency and a start in the past": {
                **EXAMPLE_BODY,
                "venues": [1, 2],
                "currency": "AZN",
                "backfill": "2026-02-01T00:00:00Z",
            },
        },
    ),
    Operation(
        method="GET",
        path="/v1/brands",
        name="list_brands",
        tag="brands",
        summary="List brands",
        handler=get_list,
        roles=READERS,
        query=ListQuery,
        answer=BrandPage,
        example={"data": [EXAMPLE], "next_cursor": None},
    ),
    Operation(
        method="GET",
        path="/v1/brands/{brand}",
        name="get_brand",
        tag="brands",
        summary="Show a brand and how it is doing",
        handler=get_one,
        roles=READERS,
        answer=BrandAnswer,
        problems=["not_found"],
        etag=True,
        example=EXAMPLE,
    ),
    Operation(
        method="PATCH",
        path="/v1/brands/{brand}",
        name="change_brand",
        tag="brands",
        summary="Change a brand",
        handler=change,
        body=BrandChange,
        answer=BrandAnswer,
        problems=["not_found", "precondition_failed"],
        action="brand.change",
        etag=True,
        conditional=True,
        example=EXAMPLE,
        body_examples={"stop looking": {"enabled": False}, "new credentials": {"client_secret": "demo-secret"}},
    ),
    Operation(
        method="DELETE",
        path="/v1/brands/{brand}",
        name="delete_brand",
        tag="brands",
        summary="Forget a brand",
        description="What is queued of it is discarded; what is known of its orders goes.",
        handler=delete,
        status=204,
        problems=["not_found", "precondition_failed"],
        action="brand.delete",
        conditional=True,
    ),
    Operation(
        method="POST",
        path="/v1/brands/{brand}/poll",
        name="poll_brand",
        tag="brands",
        summary="Look at a brand now",
        handler=poll_now,
        body=Nothing,
        body_optional=True,
        answer=PollRequested,
        status=202,
        problems=["not_found"],
        action="brand.poll",
        example={"brand": "openapitest", "requested": True},
    ),
)
