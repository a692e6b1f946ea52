"""How an event is kept: deflated against a dictionary of what events look like, a sixth of its size and less.

A blob is one byte that names the dictionary, then zlib (RFC 1950) with that dictionary preset; inside, one line with
the event's head, one with its data, and, where there is one, the row. Compact JSON holds no line feed.
A dictionary never changes: what is kept was written with it. A better one gets the next number.
"""

import zlib
from collections.abc import Sequence
from typing import Final

import orjson

from relay.core.drafts import Draft
from relay.core.errors import CorruptStateError

MAX_UNPACKED_BYTES: Final = 16 * 1_048_576
"""No event is near that; a blob that would unpack to more is not one of ours."""

_LEVEL: Final = 6
"""Measured: on what is mostly dictionary a seventh slower than 1, and a tenth smaller; more brings nothing more."""

_WINDOW_BITS: Final = 13  # 8 KiB: dictionary and event; a larger window is memory to clear for each event
_MEMORY_LEVEL: Final = 6
_HEAD_BYTES: Final = 512

# Deflate finds what is near the end most cheaply, so the commonest comes last.
_DICTIONARY_1: Final = (
    b'{"success":true,"id":1,"venue_id":1,"type":"CALL_CENTER_ORDER","integration":"call_center_new",'
    b'"integration_uuid":null,"integration_id":null,"customer_ref_id":null,"integration_status":"CREATED",'
    b'"status":"RECEIVED","payload":{"auto_order_accept":false,"auto_order_sent_to_station":false,"delivery_fee":2,'
    b'"service":{"sale_type_id":2,"sale_type_name":"Delivery","venue_id":1,"venue_name":"Main"},'
    b'"customer":{"id":1,"phone":"+99450","address":"","customer_discount_type":1,"name":""},'
    b'"products":[{"product_id":1,"count":1,"product_modificators":[{"modificator_id":1,"count":1}],"portion_size":1,'
    b'"meta":{"price":1,"order_product":{"count":1,"status":"new","product_modificators":[],"product_hash":"",'
    b'"product":{"id":1,"name":"","price":1}}}}],"meta":{"comment":"","discount":{"discount_type":1,'
    b'"discount_value":0},"orderTotal":"0.0000","apply_service_charge":true,"customer_discount_type":1,'
    b'"service_charge_value":0},"customer_id":1,"sale_type_id":2},"created_at":"2026-01-01T00:00:00.000000Z",'
    b'"updated_at":"2026-01-01T00:00:00.000000Z","deleted_at":null,"integration_response":null}'
    b'["relay.subscription_disabled","relay.subscription_enabled","relay.brand_failing","relay.brand_recovered",'
    b'"relay.delivery_dead",null,null,"subscription/sub_","{"subscription":"sub_","delivery":"dlv_","event":"evt_",'
    b'"type":"","subject":"","attempts":,"last_error":"","name":"","reason":"","since":"","error":"'
    b'"venue.updated","venue.created","venue.removed"{"venue":{"id":1,"name":"","is_main":true},"changes":{}}'
    b'"station.created","station.removed","station.updated","station.status_changed"'
    b'{"station":{"id":1,"name":"","status":"active","type":"kitchen","printable":true,"created_at":"2026-01-01T00:00:00.'
    b'000000Z","updated_at":"2026-01-01T00:00:00.000000Z"},"previous_status":"inactive","changes":{"status":["inactive",'
    b'"active"]}}'
    b'"backfill","reconcile","command"]"order.removed","order.updated","order.created","order.status_changed"'
    b'"changes":{"status":["pending","cancelled"],"source_status":["PENDING","IGNORE"]}}'
    b'"changes":{"status":["accepted","delivered"],"source_status":["RECEIVED","DELIVERED"]}}'
    b'["evt_","order.status_changed","",1,"order/1","poll"]\n'
    b'{"order":{"id":1,"venue_id":1,"status":"accepted","source_status":"RECEIVED","channel":{'
    b'"type":"CALL_CENTER_ORDER","integration":"call_center_new","integration_id":null,"integration_uuid":null,'
    b'"integration_status":"CREATED"},"customer":{"id":1,"name":"","phone":"+99450","address":"","ref":null},'
    b'"items":[{"product_id":1,"name":"","quantity":"1","unit_price":"1","portion_size":"1","note":null,"status":"new",'
    b'"modifiers":[{"id":1,"name":null,"quantity":"1","unit_price":null}]},{"product_id":1,"name":"","quantity":"2",'
    b'"unit_price":"2.5","portion_size":"1","note":null,"status":"new","modifiers":[]}],"delivery_fee":"2.5",'
    b'"total":null,"discount":{"type":1,"value":"0"},"service_charge":{"applied":true,"value":"0"},"currency":null,'
    b'"sale_type_id":2,"comment":"","created_at":"2026-01-01T00:00:00.000000Z",'
    b'"updated_at":"2026-01-01T00:00:00.000000Z"},"previous_status":null,"changes":{}}'
    b',"previous_status":"pending","changes":{"status":["pending","accepted"],"source_status":["PENDING","RECEIVED"]}}'
)

_DICTIONARIES: Final = {1: _DICTIONARY_1}
_CURRENT: Final = 1
_template: Final = zlib.compressobj(
    _LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY_1
)


def pack_lines(lines: Sequence[bytes]) -> bytes:
    """Pack lines, of which only the last may hold a line feed."""
    deflate = _template.copy()
    return b"".join((_CURRENT.to_bytes(), deflate.compress(b"\n".join(lines)), deflate.flush()))


def unpack_lines(blob: bytes, most: int) -> list[bytes]:
    """Unpack what :func:`pack_lines` packed, as so many lines at most.

    Raises:
        CorruptStateError: it is nothing that this or an older version packed; ``reason`` is ``newer_version`` where a
            newer one may have.
    """
    inflate = zlib.decompressobj(zdict=_dictionary_of(blob))
    try:
        lines = inflate.decompress(blob[1:], MAX_UNPACKED_BYTES).split(b"\n", most - 1)
    except zlib.error:
        raise CorruptStateError("What is stored cannot be unpacked.") from None
    if not inflate.eof:
        raise CorruptStateError("What is stored was cut short.")
    return lines


def pack_static(event: Draft) -> bytes:
    """Pack what of an event the commit does not decide."""
    head = orjson.dumps([event.id, event.type, event.brand, event.venue_id, event.subject, event.origin])
    return pack_lines([head, event.data] if event.raw is None else [head, event.data, event.raw])


def unpack_names(blob: bytes) -> tuple[str, str | None, int | None, str]:
    """Read only the id, the brand, the venue and the subject of what ``pack_static`` packed: to look through many.

    Raises:
        CorruptStateError: as ``unpack_static``.
    """
    dictionary = _dictionary_of(blob)
    inflate = zlib.decompressobj(zdict=dictionary)
    try:
        head = inflate.decompress(blob[1:], _HEAD_BYTES).split(b"\n", 1)
        if len(head) == 1:
            return _names_of(unpack_static(blob))
        event_id, _, brand, venue_id, subject, _ = orjson.loads(head[0])
    except (zlib.error, ValueError, TypeError):
        raise CorruptStateError("An event cannot be unpacked.") from None
    return event_id, brand, venue_id, subject


def _names_of(event: Draft) -> tuple[str, str | None, int | None, str]:
    return event.id, event.brand, event.venue_id, event.subject


def _dictionary_of(blob: bytes) -> bytes:
    dictionary = _DICTIONARIES.get(blob[0]) if blob else None
    if dictionary is None:
        reason = "newer_version" if blob and _CURRENT < blob[0] < ord(" ") else None
        raise CorruptStateError("What is stored is packed in a way that this version does not know.", reason=reason)
    return dictionary


def unpack_static(blob: bytes) -> Draft:
    """Unpack what ``pack_static`` packed.

    Raises:
        CorruptStateError: it is nothing that this or an older version packed; ``reason`` is ``newer_version`` where a
            newer one may have.
    """
    lines = unpack_lines(blob, 3)
    try:
        event_id, kind, brand, venue_id, subject, origin = orjson.loads(lines[0])
        data = lines[1]
    except (ValueError, IndexError, TypeError):
        raise CorruptStateError("An event cannot be unpacked.") from None
    return Draft(event_id, kind, brand, venue_id, subject, origin, data, lines[2] if lines[2:] else None)
