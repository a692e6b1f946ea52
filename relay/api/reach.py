"""What does a key reach?  A partner's: that partner's subscriptions, for the brands it was given; others: all."""

from collections.abc import Iterable

from relay.api.auth import Principal
from relay.api.identifiers import is_id
from relay.api.operations import Call
from relay.api.problems import ProblemError, not_found
from relay.store.documents import Stored
from relay.store.subscriptions import Subscription


def sees(principal: Principal, subscription: Subscription) -> bool:
    """Whether a key is told of a subscription: it is its partner's, and has to do with one of the key's brands."""
    if principal.role != "partner":
        return True
    if subscription.partner != principal.partner:
        return False
    if subscription.brands is None:
        return bool(principal.brands)
    return not subscription.brands or not principal.brands.isdisjoint(subscription.brands)


def sees_brand(principal: Principal, brand: str | None) -> bool:
    """Whether a key is shown events and deliveries of a brand; what concerns none is its subscription's own."""
    return principal.role != "partner" or brand is None or brand in principal.brands


def covers(principal: Principal, brands: Iterable[str] | None) -> bool:
    """Whether all of a subscription's brands are a key's: only then may it redirect or unmask what is sent."""
    return principal.role != "partner" or (brands is not None and principal.brands.issuperset(brands))


async def reached(call: Call, subscription_id: str) -> Stored[Subscription]:
    """The subscription that a path names.

    Raises:
        ProblemError: 404: there is none, or it is another's.
    """
    stored = await call.services.subscriptions.get(subscription_id) if is_id("sub", subscription_id) else None
    if stored is None:
        raise not_found("subscription")
    if not sees(call.principal, stored.value):
        raise not_found("subscription", hidden=f"subscription/{subscription_id}")
    return stored


async def all_reached(call: Call) -> dict[str, Stored[Subscription]]:
    """Every subscription that a key is told of, by id."""
    found = await call.services.subscriptions.all()
    return {key: stored for key, stored in found.items() if sees(call.principal, stored.value)}


def limit_brands(principal: Principal, brands: Iterable[str] | None) -> tuple[str, ...] | None:
    """The brands that a subscription gets which a key makes or changes.

    Raises:
        ProblemError: 403: one of them is not a partner's key's.
    """
    if principal.role != "partner":
        return None if brands is None else tuple(brands)
    if brands is None:
        return tuple(sorted(principal.brands))
    wanted = tuple(brands)
    if not principal.brands.issuperset(wanted):
        raise ProblemError("forbidden", "A key of the role partner reaches only the brands it was given.")
    return wanted
