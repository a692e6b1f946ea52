"""What is to be done so that a relay matches a file? Compared, in an order in which each step finds what it needs."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from relay.apply.file import KEYS, SECRETS, Wanted
from relay.core.durations import parse_duration

Action = Literal["create", "change", "remove", "keep"]

PATHS: Final = {"brands": "/v1/brands", "subscriptions": "/v1/subscriptions"}
"""Of each kind, where the API has it."""

_ONLY_AT_CREATION: Final = {"start"}
_UNORDERED: Final = {"event_types", "brands", "venues", "redact"}


@dataclass(frozen=True, slots=True)
class Step:
    """One difference between the file and the relay.

    Attributes:
        path: of what is there, or of the list where it is to be created.
        body: what is sent; None for a removal.
        changes: field → (present, wanted), without secrets.
        wanted: what the file says of it; None for a removal.
    """

    action: Action
    kind: str
    name: str
    path: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    wanted: Wanted | None = field(default=None, repr=False, compare=False)


def plan(
    wanted: Mapping[str, list[Wanted]], present: Mapping[str, Mapping[str, Mapping[str, Any]]], *, prune: bool
) -> list[Step]:
    """Decide what is to be done, in an order in which each step finds what it needs.

    Args:
        wanted: from the file.
        present: from the API: kind → path → what is there.
        prune: whether what the file lacks is removed, of the kinds it speaks of.
    """
    steps: list[Step] = []
    removals: list[Step] = []
    for kind in KEYS:
        if kind not in wanted:
            continue
        there = {str(row[KEYS[kind]]): (path, row) for path, row in present[kind].items() if row.get(KEYS[kind])}
        steps += [_step(one, *there[one.name]) if one.name in there else _creation(one) for one in wanted[kind]]
        if prune:
            named = {one.name for one in wanted[kind]}
            removals += [
                Step("remove", kind, str(row.get(KEYS[kind]) or row["id"]), path)
                for path, row in present[kind].items()
                if row.get(KEYS[kind]) not in named
            ]
    # Subscriptions go before the brands that they may name.
    return [*steps, *sorted(removals, key=lambda step: step.kind, reverse=True)]


def _creation(one: Wanted) -> Step:
    changes = {name: (None, value) for name, value in one.fields.items() if name not in SECRETS[one.kind]}
    return Step("create", one.kind, one.name, PATHS[one.kind], one.fields, changes, one)


def _step(one: Wanted, path: str, row: Mapping[str, Any]) -> Step:
    changes = {
        name: (row.get(name), value)
        for name, value in one.fields.items()
        if name not in SECRETS[one.kind] and name not in _ONLY_AT_CREATION and not _alike(name, row.get(name), value)
    }
    # Secrets cannot be compared from here: they go along, and the relay changes nothing where they are as they were.
    sent = [*changes, *(name for name in SECRETS[one.kind] if name in one.fields)]
    body = {name: one.fields[name] for name in sent}
    return Step("change" if changes else "keep", one.kind, one.name, path, body, changes, one)


def _alike(name: str, present: object, wanted: object) -> bool:
    if present == wanted:
        return True
    if name in _UNORDERED and isinstance(present, list) and isinstance(wanted, list):
        return sorted(map(str, present)) == sorted(map(str, wanted))
    if isinstance(present, dict) and isinstance(wanted, dict):
        return {**present, **wanted} == present  # what the file leaves out keeps what it has
    if isinstance(present, str) and isinstance(wanted, str):
        return _spelt(present) == _spelt(wanted)
    return False


def _spelt(text: str) -> object:
    """A text in the one form that its spellings share: durations and lists of them, times, URLs but for a slash."""
    for parse in (_durations, datetime.fromisoformat):
        with contextlib.suppress(ValueError):
            return parse(text)
    return text.rstrip("/")


def _durations(text: str) -> tuple[timedelta, ...]:
    return tuple(parse_duration(part) for part in text.split(","))
