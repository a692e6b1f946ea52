"""How Clopos' answers are read: pages into rows, rows into objects, failures into reasons; quirk by quirk.

A page is split into the exact bytes of its rows without parsing them: a row whose bytes were seen before needs no more.
A page that does not parse as it stands (NaN, half a surrogate pair, ten thousand brackets) is split all the same, by
its brackets and strings alone, so that one row cannot hide the others. What is not a page is never an empty one.
"""

import json
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import msgspec

from relay.clopos.failures import Failure, FailureKind, envelope_failure, refuse
from relay.clopos.outline import BOM, UnparsableError, id_in, parse_object, read_outline, too_deep, why_not_an_object
from relay.core.errors import PageUnreadable, RowUnreadable
from relay.core.normalize import MAX_DIGITS, flag, integer

__all__ = [
    "MAX_ROWS",
    "MAX_ROW_BYTES",
    "BadRow",
    "Failure",
    "FailureKind",
    "Page",
    "RawRow",
    "bad_row",
    "envelope_failure",
    "fingerprint",
    "read_object",
    "read_one",
    "read_page",
    "read_row",
]

MAX_ROW_BYTES: Final = 1_048_576
"""A longer row is set aside; the documented one has 1.6 KB."""

MAX_ROWS: Final = 50_000
"""A page of more is not read: 200 are asked for, and 20 MB of the documented row, the most on record, are 12 000."""

_FINGERPRINT_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a page, not parsed.

    Attributes:
        data: its JSON, byte for byte as it came; holds personal data, so it is not shown.
        fingerprint: a digest of ``data``, 12 bytes.
    """

    data: bytes = field(repr=False)
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that cannot be read.

    Attributes:
        reason: ``not_json``, ``not_an_object``, ``bad_number``, ``bad_text``, ``deep``, ``oversize`` or ``no_id``.
        id: its id where it could be told.
        fingerprint: a digest of its bytes, 12 bytes: the same content is counted once.
        size_bytes: how long it is.
    """

    reason: str
    id: int | None
    fingerprint: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list.

    Attributes:
        rows: the rows that could be split off, in the page's order.
        total: how many there are on all pages, where Clopos says so.
        bad_rows: the rows that cannot be read; a row of ``rows`` may still turn out to be one when it is parsed.
    """

    rows: tuple[RawRow, ...]
    total: int | None
    bad_rows: tuple[BadRow, ...] = ()


class _Envelope(msgspec.Struct):
    success: msgspec.Raw = msgspec.Raw(b"")
    data: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    total: msgspec.Raw = msgspec.Raw(b"")


_envelope: Final = msgspec.json.Decoder(_Envelope)


def fingerprint(data: bytes) -> bytes:
    """Digest a row's bytes; 12 bytes."""
    return blake2b(data, digest_size=_FINGERPRINT_BYTES).digest()


def read_page(body: bytes) -> Page:
    """Split the answer of a list into its rows.

    Args:
        body: the whole body of a 2xx answer.

    Returns:
        The page; its rows are not parsed unless the page as a whole cannot be.

    Raises:
        PageUnreadable: ``not_json`` (an HTML page, an empty body), ``truncated`` (cut short), ``not_an_object``,
            ``no_data`` (an object without ``data``), ``not_a_list``, ``oversize`` (more than ``MAX_ROWS`` rows).
        RefusedError: the body says ``"success": false``.
    """
    try:
        envelope = _envelope.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _read_page_tolerantly(body)
    if bytes(envelope.success) == b"false":
        refuse(body)
    if envelope.data is msgspec.UNSET:
        raise PageUnreadable("The answer has no data.", reason="no_data")
    _check_number(len(envelope.data))
    rows: list[RawRow] = []
    bad: list[BadRow] = []
    for raw in envelope.data:
        data = bytes(raw)
        reason = _refused_unparsed(data)
        if reason is None:
            rows.append(RawRow(data, fingerprint(data)))
        else:
            bad.append(_bad_row(data, reason))
    return Page(tuple(rows), _total(bytes(envelope.total)), tuple(bad))


def read_one(body: bytes) -> RawRow:
    """Take the one row out of the answer about a single thing (``GET /orders/{id}``, a PUT).

    Raises:
        PageUnreadable: as ``read_page``; ``no_data`` also where ``data`` is null or empty.
        RowUnreadable: the row cannot be read.
        RefusedError: the body says ``"success": false``.
    """
    outline = read_outline(body)
    if flag(outline.envelope.get("success")) is False:
        refuse(body)
    data = outline.data
    if data[:1] == b"[" and len(outline.elements) == 1:
        data = outline.elements[0]
    if data in {b"", b"null", b"[]", b"{}"} or data[:1] == b"[":
        raise PageUnreadable("The answer holds no row.", reason="no_data")
    row = RawRow(data, fingerprint(data))
    reason = _refused_unparsed(data)
    if reason is not None:
        raise RowUnreadable("The row cannot be read.", reason=reason, row_id=id_in(data))
    read_row(row)
    return row


def read_row(raw: RawRow | bytes) -> dict[str, Any]:
    """Parse one row exactly: integers of any length as int, other numbers as Decimal.

    Raises:
        RowUnreadable: ``not_json``, ``not_an_object``, ``bad_number`` (NaN, Infinity, more than 4 300 digits),
            ``bad_text`` (not UTF-8), ``deep`` (more than 128 levels), ``oversize`` (more than 1 MiB).
    """
    data = raw if isinstance(raw, bytes) else raw.data
    reason = _refused_unparsed(data) or too_deep(data)
    if reason is None:
        try:
            return parse_object(data)
        except UnparsableError as refused:
            reason = refused.reason
    raise RowUnreadable("The row cannot be read.", reason=reason, row_id=id_in(data))


def bad_row(raw: RawRow, error: RowUnreadable) -> BadRow:
    """Say of a row of a page that it turned out unreadable."""
    row_id = error.row_id if error.row_id is not None else id_in(raw.data)
    return BadRow(error.reason, row_id, raw.fingerprint, len(raw.data))


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a whole answer that is one object, such as a sign-in's; numbers as in ``read_row``.

    Raises:
        PageUnreadable: ``not_json``, ``truncated``, ``not_an_object``, ``bad_number``, ``bad_text``, ``deep``.
    """
    body = body.removeprefix(BOM)
    reason = too_deep(body)
    if reason is None:
        try:
            return parse_object(body)
        except UnparsableError as refused:
            reason = refused.reason
    if reason in {"not_json", "not_an_object"}:
        reason = why_not_an_object(body)
    raise PageUnreadable("The answer cannot be read.", reason=reason)


def _read_page_tolerantly(body: bytes) -> Page:
    outline = read_outline(body)
    if flag(outline.envelope.get("success")) is False:
        refuse(body)
    if not outline.data:
        raise PageUnreadable("The answer has no data.", reason="no_data")
    if outline.data[:1] != b"[":
        raise PageUnreadable("The answer's data is not a list.", reason="not_a_list")
    rows: list[RawRow] = []
    bad: list[BadRow] = []
    _check_number(len(outline.elements))
    for data in outline.elements:
        row = RawRow(data, fingerprint(data))
        try:
            read_row(row)
        except RowUnreadable as error:
            bad.append(bad_row(row, error))
        else:
            rows.append(row)
    return Page(tuple(rows), _count(outline.envelope.get("total")), tuple(bad))


def _check_number(rows: int) -> None:
    if rows > MAX_ROWS:
        raise PageUnreadable("The answer has more rows than any page.", reason="oversize")


def _bad_row(data: bytes, reason: str) -> BadRow:
    return BadRow(reason, id_in(data), fingerprint(data), len(data))


def _refused_unparsed(data: bytes) -> str | None:
    if data[:1] != b"{":
        return "not_an_object"
    return "oversize" if len(data) > MAX_ROW_BYTES else None


def _total(data: bytes) -> int | None:
    if not 0 < len(data) < MAX_DIGITS:
        return None
    try:
        return _count(json.loads(data))
    except (ValueError, RecursionError):  # the envelope was split, not parsed: text that is not UTF-8, brackets
        return None


def _count(value: Any) -> int | None:
    number = integer(value)
    return number if number is not None and number >= 0 else None
