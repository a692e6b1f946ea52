"""What can be wrong with a subscription beyond the form of its fields?  Its URL, filters, headers, masks and secret."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from relay import logs
from relay.api.bodies import escape
from relay.api.fields import epoch_ms, parse_moment
from relay.api.operations import Call
from relay.api.problems import Fault, ProblemError
from relay.api.reach import limit_brands
from relay.api.services import Services
from relay.api.validation import Sound
from relay.core.addresses import Refused, check_answers
from relay.core.errors import CorruptStateError, Problem
from relay.core.headers import check_headers
from relay.core.netpolicy import CheckedUrl, check_url
from relay.core.shaping import check_redact
from relay.core.signing import PRIVATE_PREFIX
from relay.core.subscriptions import check_event_types

LOOKUP_S: Final = 1.2
"""How long a host name may take to resolve while its subscription is made; the attempts have deadlines of their own."""


async def check(call: Call, fields: Sound) -> list[Fault]:
    """Check what was sent, as far as it could be read."""
    check_partner(call, fields)
    faults = [
        *_under("/event_types", check_event_types(fields.get("event_types") or []) if "event_types" in fields else []),
        *_under("/redact", check_redact(fields.get("redact") or [])),
        *_headers(fields.get("headers") or {}),
        *_start(call, fields),
    ]
    url = fields.get("url")
    if url is not None:
        faults += await check_endpoint(call.services, url)
    brands = fields.get("brands")
    if brands:
        faults += await check_brands(call, brands)
    return faults


def check_partner(call: Call, fields: Sound) -> None:
    """Refuse what reaches beyond a partner's key.

    Raises:
        ProblemError: 403.
    """
    if call.principal.role != "partner":
        return
    if "partner" in fields and fields["partner"] not in (None, call.principal.partner):
        raise ProblemError("forbidden", "A key of the role partner makes its own partner's subscriptions only.")
    limit_brands(call.principal, fields.get("brands"))


async def check_brands(call: Call, brands: Sequence[str]) -> list[Fault]:
    """Every brand must be there: a misspelt one would never bring an event."""
    known = await call.services.brands.all()
    return [
        Fault(pointer=f"/brands/{index}", detail="There is no such brand: make it first.", code="unknown")
        for index, brand in enumerate(brands)
        if brand not in known
    ]


async def check_endpoint(services: Services, url: str) -> list[Fault]:
    """Decide whether a URL may be called, as far as can be told now; each connection is checked again.

    A name that does not resolve at the moment is accepted, but where it must resolve into the operator's networks.
    """
    checked = check_url(url, allow=services.allow)
    if isinstance(checked, Refused):
        return [_refused(checked)]
    if checked.address is not None:
        return []
    try:
        async with asyncio.timeout(LOOKUP_S):
            addresses = await services.lookup(checked.host)
    except (OSError, TimeoutError):
        if not checked.needs_resolution:
            return []
        detail = "The host does not resolve; plain http and private names must resolve into RELAY_ALLOW_NETWORKS."
        return [Fault(pointer="/url", detail=detail, code="address_not_allowed")]
    refusal = check_answers(addresses, allow=services.allow, listed_only=checked.listed_only)
    return [] if refusal is None else [_refused(refusal)]


def normalized(services: Services, url: str) -> str:
    """The URL as it is stored, once it was checked."""
    checked = check_url(url, allow=services.allow)
    assert isinstance(checked, CheckedUrl)  # noqa: S101  (a refused one is not stored)
    return checked.url


def secret_faults(secret: str, signature: str) -> list[Fault]:
    """A secret must be of the kind that its signature takes."""
    if (signature == "v1a") == secret.startswith(PRIVATE_PREFIX):
        return []
    wanted = "whsk_…, a private ed25519 key" if signature == "v1a" else "whsec_…, a shared secret"
    return [Fault(pointer="/secret", detail=f"The signature {signature} takes {wanted}.", code="secret")]


async def is_secret_taken(services: Services, secret: str, *, url: str | None, own_id: str | None, now_ms: int) -> bool:
    """Whether another endpoint has this secret: who knows it could forge the other's events."""
    for stored in (await services.subscriptions.all()).values():
        other = stored.value
        if stored.id == own_id or (other.url is not None and other.url == url):
            continue
        for each in other.secrets:
            if each.until_ms is not None and each.until_ms <= now_ms:
                continue
            try:
                if services.vault.open(each.sealed) == secret:
                    return True
            except CorruptStateError as error:
                logs.event("secret unreadable", level="error", exc=error, subscription=stored.id)
    return False


def taken_secret() -> Fault:
    """What is said of a secret that is another's, without saying whose."""
    return Fault(pointer="/secret", detail="Is in use at another endpoint: each has its own.", code="secret")


def _headers(headers: dict[str, str]) -> list[Fault]:
    names = list(headers)
    return [
        Fault(pointer=f"/headers/{escape(names[position])}", detail=_capital(refusal.reason), code=refusal.code.value)
        for position, refusal in check_headers(headers.items()).items()
    ]


def _start(call: Call, fields: Sound) -> list[Fault]:
    start: Any = fields.get("start")
    if start in (None, "now", "open_orders") or epoch_ms(parse_moment(start)) <= call.now_ms:
        return []
    return [Fault(pointer="/start", detail="Must not lie in the future.", code="range")]


def _under(pointer: str, problems: Sequence[Problem]) -> list[Fault]:
    return [Fault(pointer=pointer + each.pointer, detail=each.detail, code="choice") for each in problems]


def _refused(refusal: Refused) -> Fault:
    return Fault(pointer="/url", detail=_capital(refusal.reason), code=refusal.code.value)


def _capital(reason: str) -> str:
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith(".") else ".")
