"""Which kinds of values do bodies and queries hold?  Each a type that checks itself and knows its JSON Schema."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from relay.api.validation import wrong
from relay.core.durations import parse_duration

MAX_ID: Final = 2**53 - 1
MAX_LIST: Final = 1000
FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2200

_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
TEXT_PATTERN: Final = rf"^[^\s{_CONTROLS}]([^{_CONTROLS}]*[^\s{_CONTROLS}])?$"
"""One line, without control characters and such as turn its direction, and without space at its ends."""

BRAND_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
CREDENTIAL_PATTERN: Final = r"^[!-~]([ -~]*[!-~])?$"
CURRENCY_PATTERN: Final = r"^[A-Z]{3}$"

_MOMENT: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII | re.IGNORECASE
)


def _matching(pattern: str, detail: str) -> Callable[[str], str]:
    """Check a whole text; the schema has the same pattern, and this says it in words."""
    compiled = re.compile(pattern.removeprefix("^").removesuffix("$"), re.DOTALL)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise wrong("characters", detail)
        return text

    return check


Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256),
    AfterValidator(
        _matching(TEXT_PATTERN, "Must be one line of text, without control characters or space at its ends.")
    ),
    Field(json_schema_extra={"pattern": TEXT_PATTERN}),
]
"""A name or description for people."""

BrandName = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(
        _matching(BRAND_PATTERN, "Must be 1 to 64 letters, digits, dots, hyphens and underscores, not first a sign.")
    ),
    Field(json_schema_extra={"pattern": BRAND_PATTERN}, examples=["openapitest"]),
]

Credential = Annotated[
    str,
    StringConstraints(min_length=1, max_length=512),
    AfterValidator(_matching(CREDENTIAL_PATTERN, "Must be visible ASCII characters, without space at the ends.")),
    Field(json_schema_extra={"pattern": CREDENTIAL_PATTERN}),
]

Currency = Annotated[
    str,
    AfterValidator(_matching(CURRENCY_PATTERN, "Must be an ISO 4217 code of three capital letters, such as AZN.")),
    Field(json_schema_extra={"pattern": CURRENCY_PATTERN}, examples=["AZN"]),
]


def whole(value: Any) -> Any:
    """1.0 is a whole number, in JSON as in JSON Schema; 1.5, true and "1" are none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Id = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(whole)]
"""An id of Clopos'."""


def _unique(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise wrong("twice", "Holds an entry twice.")
    return values


VenueIds = Annotated[
    list[Id],
    Field(min_length=1, max_length=MAX_LIST, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_unique),
]
BrandNames = Annotated[
    list[BrandName],
    Field(min_length=1, max_length=MAX_LIST, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_unique),
]


def parse_moment(text: str) -> datetime:
    """Read an RFC 3339 time with its zone, between the years 2000 and 2200; aware, UTC.

    Raises:
        ValueError: it is none. The message does not repeat it.
    """
    try:
        parsed = datetime.fromisoformat(text.upper()).astimezone(UTC) if _MOMENT.fullmatch(text) else None
    except (ValueError, OverflowError):
        parsed = None
    if parsed is None:
        raise ValueError("is not an RFC 3339 time with a zone, such as 2026-02-02T13:45:53Z")
    if not FIRST_YEAR <= parsed.year < LAST_YEAR:
        raise ValueError(f"is not between the years {FIRST_YEAR} and {LAST_YEAR}")
    return parsed


def write_moment(moment: datetime) -> str:
    """Write a time in UTC to the microsecond, as Clopos does: so that texts of both compare."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def epoch_ms(moment: datetime) -> int:
    """Unix milliseconds."""
    return int(moment.timestamp() * 1000)


def _moment(text: str) -> str:
    try:
        return write_moment(parse_moment(text))
    except ValueError as error:
        raise wrong("time", sentence(error)) from None


Moment = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(_moment),
    Field(json_schema_extra={"format": "date-time"}, examples=["2026-02-02T13:45:53Z"]),
]
"""A time; a body's value is normalized to UTC."""


def sentence(error: ValueError) -> str:
    """A message of the core's, which follows a name, as a sentence of its own."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


DURATION_PATTERN: Final = r"^[0-9]{1,12}(\.[0-9]{1,9})?(ms|s|m|h|d)$"


def duration(at_least: str, at_most: str) -> AfterValidator:
    """A check for durations between two bounds; the value stays the text that was sent."""
    shortest, longest = parse_duration(at_least), parse_duration(at_most)

    def check(text: str) -> str:
        try:
            parse_duration(text, at_least=shortest, at_most=longest)
        except ValueError as error:
            raise wrong("duration", sentence(error)) from None
        return text

    return AfterValidator(check)


def duration_schema(at_least: str, at_most: str) -> Any:
    """What its JSON Schema says."""
    return Field(
        description=f"A number and ms, s, m, h or d; from {at_least} to {at_most}.",
        json_schema_extra={"pattern": DURATION_PATTERN},
    )


def seconds(text: str) -> float:
    """A checked duration in seconds."""
    return parse_duration(text).total_seconds()


def _venue(value: Any) -> Any:
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 16):  # noqa: PLR2004  (2^53 has 16 digits)
            raise wrong("type", "Must be a whole number from 1 on.")
        return int(value)
    return value


QueryId = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(_venue)]
"""An id of Clopos' in a query string."""
