"""Which events a subscription gets: its filters, checked when they are stored and matched when events are routed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from relay.core.choices import check_choices
from relay.core.errors import Problem
from relay.core.event_types import EVENT_TYPES, OPERATIONAL
from relay.core.shaping import PLAIN, Shape, apply_shape, check_redact

__all__ = [
    "PATTERNS",
    "PLAIN",
    "Route",
    "Router",
    "Shape",
    "apply_shape",
    "check_event_types",
    "check_redact",
    "matches",
]

_GROUPS: Final = tuple(f"{group}.*" for group in dict.fromkeys(name.partition(".")[0] for name in EVENT_TYPES))

_TYPES_BY_PATTERN: Final = {
    **{name: frozenset({name}) for name in EVENT_TYPES},
    **{group: frozenset(name for name in EVENT_TYPES if name.startswith(group[:-1])) for group in _GROUPS},
    "*": frozenset(EVENT_TYPES) - OPERATIONAL,
}

PATTERNS: Final = tuple(_TYPES_BY_PATTERN)
"""Every filter there is: each type, ``order.*`` and its like, and ``*``, which leaves out ``relay.*``."""


def check_event_types(patterns: Sequence[object]) -> list[Problem]:
    """Check a subscription's filters before they are stored; an empty list means that all is well.

    Returns:
        A problem for each filter that is unknown (with the nearest known one) or there twice, or for there being none;
        pointers are relative to the list.
    """
    if not patterns:
        return [Problem("", "Name at least one event type, such as order.*")]
    if len(patterns) > len(PATTERNS):
        return [Problem("", f"At most {len(PATTERNS)} event types, each once.")]
    return check_choices(patterns, PATTERNS, what="an event type", example="order.created, or order.*, or *")


def matches(patterns: Iterable[str], event_type: str) -> bool:
    """Tell whether any of a subscription's filters takes an event type."""
    return any(event_type in _TYPES_BY_PATTERN.get(pattern, ()) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Route:
    """What one subscription wants.

    Attributes:
        subscription_id: whose it is.
        patterns: its filters.
        brands: the brands it is limited to; None for all.
        venues: the venues it is limited to; None for all.
        partner: whose subscription it is; None for the operator's.
    """

    subscription_id: str
    patterns: tuple[str, ...]
    brands: frozenset[str] | None = None
    venues: frozenset[int] | None = None
    partner: str | None = None


_REMEMBERED: Final = 4096
"""Answers a router keeps; beyond that it forgets all and starts anew."""


class Router:
    """Many subscriptions, indexed by what they want.

    Answers are remembered, as the same few brands, venues and types come again and again. A change of subscriptions is
    another router.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_type: dict[str, list[Route]] = {name: [] for name in EVENT_TYPES}
        for route in routes:
            for name in frozenset().union(*(_TYPES_BY_PATTERN.get(each, frozenset()) for each in route.patterns)):
                self._by_type[name].append(route)
        self._remembered: dict[tuple[str | None, int | None, str], tuple[str, ...]] = {}

    def match(
        self,
        brand: str | None,
        venue_id: int | None,
        event_type: str,
        *,
        partner: str | None = None,
        about: str | None = None,
    ) -> tuple[str, ...]:
        """Give the ids of the subscriptions that get an event, in the order in which the routes were given.

        Args:
            brand: the event's, None where it concerns none: a limit to brands lets that pass.
            venue_id: likewise.
            event_type: the event's type.
            partner: for an operational event, the partner whose subscription or delivery it is about. A partner's
                subscription gets only its own partner's; the operator's get all.
            about: for an operational event, the id of the subscription it is about, which does not get it.
        """
        if event_type in OPERATIONAL:
            return tuple(
                route.subscription_id
                for route in self._by_type[event_type]
                if _in_scope(route, brand, venue_id)
                and route.subscription_id != about
                and (route.partner is None or route.partner == partner)
            )
        key = (brand, venue_id, event_type)
        known = self._remembered.get(key)
        if known is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            routes = self._by_type.get(event_type, ())
            known = tuple(route.subscription_id for route in routes if _in_scope(route, brand, venue_id))
            self._remembered[key] = known
        return known


def _in_scope(route: Route, brand: str | None, venue_id: int | None) -> bool:
    return (brand is None or route.brands is None or brand in route.brands) and (
        venue_id is None or route.venues is None or venue_id in route.venues
    )
