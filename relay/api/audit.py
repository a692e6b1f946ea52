"""The audit log: who changed what, when, and from where."""

from typing import Any, Final

from pydantic import Field

from relay.api import cursors
from relay.api.operations import READERS, Call, ListQuery, Operation, Page, Reply, Rfc3339
from relay.api.validation import Answer
from relay.core.operational import rfc3339
from relay.store.audit import Noted
from relay.store.positions import LARGEST, time_ms


class Actor(Answer):
    """Who it was."""

    kind: str = Field(json_schema_extra={"enum": ["admin_token", "api_key", "system"]})
    """``system``: the relay itself."""
    id: str | None
    """Of the key."""
    name: str | None
    """Of the key."""
    partner: str | None
    """Whose key it is."""


class AuditEntry(Answer):
    """One change, or one that was refused."""

    at: Rfc3339
    """When."""
    actor: Actor
    """Who."""
    action: str
    """``subscription.create``."""
    target: str | None
    """``subscription/sub_…``."""
    outcome: str = Field(json_schema_extra={"enum": ["done", "refused"]})
    """Refused: a key tried what is beyond it."""
    fields: list[str]
    """Which fields were set; never what to."""
    reason: str | None
    """Why it was refused."""
    address: str | None
    """Where the request came from: the other end of its connection."""
    request: str | None
    """Its ``x-request-id``."""


class AuditPage(Page[AuditEntry]):
    """Some entries, newest first."""


async def get_list(call: Call) -> Reply:
    """List entries, newest first."""
    query = call.query_as(ListQuery)
    bound = call.bound(query)
    below = LARGEST if query.cursor is None else cursors.decode(query.cursor, bound, kinds=[int])[0]
    found = await call.services.audit.newest(below=below, limit=query.limit + 1)
    page = found[: query.limit]
    following = cursors.encode(bound, [page[-1].position - 1]) if len(found) > len(page) else None
    return Reply(body=AuditPage(data=[_shown(each) for each in page], next_cursor=following))


def _shown(noted: Noted) -> AuditEntry:
    entry = noted.entry
    return AuditEntry(
        at=rfc3339(time_ms(noted.position)),
        actor=Actor(kind=entry.actor, id=entry.actor_id, name=entry.actor_name, partner=entry.partner),
        action=entry.action,
        target=entry.target,
        outcome=entry.outcome,
        fields=list(entry.fields),
        reason=entry.reason,
        address=entry.address,
        request=entry.request,
    )


_EXAMPLE: Final[dict[str, Any]] = {
    "at": "2026-02-02T13:46:05.120Z",
    "actor": {"kind": "api_key", "id": "key_k3m5q7r2t4u6v2x4z6b3", "name": "Courier's own", "partner": "courier"},
    "action": "subscription.change",
    "target": "subscription/sub_k3m5q7r2t4u6v2x4z6b3",
    "outcome": "done",
    "fields": ["url"],
    "reason": None,
    "address": "192.0.2.7",
    "request": "9f1c2e3a4b5d6f70",
}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/audit",
        name="list_audit",
        tag="audit",
        summary="Show who changed what",
        description="Newest first; about the last 20 000 entries.",
        handler=get_list,
        roles=READERS,
        query=ListQuery,
        answer=AuditPage,
        example={"data": [_EXAMPLE], "next_cursor": None},
    ),
)
