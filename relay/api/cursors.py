"""Where does a list go on?  An opaque text that holds a place and is bound to the list, its filters and the caller."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import orjson

from relay.api.problems import ProblemError

_BOUND_BYTES: Final = 9
MAX_CURSOR_CHARS: Final = 512
_LARGEST: Final = 2**63 - 1
"""Of a place's numbers, which are positions and ids; none of them is below 0."""


def bound_to(*parts: Any) -> str:
    """Digest of what a cursor is good for: the operation, its filters, the caller."""
    digest = hashlib.blake2b(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=_BOUND_BYTES).digest()
    return base64.urlsafe_b64encode(digest).decode()


def encode(bound: str, place: Sequence[str | int]) -> str:
    """Write a cursor."""
    return base64.urlsafe_b64encode(orjson.dumps([bound, *place])).decode().rstrip("=")


def decode(text: str, bound: str, *, kinds: Sequence[type]) -> list[Any]:
    """Read a cursor.

    Args:
        kinds: types of the parts of its place.

    Raises:
        ProblemError: 400: it is none, or one of another list, of other filters or of another caller.
    """
    try:
        found = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        raise _bad("The cursor cannot be read.") from None
    if not isinstance(found, list) or len(found) != len(kinds) + 1:
        raise _bad("The cursor cannot be read.")
    if found[0] != bound:
        raise _bad("The cursor belongs to another list, or to other filters.")
    place = found[1:]
    if any(type(part) is not kind for part, kind in zip(place, kinds, strict=True)):
        raise _bad("The cursor cannot be read.")
    if any(type(part) is int and not 0 <= part <= _LARGEST for part in place):
        raise _bad("The cursor cannot be read.")
    return place


def _bad(detail: str) -> ProblemError:
    return ProblemError("bad_cursor", f"{detail} Start again without it.")
