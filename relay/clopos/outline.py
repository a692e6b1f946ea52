"""How an answer is taken apart that may not parse as it stands: by its brackets and strings alone.

NaN, half a surrogate pair, ten thousand brackets or a number of 5 000 digits in one row must not hide the rows beside
it, and no parser looks past them. So the data of an answer is found, and cut at its commas, without parsing it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import islice, pairwise
from typing import Any, Final, NoReturn

import msgspec

from relay.core.errors import PageUnreadable
from relay.core.normalize import MAX_DIGITS, identity

MAX_DEPTH: Final = 128
"""A row nested deeper is set aside; the documented one has 8 levels. Well below every parser's own limit."""

BOM: Final = b"\xef\xbb\xbf"

_anything: Final = msgspec.json.Decoder(msgspec.Raw)


_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},:]', re.DOTALL)
"""A string, or one character of structure; a lone quote is a string that does not end."""

_ID: Final = re.compile(rb'\s*"?(\d{1,19})"?\s*[,}]')

_QUOTE: Final = ord('"')
_COLON: Final = ord(":")
_COMMA: Final = ord(",")
_CLOSES: Final = {ord("}"): ord("{"), ord("]"): ord("[")}


@dataclass(frozen=True, slots=True)
class Outline:
    """An answer taken apart.

    Attributes:
        envelope: all of the answer but its data, parsed.
        data: the data's bytes, not parsed; empty where there is none.
        elements: the bytes of each of its elements, where it is a list.
    """

    envelope: dict[str, Any]
    data: bytes = field(repr=False)
    elements: list[bytes] = field(repr=False)


def read_outline(body: bytes) -> Outline:
    """Find the data of an answer, and the elements of it, by brackets and strings alone.

    Raises:
        PageUnreadable: ``not_json``, ``truncated`` or ``not_an_object``.
    """
    body = body.removeprefix(BOM).strip()
    if body[:1] != b"{":
        raise PageUnreadable("The answer is not a JSON object.", reason=why_not_an_object(body))
    start, end = _data_span(body)
    try:
        envelope = parse_object(body[:start] + b"null" + body[end:] if end else body)
    except UnparsableError:
        raise PageUnreadable("The answer is not JSON.", reason="not_json") from None
    data = body[start:end].strip()
    return Outline(envelope, data, _elements(data) if data[:1] == b"[" else [])


def _structure(body: bytes) -> Iterator[tuple[int, int, re.Match[bytes]]]:
    """Walk what gives a document its structure: depth outside of it, first byte, token; see that it closes."""
    opened = bytearray()
    for token in _TOKEN.finditer(body):
        char = body[token.start()]
        if not opened and token.start() > 0:
            raise PageUnreadable("The answer goes on after its end.", reason="not_json")
        if char == _QUOTE and len(token[0]) == 1:
            break
        if char in _CLOSES and opened.pop() != _CLOSES[char]:
            raise PageUnreadable("The answer is not JSON.", reason="not_json")
        yield len(opened), char, token
        if char in b"{[":
            opened.append(char)
    else:
        if not opened:
            return
    raise PageUnreadable("The answer was cut short.", reason="truncated")


def _data_span(body: bytes) -> tuple[int, int]:
    """Give start and end of the value of the top-level ``data``; 0, 0 if there is none."""
    key = string = b""
    value_at = 0
    span = (0, 0)
    for depth, char, token in _structure(body):
        if depth == 1 and char == _QUOTE:
            string = token[0]
        elif depth == 1 and char == _COLON:
            key, value_at = string, token.end()
        elif (char == _COMMA and depth == 1) or (char in _CLOSES and depth == 0):
            if key == b'"data"':
                span = (value_at, token.start())
            key = b""
    return span


def _elements(data: bytes) -> list[bytes]:
    """Cut a list at its commas."""
    edges = [0]
    edges += [token.start() for depth, char, token in _structure(data) if depth == 1 and char == _COMMA]
    edges.append(len(data) - 1)
    elements = [data[left + 1 : right].strip() for left, right in pairwise(edges)]
    return [] if elements == [b""] else elements


def why_not_an_object(body: bytes) -> str:
    """Say why an answer could not be read as an object: ``not_json``, ``truncated`` or ``not_an_object``."""
    body = body.strip()
    if body[:1] == b"{":
        try:
            _data_span(body)
        except PageUnreadable as error:
            return error.reason
        return "not_json"
    try:
        _anything.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "not_json"
    return "not_an_object"


def id_in(data: bytes) -> int | None:
    """Find the id of a row that does not parse: the number after its first top-level ``"id":``."""
    depth = 0
    string = b""
    for token in islice(_TOKEN.finditer(data), 4096):
        char = data[token.start()]
        if char in b"{[":
            depth += 1
        elif char in b"}]":
            depth -= 1
        elif token[0] == b'"':
            break  # a string that does not end
        elif char == _QUOTE:
            string = token[0]
        elif char == _COLON and depth == 1 and string == b'"id"':
            found = _ID.match(data, token.end())
            return identity(found[1].decode()) if found else None
    return None


class UnparsableError(ValueError):
    """These bytes are no readable object; ``reason`` says why. Its catchers turn it into one of the tree's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _exact(digits: str) -> Decimal:
    try:
        number = Decimal(digits)
    except InvalidOperation:  # an exponent beyond what a Decimal holds
        raise UnparsableError("bad_number") from None
    if len(digits) > MAX_DIGITS or abs(number.adjusted()) > MAX_DIGITS:
        raise UnparsableError("bad_number")
    return number


def _no_number(_: str) -> NoReturn:
    raise UnparsableError("bad_number")


_decoder: Final = json.JSONDecoder(parse_float=_exact, parse_constant=_no_number)


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse one object exactly: integers as int, other numbers as Decimal.

    Raises:
        UnparsableError: ``not_json``, ``not_an_object``, ``bad_number``, ``bad_text`` or ``deep``.
    """
    try:
        value = _decoder.decode(data.decode())
    except UnparsableError:
        raise
    except UnicodeDecodeError:
        raise UnparsableError("bad_text") from None
    except RecursionError:
        raise UnparsableError("deep") from None
    except json.JSONDecodeError:
        raise UnparsableError("not_json") from None
    except ValueError:  # int() of more than 4 300 digits
        raise UnparsableError("bad_number") from None
    if not isinstance(value, dict):
        raise UnparsableError("not_an_object")
    return value


def too_deep(data: bytes) -> str | None:
    """Give ``"deep"`` for what is nested beyond ``MAX_DEPTH``, else None."""
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return None
    depth = 0
    for token in _TOKEN.finditer(data):
        first = data[token.start()]
        if first in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                return "deep"
        elif first in b"}]":
            depth -= 1
        elif token[0] == b'"':
            break  # a string that does not end: looking on would try each quote within it, each to the end
    return None
