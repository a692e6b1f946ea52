"""Holds a real event against the example of its type that partners are shown; no test itself."""

from collections.abc import Mapping
from typing import Any

from relay.core.event_types import EVENT_TYPES

FREE = {
    "id",
    "timestamp",
    "sequence",
    "subject",
    "brand",
    "since",
    "subscription",
    "delivery",
    "event",
    "name",
    "attempts",
}
"""What another event of the type has otherwise; of these, only whether there is anything."""


def assert_like_its_example(event: Mapping[str, Any]) -> None:
    """An event, or what is known of it, says what the example of its type says."""
    example = EVENT_TYPES[event["type"]].example
    ours, shown = _bare(event), _bare({name: example[name] for name in event})
    assert ours == shown, f"{ours}\n{shown}"


def _bare(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        name: type(part).__name__ if name in FREE else _bare(part)
        for name, part in value.items()
        if name != "previous_sequence"  # of the event before: whether there was one, is the test's
    }
