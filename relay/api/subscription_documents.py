"""How does what was sent become what is kept of a subscription?"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import orjson

from relay.api.fields import seconds
from relay.api.identifiers import ID_BYTES, derive, make_id
from relay.api.operations import Call
from relay.api.problems import ProblemError
from relay.api.reach import limit_brands
from relay.api.seals import is_sealed
from relay.api.services import Services
from relay.api.subscription_models import SubscriptionChange, SubscriptionCreate
from relay.core.operational import rfc3339
from relay.core.retry import parse_schedule
from relay.core.signing import SECRET_BYTES, new_private_key, parse_private_key
from relay.core.signing import new_secret as new_shared_secret
from relay.pipeline.subscriptions import with_status
from relay.store.documents import Write, stamp_placeholder
from relay.store.keys import STAMPS_PER_MS
from relay.store.subscriptions import Secret, ShapeSince, Status, Subscription

MOST_SHAPES: Final = 200
"""Changes of masks within the retention: what was queued under each keeps its body."""

_AS_SENT: Final = frozenset({"name", "description", "ordering", "max_concurrency", "rate_limit"})


def new_secret(signature: Literal["v1", "v1a"], nonce: str) -> str:
    """Make a secret of the kind that a signature takes."""
    material = derive(nonce, "secret", SECRET_BYTES)
    return new_private_key(material) if signature == "v1a" else new_shared_secret(material)


def kept_secret(services: Services, secret: str) -> Secret:
    """A secret as it is kept: sealed, with the public key where there is one."""
    public_key = parse_private_key(secret).public() if secret.startswith("whsk_") else None
    return Secret(sealed=services.vault.seal(secret), public_key=public_key)


def headers_text(headers: Mapping[str, str]) -> str | None:
    """Headers as they are sealed: names in lower case; None for none."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return orjson.dumps(lowered, option=orjson.OPT_SORT_KEYS).decode() if lowered else None


def open_headers(services: Services, kept: str | None) -> dict[str, str]:
    """Headers as they are sent."""
    return {} if kept is None else dict(orjson.loads(services.vault.open(kept)))


def made(call: Call, body: SubscriptionCreate, *, url: str | None, secret: str) -> Subscription:
    """A new subscription; ``created_position`` holds the placeholder of its stamp."""
    services, principal = call.services, call.principal
    now = rfc3339(call.now_ms)
    headers = headers_text(body.headers)
    return Subscription(
        id=make_id("sub", derive(call.nonce, "id", ID_BYTES)),
        name=body.name,
        url=url,
        event_types=tuple(body.event_types),
        brands=limit_brands(principal, body.brands),
        venues=None if body.venues is None else tuple(body.venues),
        description=body.description,
        partner=principal.partner if principal.role == "partner" else body.partner,
        secrets=(kept_secret(services, secret),),
        signature=body.signature,
        headers=None if headers is None else services.vault.seal(headers),
        shapes=(ShapeSince(position=0, redact=tuple(body.redact), include_raw=body.include_raw),),
        ordering=body.ordering,
        max_concurrency=body.max_concurrency,
        rate_limit=body.rate_limit,
        retry_schedule_s=None if body.retry_schedule is None else parse_schedule(body.retry_schedule),
        max_age_s=None if body.max_age is None else seconds(body.max_age),
        status="active" if body.enabled else "disabled",
        disabled_reason=None if body.enabled else "by the operator",
        disabled_at=None if body.enabled else now,
        created_at=now,
        updated_at=now,
        start=body.start,
        opening=body.start != "now",
        created_position=stamp_placeholder(),
    )


def changed(
    call: Call, body: SubscriptionChange, present: Subscription, *, url: str | None
) -> Write[Subscription] | None:
    """What to write for a change; None where nothing differs.

    Args:
        url: the new one, normalized; read only where the body sets it.

    Raises:
        ProblemError: 409: masks were changed too often to keep track of.
    """
    after = replace(present, **_plain(call, body, present, url=url))
    after, placeholder = _reshaped(call, body, after)
    if "enabled" in call.fields:
        status: Status = "active" if body.enabled else "disabled"
        if status != after.status:
            after = with_status(after, status, reason=None, at_ms=call.now_ms).value
    if after == present:
        return None
    after = replace(after, updated_at=rfc3339(call.now_ms))
    # A new address is tried at once, whatever the old one's circuit was.
    moved = after.gate != present.gate or after.url != present.url
    return Write(after, name=after.name, gate=after.gate if moved else None, placeholder=placeholder)


def _plain(call: Call, body: SubscriptionChange, present: Subscription, *, url: str | None) -> dict[str, Any]:
    """The fields that stand for themselves."""
    values: dict[str, Any] = {name: getattr(body, name) for name in call.fields & _AS_SENT}
    for name in call.fields & {"event_types", "venues"}:
        value = getattr(body, name)
        values[name] = None if value is None else tuple(value)
    if "url" in call.fields:
        values["url"] = url
    if "brands" in call.fields:
        values["brands"] = limit_brands(call.principal, body.brands)
    if "partner" in call.fields and call.principal.role != "partner":
        values["partner"] = body.partner
    if "retry_schedule" in call.fields:
        values["retry_schedule_s"] = None if body.retry_schedule is None else parse_schedule(body.retry_schedule)
    if "max_age" in call.fields:
        values["max_age_s"] = None if body.max_age is None else seconds(body.max_age)
    return values | _sealed(call, body, present)


def _sealed(call: Call, body: SubscriptionChange, present: Subscription) -> dict[str, Any]:
    """The fields that are kept sealed; sealing anew what is the same would look like a change."""
    services = call.services
    values: dict[str, Any] = {}
    if "secret" in call.fields and not is_sealed(services.vault, present.secrets[0].sealed, body.secret):
        values["secrets"] = (kept_secret(services, body.secret),)
    if "headers" in call.fields:
        text = headers_text(body.headers)
        if text is None or present.headers is None or not is_sealed(services.vault, present.headers, text):
            values["headers"] = None if text is None else services.vault.seal(text)
    return values


def _reshaped(call: Call, body: SubscriptionChange, present: Subscription) -> tuple[Subscription, str]:
    """Shape events differently from now on: from the stamp of the write, for which the placeholder stands."""
    last = present.shapes[-1]
    redact = tuple(body.redact) if "redact" in call.fields else last.redact
    include_raw = body.include_raw if "include_raw" in call.fields else last.include_raw
    if (redact, include_raw) == (last.redact, last.include_raw):
        return present, ""
    placeholder = stamp_placeholder()
    oldest = (call.now_ms - int(call.services.retention_s * 1000)) * STAMPS_PER_MS
    later = [at for at, shape in enumerate(present.shapes) if int(shape.position) <= oldest]
    kept = present.shapes[later[-1] if later else 0 :]
    if len(kept) >= MOST_SHAPES:
        raise ProblemError(
            "conflict", f"The masks were changed {MOST_SHAPES} times within the retention: wait a while."
        )
    shape = ShapeSince(position=placeholder, redact=redact, include_raw=include_raw)
    return replace(present, shapes=(*kept, shape)), placeholder
