"""API keys: who else may call, as what, for how long. A key is shown once, and kept as a digest."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from relay.api import cursors
from relay.api.auth import KEY_BYTES, digest_of, new_key
from relay.api.fields import BrandNames, Moment, Text, epoch_ms, parse_moment
from relay.api.identifiers import ID_BYTES, derive, is_id, make_id
from relay.api.operations import ADMINS, READERS, Call, ListQuery, Operation, Page, Reply, Rfc3339
from relay.api.problems import Fault, not_found
from relay.api.validation import Answer, Body, Sound
from relay.core.operational import rfc3339
from relay.store.apikeys import ApiKey, KeyRole
from relay.store.documents import NameTaken, Write

Scope = Literal["orders:ignore"]


class ApiKeyCreate(Body):
    """A key to be made."""

    name: Text
    """For people: whose it is, what for."""
    role: KeyRole
    """``admin`` may do everything, ``viewer`` sees everything, ``partner`` has its own partner's subscriptions."""
    partner: Text | None = None
    """Whose key it is; with the role ``partner``, and only there."""
    brands: BrandNames | None = None
    """What a partner's key reaches; absent is none."""
    scopes: Annotated[list[Scope], Field(max_length=1)] | None = None
    """What a partner's key may do besides: ``orders:ignore`` cancels orders of its brands."""
    expires_at: Moment | None = None
    """It is refused from then on; null: never."""


class ApiKeyAnswer(Answer):
    """A key, without itself."""

    id: str
    """Of the key."""
    name: str
    """For people."""
    role: str
    """What it may do."""
    partner: str | None
    """Whose it is."""
    brands: list[str] | None
    """What a partner's key reaches; null for the other roles."""
    scopes: list[str]
    """What a partner's key may do besides."""
    expires_at: Rfc3339 | None
    """It is refused from then on."""
    created_at: Rfc3339
    """When it was made."""
    last_used_at: Rfc3339 | None
    """To the minute."""


class NewApiKey(ApiKeyAnswer):
    """A key that was just made."""

    key: str
    """The key itself: shown this once."""


class ApiKeyPage(Page[ApiKeyAnswer]):
    """Some keys, by id."""


async def check(call: Call, fields: Sound) -> list[Fault]:
    """Look at what belongs together, and at the clock."""
    faults = []
    role = fields.get("role")
    if role == "partner" and fields.lacks("partner"):
        faults.append(Fault(pointer="/partner", detail="Is needed with the role partner.", code="missing"))
    if role in ("admin", "viewer"):
        faults += [
            Fault(pointer=f"/{name}", detail="Goes with the role partner only.", code="choice")
            for name in ("partner", "brands", "scopes")
            if fields.get(name)
        ]
    expires_at = fields.get("expires_at")
    if expires_at is not None and epoch_ms(parse_moment(expires_at)) <= call.now_ms:
        faults.append(Fault(pointer="/expires_at", detail="Must lie in the future.", code="range"))
    return faults


async def create(call: Call) -> Reply:
    """Make a key."""
    body, services = call.body_as(ApiKeyCreate), call.services
    key_id = make_id("key", derive(call.nonce, "id", ID_BYTES))
    key = new_key(key_id, derive(call.nonce, "key", KEY_BYTES))
    made = ApiKey(
        id=key_id,
        name=body.name,
        role=body.role,
        digest=digest_of(key),
        partner=body.partner,
        brands=tuple(body.brands or ()),
        scopes=tuple(body.scopes or ()),
        expires_ms=None if body.expires_at is None else epoch_ms(parse_moment(body.expires_at)),
        created_at=rfc3339(call.now_ms),
    )
    try:
        stored = await services.api_keys.create(key_id, Write(made))
    except NameTaken:
        earlier = await services.api_keys.get(key_id) if call.repeatable else None
        if earlier is None:
            raise
        stored = earlier  # made by a run of this very request that was cut off
    return Reply(
        body=NewApiKey(**_shown(stored.value, None), key=key),
        headers={"location": f"/v1/api-keys/{key_id}"},
        target=f"api-key/{key_id}",
    )


async def get_list(call: Call) -> Reply:
    """List keys."""
    query = call.query_as(ListQuery)
    bound = call.bound(query)
    after = "" if query.cursor is None else cursors.decode(query.cursor, bound, kinds=[str])[0]
    rest = [stored for key_id, stored in (await call.services.api_keys.all()).items() if key_id > after]
    used = await call.services.api_keys.last_used_ms()
    page = rest[: query.limit]
    following = cursors.encode(bound, [page[-1].id]) if len(rest) > len(page) else None
    data = [ApiKeyAnswer(**_shown(stored.value, used.get(stored.id))) for stored in page]
    return Reply(body=ApiKeyPage(data=data, next_cursor=following))


async def revoke(call: Call) -> Reply:
    """Revoke a key: the next request that brings it is refused."""
    key_id = call.path["id"]
    if not is_id("key", key_id) or not await call.services.api_keys.revoke(key_id):
        raise not_found("API key")
    return Reply(status=204, target=f"api-key/{key_id}")


def _shown(key: ApiKey, used_ms: int | None) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "partner": key.partner,
        "brands": list(key.brands) if key.role == "partner" else None,
        "scopes": list(key.scopes),
        "expires_at": None if key.expires_ms is None else rfc3339(key.expires_ms),
        "created_at": key.created_at,
        "last_used_at": None if used_ms is None else rfc3339(used_ms),
    }


_EXAMPLE: Final = {
    "id": "key_k3m5q7r2t4u6v2x4z6b3",
    "name": "Courier's own",
    "role": "partner",
    "partner": "courier",
    "brands": ["openapitest"],
    "scopes": ["orders:ignore"],
    "expires_at": "2027-01-01T00:00:00.000Z",
    "created_at": "2026-02-02T13:40:00.000Z",
    "last_used_at": None,
}

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/api-keys",
        name="create_api_key",
        tag="api-keys",
        summary="Make an API key",
        description="The key is in this answer and nowhere else, ever.",
        handler=create,
        roles=ADMINS,
        body=ApiKeyCreate,
        check=check,
        answer=NewApiKey,
        status=201,
        action="api_key.create",
        example={**_EXAMPLE, "key": "rk_k3m5q7r2t4u6v2x4z6b3_dGhpcyBpcyBhbiBleGFtcGxlIG9mIGEga2V5LCBub3Q"},
        body_examples={
            "for dashboards": {"name": "dashboards", "role": "viewer"},
            "for a partner": {
                "name": "Courier's own",
                "role": "partner",
                "partner": "courier",
                "brands": ["openapitest"],
                "scopes": ["orders:ignore"],
                "expires_at": "2030-01-01T00:00:00Z",
            },
        },
    ),
    Operation(
        method="GET",
        path="/v1/api-keys",
        name="list_api_keys",
        tag="api-keys",
        summary="List API keys",
        handler=get_list,
        roles=READERS,
        query=ListQuery,
        answer=ApiKeyPage,
        example={"data": [_EXAMPLE], "next_cursor": None},
    ),
    Operation(
        method="DELETE",
        path="/v1/api-keys/{id}",
        name="revoke_api_key",
        tag="api-keys",
        summary="Revoke an API key",
        handler=revoke,
        roles=ADMINS,
        status=204,
        problems=["not_found"],
        action="api_key.revoke",
    ),
)
