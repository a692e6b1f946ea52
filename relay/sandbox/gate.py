"""Who may pass, checked in the documented order.

Tier 2 (failures of the address), token present, signature, expiry, integrator active, test or production, tier 3 (quota
of the brand), permission; the route's own 400 and 404 come after.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from relay.sandbox import answers, limits
from relay.sandbox.errors import (
    BAD_CREDENTIALS,
    CLIENT_DISABLED,
    FIELDS_MISSING,
    HEADERS_MISSING,
    INACTIVE_INTEGRATOR,
    INVALID_TOKEN,
    MISMATCH,
    MISMATCH_AT_SIGN_IN,
    NOT_FOUND,
    THROTTLED,
    TOKEN_EXPIRED,
    UNKNOWN_INTEGRATOR,
    Refused,
    forbidden,
)
from relay.sandbox.limits import Tier
from relay.sandbox.model import Client, Venue
from relay.sandbox.service import Service
from relay.sandbox.tokens import BadTokenError, Claims
from relay.sandbox.world import Brand

Handler = Callable[[Request, "Caller"], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in.

    Attributes:
        brand: of the token.
        token_venue_id: the token's default venue.
        header_venue: ``x-venue`` as sent, None if absent.
    """

    brand: Brand
    token_venue_id: int
    header_venue: str | None

    def venue(self) -> Venue:
        """The venue asked for.

        Raises:
            Refused: 404, the brand has no such venue.
        """
        wanted = str(self.token_venue_id) if self.header_venue is None else self.header_venue
        venue = self.brand.venues.get(int(wanted)) if wanted.isascii() and wanted.isdigit() else None
        if venue is None:
            raise Refused(NOT_FOUND)
        return venue


@dataclass(slots=True)
class Passage:
    """The tiers one request has come by so far."""

    tiers: list[Tier] = field(default_factory=list)


def guarded(service: Service, resource: str, handler: Handler) -> Endpoint:
    """Put the gate before a route, and the rate-limit headers on whatever it answers.

    Args:
        service: the running stand-in.
        resource: what permissions and modules call the route (``orders``).
        handler: the route itself; may raise Refused.
    """

    async def endpoint(request: Request) -> Response:
        passage = Passage()
        try:
            response = await handler(request, _admit(service, request, resource, passage))
        except Refused as refused:
            response = _refusal(service, refused)
        failures = passage.tiers[0]
        if response.status_code >= 400 and failures.remaining(service.clock()):  # noqa: PLR2004 - HTTP's own border
            failures.window.hit(service.clock())
        if service.switches.rate_limit_headers:
            response.headers.update(limits.headers(passage.tiers, service.clock()))
        return response

    return endpoint


def sign_in(service: Service) -> Endpoint:
    """``POST /auth``: tier 1, then the checks in the documented order."""

    async def endpoint(request: Request) -> Response:
        tier = service.limits.sign_ins(_address(request))
        try:
            _count(tier, service.clock())
            response = _issue(service, await _body(request))
        except Refused as refused:
            response = _refusal(service, refused)
        if service.switches.rate_limit_headers:
            response.headers.update(limits.headers([tier], service.clock()))
        return response

    return endpoint


def _admit(service: Service, request: Request, resource: str, passage: Passage) -> Caller:
    now_s = service.clock()
    passage.tiers.append(service.limits.failures(_address(request)))
    if not passage.tiers[0].admits(now_s):
        raise Refused(THROTTLED)
    claims = _claims(service, request.headers.get("x-token"), now_s)
    integrator = service.world.integrators.get(claims.integrator_id)
    if integrator is None or not integrator.active:
        raise Refused(INACTIVE_INTEGRATOR)
    brand = service.world.brands.get(claims.brand)
    if brand is None:
        raise Refused(INVALID_TOKEN)
    if integrator.is_test and not brand.is_test:
        raise Refused(MISMATCH)
    quota = service.limits.quota(claims.integrator_id, claims.brand)
    passage.tiers.append(quota)
    _count(quota, now_s)
    _check_permission(brand, service.world.clients.get(claims.client_id), resource)
    return Caller(brand, claims.venue_id, request.headers.get("x-venue"))


def _count(tier: Tier, now_s: float) -> None:
    if not tier.admits(now_s):
        raise Refused(THROTTLED)
    tier.window.hit(now_s)


def _claims(service: Service, token: str | None, now_s: float) -> Claims:
    if not token:
        raise Refused(HEADERS_MISSING)
    try:
        claims = service.signer.read(token)
    except BadTokenError:
        raise Refused(INVALID_TOKEN) from None
    if service.signer.is_expired(claims, now_s=now_s):
        expired_at = datetime.fromtimestamp(min(claims.exp, int(now_s)), UTC)
        raise Refused(TOKEN_EXPIRED, expires_at=expired_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
    return claims


def _check_permission(brand: Brand, client: Client | None, resource: str) -> None:
    if resource in brand.missing_modules:
        raise Refused(forbidden(f"Brand does not have the {resource} module"))
    if client is not None and resource in client.forbidden:
        raise Refused(forbidden(f"Client has no permission for {resource}"))


def _issue(service: Service, given: dict[str, Any]) -> Response:
    world = service.world
    names = ("client_id", "client_secret", "brand", "integrator_id")
    client_id, client_secret, brand_name, integrator_id = (given.get(name) for name in names)
    if not all(isinstance(given.get(name), str) and given[name] for name in names):
        raise Refused(FIELDS_MISSING)
    integrator = world.integrators.get(str(integrator_id))
    if integrator is None or not integrator.active:
        raise Refused(UNKNOWN_INTEGRATOR)
    brand = world.brands.get(str(brand_name))
    if brand is not None and integrator.is_test and not brand.is_test:
        raise Refused(MISMATCH_AT_SIGN_IN)
    client = world.clients.get(str(client_id))
    if client is None or client.client_secret != client_secret or brand is None or brand.name not in client.brands:
        raise Refused(BAD_CREDENTIALS)
    if not client.enabled:
        raise Refused(CLIENT_DISABLED)
    lifetime_s = service.switches.token_lifetime_s
    token, claims = service.signer.issue(
        client_id=client.client_id,
        brand=brand.name,
        venue_id=min(brand.venues, default=0),
        integrator_id=integrator.integrator_id,
        now_s=int(service.clock()),
        lifetime_s=lifetime_s,
    )
    return answers.plain(
        {
            "success": True,
            "token": token,
            "token_type": "Bearer",
            "expires_in": lifetime_s,
            "expires_at": claims.exp,
            "message": "Authentication successful",
        }
    )


async def _body(request: Request) -> dict[str, Any]:
    try:
        given = await request.json()
    except (ValueError, RecursionError):
        raise Refused(FIELDS_MISSING) from None
    if not isinstance(given, dict):
        raise Refused(FIELDS_MISSING)
    return given


def _refusal(service: Service, refused: Refused) -> Response:
    if refused.problem is THROTTLED:
        return answers.throttled(service, refused.problem)
    return answers.problem(service, refused.problem, **refused.extra)


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
