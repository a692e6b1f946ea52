"""Every way in which the real service is not known: one switch each, with the likelier answer as its default."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

CHOICES: Mapping[str, tuple[str, ...]] = {
    "error_shape": ("sentence", "slug", "list", "details"),
    "throttle_body": ("json", "text", "empty"),
    "over_limit": ("clamp", "refuse"),
    "list_scope": ("default_venue", "all_venues"),
    "updated_at": ("local", "honest", "still", "backwards"),
}


class BadSwitchError(ValueError):
    """A switch that does not exist, or a value that it cannot take."""


@dataclass(slots=True)
class Switches:
    """How the stand-in behaves where the documentation is silent or contradicts itself.

    Attributes:
        error_shape: ``error`` as the common-errors page has it (sentence), as the endpoint pages have it (slug), as the
            upstream's list of objects (list), or ``{error, message, details}`` without ``success`` (details).
        throttle_body: body of a 429.
        over_limit: a ``limit`` above ``max_limit`` is cut down to it, or refused with 400.
        max_limit: most rows on a page.
        ignore_status_filter: ``status`` on orders has no effect.
        ignore_sort: ``sort`` has no effect; rows come by ``created_at``, newest first.
        ignore_page: ``page`` has no effect; every page is the first.
        list_total: lists say how many rows there are.
        list_scope: what an order list without ``x-venue`` covers: the token's venue, or all of the brand.
        updated_at: what a change writes: local time (+04) labelled ``Z`` (local, as in the documented rows), true UTC
            (honest), nothing when only the status changed (still), or one second less than before (backwards).
        empty_objects_as_lists: ``[]`` wherever an object without keys is meant.
        numbers_as_strings: amounts and quantities as strings with four decimals.
        booleans_as_numbers: 0 and 1 for false and true inside payloads.
        nulls_for_missing: optional keys are there, and null.
        extra_fields: rows carry more keys than the documentation shows.
        live_envelope: successes carry ``time``, ``timestamp`` and ``unix``, and lists ``sorts``, as the live service's.
        rate_limit_headers: authenticated responses carry the ``RateLimit-*`` headers.
        latency_ms: pause before each answer of the API.
        quota_per_minute: tier 3, for one integrator and brand.
        failures_per_minute: tier 2, for one address.
        auth_per_minute: tier 1, for one address.
        token_lifetime_s: of tokens issued from now on.
    """

    error_shape: str = "sentence"
    throttle_body: str = "json"
    over_limit: str = "clamp"
    max_limit: int = 200
    ignore_status_filter: bool = False
    ignore_sort: bool = False
    ignore_page: bool = False
    list_total: bool = True
    list_scope: str = "default_venue"
    updated_at: str = "local"
    empty_objects_as_lists: bool = False
    numbers_as_strings: bool = False
    booleans_as_numbers: bool = False
    nulls_for_missing: bool = False
    extra_fields: bool = False
    live_envelope: bool = True
    rate_limit_headers: bool = True
    latency_ms: int = 0
    quota_per_minute: int = 300
    failures_per_minute: int = 600
    auth_per_minute: int = 60
    token_lifetime_s: int = 3600

    @property
    def bends_rows(self) -> bool:
        """Whether order rows differ from the documented form at all."""
        return (
            self.empty_objects_as_lists
            or self.numbers_as_strings
            or self.booleans_as_numbers
            or self.nulls_for_missing
            or self.extra_fields
        )

    def as_json(self) -> dict[str, Any]:
        """All switches by name."""
        return asdict(self)

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Set the named switches, all or none.

        Raises:
            BadSwitchError: an unknown name, a value of the wrong type or outside its choices.
        """
        types = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        for name, value in wanted.items():
            if name not in types:
                raise BadSwitchError(f"there is no switch {name!r}; there are {', '.join(types)}")
            if type(value) is not types[name]:
                raise BadSwitchError(f"{name} takes a {types[name].__name__}")
            if name in CHOICES and value not in CHOICES[name]:
                raise BadSwitchError(f"{name} is one of {', '.join(CHOICES[name])}")
            if types[name] is int and value < 0:
                raise BadSwitchError(f"{name} cannot be negative")
        for name, value in wanted.items():
            setattr(self, name, value)

    def reset(self) -> None:
        """Back to the defaults."""
        for field in fields(self):
            setattr(self, field.name, field.default)
