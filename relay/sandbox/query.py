"""What a list's query string asks for, in PHP's bracket notation, raw or percent-encoded; what is wrong is ignored."""

import re
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

from relay.sandbox.errors import Refused, invalid_parameter
from relay.sandbox.model import Order
from relay.sandbox.switches import Switches

DEFAULT_LIMIT = 50
SORTABLE = ("id", "created_at", "updated_at", "status", "type", "integration", "integration_status", "venue_id")

_MOST_DIGITS = 9
_BRACKETS = re.compile(r"^(?P<name>\w+)\[(?P<first>\d*)\](?:\[(?P<second>\d*)\])?$")


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A list request, read.

    Attributes:
        page: from 1.
        limit: rows a page, after clamping.
        status: keep only this status; None keeps all.
        date_from: first day of ``created_at`` (``YYYY-MM-DD``, inclusive); None for no bound.
        date_to: last day, inclusive.
        sort_field: one of ``SORTABLE``.
        descending: direction.
        filters: (field, value) pairs, all of which must hold.
        relations: what ``with`` names.
    """

    page: int = 1
    limit: int = DEFAULT_LIMIT
    status: str | None = None
    date_from: str | None = None
    date_to: str | None = None
    sort_field: str = "created_at"
    descending: bool = True
    filters: tuple[tuple[str, str], ...] = ()
    relations: tuple[str, ...] = ()

    @property
    def filters_rows(self) -> bool:
        """Whether any row could be left out."""
        return bool(self.status is not None or self.date_from or self.date_to or self.filters)

    def first_page(self) -> "ListQuery":
        """The same list whatever the page: what a filtered result is remembered under."""
        return replace(self, page=1, limit=DEFAULT_LIMIT, relations=())

    def keeps(self, order: Order) -> bool:
        """Whether a row passes ``status`` and ``filters`` (dates are cut from the index)."""
        if self.status is not None and order.status != self.status:
            return False
        return all(_text(getattr(order, field)) == value for field, value in self.filters)


def parameters(query_string: str) -> dict[str, dict[str, str]]:
    """Sort a query string by parameter and index.

    ``sort[0]=id`` becomes ``{"sort": {"0": "id"}}``, ``page=2`` ``{"page": {"": "2"}}``; ``with[]=a&with[]=b``
    is numbered from 0, two indexes are joined by a dot (``filters[0][1]`` is ``0.1``), and of a
    repeated key the last value stands.
    """
    found: dict[str, dict[str, str]] = {}
    for key, value in parse_qsl(query_string, keep_blank_values=True):
        match = _BRACKETS.match(key)
        name = match["name"] if match else key
        values = found.setdefault(name, {})
        if not match:
            values[""] = value
        else:
            index = match["first"] or str(len(values))
            values[index if match["second"] is None else f"{index}.{match['second']}"] = value
    return found


def read_list(query_string: str, switches: Switches) -> ListQuery:
    """Read a list request's parameters.

    Raises:
        Refused: 400 for a sort direction that is not 1 or -1, and for a limit above the maximum where that is refused.
    """
    given = parameters(query_string)
    limit = _positive(given.get("limit", {}).get(""), DEFAULT_LIMIT)
    if limit > switches.max_limit:
        if switches.over_limit == "refuse":
            raise Refused(invalid_parameter(f"limit must not be greater than {switches.max_limit}"))
        limit = switches.max_limit
    sort_field, descending = _sort(given.get("sort", {}), switches)
    days = given.get("date", {})
    return ListQuery(
        page=1 if switches.ignore_page else _positive(given.get("page", {}).get(""), 1),
        limit=limit,
        status=None if switches.ignore_status_filter else given.get("status", {}).get("") or None,
        date_from=_day(days.get("0")),
        date_to=_day(days.get("1")),
        sort_field=sort_field,
        descending=descending,
        filters=_filters(given.get("filters", {})),
        relations=tuple(given.get("with", {}).values()),
    )


def _sort(given: dict[str, str], switches: Switches) -> tuple[str, bool]:
    field, direction = given.get("0", "created_at"), given.get("1", "-1")
    if direction not in {"1", "-1"}:
        raise Refused(invalid_parameter("sort[1] must be 1 or -1"))
    if switches.ignore_sort or field not in SORTABLE:
        return "created_at", True
    return field, direction == "-1"


def _filters(given: dict[str, str]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for key, field in given.items():
        number, _, part = key.partition(".")
        value = given.get(f"{number}.1")
        if part == "0" and field in SORTABLE and value is not None:
            pairs.append((field, value))
    return tuple(pairs)


def _positive(text: str | None, default: int) -> int:
    if text and text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) > 0:
        return int(text)
    return default


def _day(text: str | None) -> str | None:
    try:
        return date.fromisoformat(text).isoformat() if text else None
    except ValueError:
        return None


def _text(value: Any) -> str:
    return "" if value is None else str(value)
