"""How is a body read?  Strictly: one JSON document in UTF-8, in bounds of size, depth and time; else refused."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from starlette.requests import ClientDisconnect, Request

from relay.api.problems import Fault, ProblemError, invalid

MAX_BODY_BYTES: Final = 1_048_576
MAX_DEPTH: Final = 32
READ_DEADLINE_S: Final = 10.0
"""For the whole body to arrive."""

MAX_DIGITS: Final = 400
"""Of one number: nothing here takes more than 16."""

_MERGE_PATCH: Final = "application/merge-patch+json"
_CHARSET: Final = re.compile(r'charset="?([^";]*)"?', re.IGNORECASE)
_BOM: Final = b"\xef\xbb\xbf"
_OPENING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
"""A string, or a bracket. One that does not end goes on to the end: else each quote in it would be tried as a start."""


async def read_json(request: Request, *, optional: bool = False) -> Any:
    """Read the body.

    Args:
        optional: no body at all reads as ``{}``.

    Raises:
        ProblemError: 400, 408, 413, 415 or 422.
    """
    _check_length(request)
    try:
        async with asyncio.timeout(READ_DEADLINE_S):
            body = await _read(request)
    except TimeoutError:
        raise ProblemError(
            "timeout", f"The body did not arrive within {READ_DEADLINE_S:g} s.", headers={"connection": "close"}
        ) from None
    if not body and optional:
        return {}
    _check_type(request)
    return parse_json(body)


def _check_length(request: Request) -> None:
    length = request.headers.get("content-length")
    if length is not None and length.isascii() and length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
        _too_large()


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                _too_large()
    except ClientDisconnect:
        raise ProblemError("malformed", "The connection ended before the body did.") from None
    return bytes(body)


def _too_large() -> NoReturn:
    raise ProblemError("too_large", f"A body may have at most {MAX_BODY_BYTES} bytes.", headers={"connection": "close"})


def _check_type(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise ProblemError("unsupported_media_type", "Send the body as it is: no content encoding is read.")
    essence, _, rest = request.headers.get("content-type", "").partition(";")
    wanted = {"application/json", _MERGE_PATCH} if request.method == "PATCH" else {"application/json"}
    if essence.strip().lower() not in wanted:
        raise ProblemError("unsupported_media_type", "The body must be sent with `Content-Type: application/json`.")
    charset = _CHARSET.search(rest)
    if charset is not None and charset[1].strip().lower() not in ("utf-8", "utf8"):
        raise ProblemError("unsupported_media_type", "JSON is sent in UTF-8; no other charset is read.")


def parse_json(body: bytes) -> Any:
    """Parse one JSON document (RFC 8259), refusing what parsers read in different ways.

    Raises:
        ProblemError: not JSON (with its position), a key twice, NaN and the like, a number beyond all bounds, nested
            too deeply, or a string that is no text.
    """
    try:
        text = body.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise ProblemError("malformed", f"The body is not UTF-8: byte {error.start}.") from None
    _check_depth(body)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno} (character {error.pos})"
        raise ProblemError("malformed", f"The body is not JSON: {_plain(error.msg)} at {where}.") from None
    except RecursionError:  # the depth was checked; this is for a parser that counts otherwise
        raise ProblemError("malformed", f"The body is nested more than {MAX_DEPTH} deep.") from None
    faults = list(_unreadable(value, ""))
    if faults:
        raise invalid(faults)
    return value


def _plain(message: str) -> str:
    """The parser's own words; all of them are fixed texts."""
    return message[:1].lower() + message[1:].rstrip(".")


def _check_depth(body: bytes) -> None:
    depth = 0
    for found in _OPENING.finditer(body):
        match found[0]:
            case b"[" | b"{":
                depth += 1
                if depth > MAX_DEPTH:
                    raise ProblemError("malformed", f"The body is nested more than {MAX_DEPTH} deep.")
            case b"]" | b"}":
                depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # set.add
        name = f" ({twice})" if re.fullmatch(r"[a-z_]{1,40}", twice) else ""
        raise ProblemError("duplicate_key", f"An object holds one key twice{name}; parsers differ in which they take.")
    return found


def _constant(_: str) -> NoReturn:
    raise ProblemError("malformed", "NaN and Infinity are not JSON.")


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ProblemError("malformed", "A number is too large to be read.")
    return number


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ProblemError("malformed", f"A number has more than {MAX_DIGITS} digits.")
    return int(digits)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int, strict=True
)


def _unreadable(value: Any, pointer: str) -> Iterator[Fault]:
    """Strings that are JSON and still no text: half a surrogate pair, or a NUL."""
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            yield Fault(pointer=pointer, detail="Holds a NUL or half of a surrogate pair.", code="characters")
    elif isinstance(value, dict):
        for key, each in value.items():
            if any(_unreadable(key, "")):
                yield Fault(pointer=pointer, detail="Has a key that is no text.", code="characters")
            else:
                yield from _unreadable(each, f"{pointer}/{escape(key)}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _unreadable(each, f"{pointer}/{index}")


def escape(key: str) -> str:
    """One step of a JSON Pointer (RFC 6901); a key that is long or odd is not repeated."""
    shown = key if len(key) <= 64 and key.isprintable() else "…"  # noqa: PLR2004
    return shown.replace("~", "~0").replace("/", "~1")
