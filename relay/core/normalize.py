"""How a loosely typed value becomes a well-typed one: decimals, ids, flags, text, and the JSON they are written in.

Clopos is read tolerantly: a number may come as int, decimal or string, a flag as 0/1, an object as ``[]``. None of
these functions raises on anything that JSON can hold; what cannot be read as the type wanted is None.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson

NORMALIZER_VERSION: Final = 1
"""Goes up when the same row would normalize to something else: snapshots are then taken anew, without announcing it."""

MAX_DIGITS: Final = 4300
"""Digits of a number in plain notation; the interpreter's own limit for integers (``sys.int_info``)."""

MAX_ID: Final = 2**63 - 1
"""The largest id; a database column, Redis and JSON writers end there."""

_NUMBER: Final = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,6})?\s*", re.ASCII)
_INTEGER: Final = re.compile(r"\s*([+-]?)0*(\d{1,19})(?:\.0*)?\s*", re.ASCII)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def repair(value: str) -> str:
    """Give the text with each half of a surrogate pair replaced by U+FFFD, as UTF-8 cannot hold one."""
    if value.isascii():
        return value
    return _SURROGATE.sub("\ufffd", value)


def text(value: Any) -> str | None:
    """Read a value as text.

    Strings stay as they are (but for half surrogates), numbers are written plainly, an empty object or list is None as
    it stands for "nothing" in the source, and any other object or list is its JSON.
    """
    if type(value) is str:
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)):
        return decimal(value)
    return _nested_text(value) if value else None


def _nested_text(value: Any) -> str | None:
    try:
        return repair(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=decimal))
    except (TypeError, ValueError, RecursionError):
        return None


def decimal(value: Any) -> str | None:
    """Read a value as an exact decimal, in plain notation without exponent or trailing zeros.

    Returns:
        ``"8.5"`` for 8.5, ``"8.50"`` and ``Decimal("8.50")``, ``"100"`` for 1e2; None for what is not a finite number,
        for a boolean, and for a number of more than ``MAX_DIGITS`` digits.
    """
    kind = type(value)
    if kind is Decimal:
        return _plain(value)
    if kind is int:
        try:
            return str(value)
        except ValueError:
            return None
    if kind is str:
        # Decimal() also takes underscores, other scripts' digits and NaN.
        return _plain(Decimal(value.strip())) if len(value) <= MAX_DIGITS and _NUMBER.fullmatch(value) else None
    if kind is float:
        return _plain(Decimal(repr(value)))
    return None


def _plain(number: Decimal) -> str | None:
    if not number.is_finite():
        return None
    digits = number.as_tuple()
    # format() would write out 1e999999999 in full.
    if abs(number.adjusted()) > MAX_DIGITS or len(digits.digits) > MAX_DIGITS:
        return None if number else "0"
    plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in {"-0", ""} else plain


def integer(value: Any) -> int | None:
    """Read a value as an integer however it is spelled: 7, 7.0, "7", "7.00".

    Returns:
        The integer; None for anything else, a boolean and what lies beyond ``MAX_ID`` among it.
    """
    kind = type(value)
    if kind is int:
        return value if -MAX_ID <= value <= MAX_ID else None
    if kind is str:
        match = _INTEGER.fullmatch(value) if len(value) <= MAX_DIGITS else None
        if match is None:
            return None
        number = int(match[1] + match[2])
    elif kind is Decimal or kind is float:
        try:
            if value != value // 1 or abs(value) > MAX_ID:
                return None
        except (InvalidOperation, ArithmeticError):
            return None
        number = int(value)
    else:
        return None
    return number if -MAX_ID <= number <= MAX_ID else None


def identity(value: Any) -> int | None:
    """Read a value as the id of something: a positive integer, or None. 0 is how the source says "none"."""
    number = integer(value)
    return number if number is not None and number > 0 else None


_FLAGS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def flag(value: Any) -> bool | None:
    """Read a value as yes or no: true, 1, "1", "true" and their opposites; None for anything else."""
    if value is True or value is False:
        return bool(value)
    if type(value) is str:
        return _FLAGS.get(value.strip().lower())
    number = integer(value)
    return None if number is None else {0: False, 1: True}.get(number)


_NOTHING: Final[Mapping[str, Any]] = {}


def mapping(value: Any) -> Mapping[str, Any]:
    """Read a value as an object; whatever is none, such as ``[]`` or null, is an empty one."""
    return value if isinstance(value, Mapping) else _NOTHING


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Read a value as a list of objects, leaving out what is none.

    PHP writes a list with a gap in its keys as an object (``{"0": …, "2": …}``): that is a list here too.
    """
    if type(value) is list:
        return [each for each in value if isinstance(each, Mapping)]
    if isinstance(value, Mapping) and all(isinstance(each, Mapping) for each in value.values()):
        return list(value.values())
    return []


def first(*values: Any) -> Any:
    """Give the first value that is not None, else None."""
    for value in values:
        if value is not None:
            return value
    return None


def canonical_json(value: Any, *, sort_keys: bool = False) -> bytes:
    """Write normalized data as compact UTF-8 JSON, the same bytes for the same value in the same key order.

    Args:
        value: what the normalizers give: no floats, text without half surrogates.
        sort_keys: write the same bytes whatever the key order; for hashing.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort_keys else None)


_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""One escape of a JSON string, a surrogate pair being one; the group is there for half a pair."""


def repair_json(data: bytes) -> bytes:
    """Give a JSON text with each escaped half of a surrogate pair replaced by U+FFFD, all else byte for byte."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], data)
