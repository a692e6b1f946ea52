"""What did looking at Clopos find, venue by venue, and how is it written down?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from relay.core.cadence import Habits, OpenOrder, Rate


class FeedState(msgspec.Struct, omit_defaults=True):
    """One feed of one venue (or of the brand, for the venues themselves). Times are epoch ms of Redis' clock.

    Attributes:
        looked_ms: the last look that was committed; 0 for none.
        changed_ms: the last one that brought an event.
        first_ms: the first look that was committed whole; 0 for none.
        memory_id: the highest id of the first look.
        mark: watermark: ``updated_at`` of the row touched last, as far as looks got.
        mark_ms: when it moved.
        deep_ms: the last look that went back for rows that turn up late.
        compared_ms: the last full compare that was committed.
        taken_with: version of the normalizer and currency that the snapshots were made with.
        failures: looks that failed in a row.
        failing_ms: since when.
        reason: slug of the failure.
        message: sentence of the failure.
        retry_ms: no look before that.
        unsorted_ms: when rows came in another order than was asked for; 0 when they do not.
        still_ms: when a change was found whose ``updated_at`` did not move; 0 for never.
        asked_id: the last open order that was asked for by its id, as it is older than what is compared.
        missing: id -> how many times in a row a thing that is known did not come with all the others.
        strangers: rows of other venues came, and were left aside.
        limit: rows asked for on a page; 0 asks for none in particular, where Clopos refuses a number.
    """

    looked_ms: int = 0
    changed_ms: int = 0
    first_ms: int = 0
    memory_id: int = 0
    mark: str = ""
    mark_ms: int = 0
    deep_ms: int = 0
    compared_ms: int = 0
    taken_with: str = ""
    failures: int = 0
    failing_ms: int = 0
    reason: str = ""
    message: str = ""
    retry_ms: int = 0
    unsorted_ms: int = 0
    still_ms: int = 0
    asked_id: int = 0
    missing: dict[int, int] = msgspec.field(default_factory=dict)
    strangers: bool = False
    limit: int = 200


class VenueState(msgspec.Struct, omit_defaults=True):
    """One venue.

    Attributes:
        rate: what is learnt of its changes.
        open_orders: how many are open.
        next_ms: when the next look may begin.
    """

    orders: FeedState = msgspec.field(default_factory=FeedState)
    stations: FeedState = msgspec.field(default_factory=FeedState)
    rate: Rate = msgspec.field(default_factory=Rate)
    open_orders: int = 0
    next_ms: int = 0


class BrandState(msgspec.Struct, omit_defaults=True):
    """One brand.

    Attributes:
        generation: of the brand's document; what was found for another one of the same name is not its.
        venues: id -> name of those that are looked at, as far as Clopos has told.
        listed: the feed of the venues themselves.
        failures: requests that failed in a row, all venues.
        failing_ms: since when the brand counts as failing; 0 when it does not.
        reason: slug of the last failure.
        message: its sentence.
        retry_ms: no look before that.
        whole: a list without venue covers all venues: True, False, or None while that is not known.
        whole_ms: when that was last found out.
        whole_orders: looking at that list.
    """

    generation: str = ""
    venues: dict[int, str | None] = msgspec.field(default_factory=dict)
    listed: FeedState = msgspec.field(default_factory=FeedState)
    failures: int = 0
    failing_ms: int = 0
    reason: str = ""
    message: str = ""
    retry_ms: int = 0
    whole: bool | None = None
    whole_ms: int = 0
    whole_orders: FeedState = msgspec.field(default_factory=FeedState)


class SetAside(msgspec.Struct, omit_defaults=True):
    """A row that cannot be read.

    Attributes:
        reason: why, see ``relay.clopos.schema.BadRow``.
        fingerprint: of its bytes, hex.
        since_ms: when it was first seen like that.
        size_bytes: of the row.
    """

    feed: str
    venue_id: int | None
    id: int | None
    reason: str
    fingerprint: str
    since_ms: int
    size_bytes: int


@dataclass(slots=True)
class Found:
    """All that is known of looking at a brand.

    Attributes:
        begun: looks that were begun and not ended, since their worker died: name of the field -> how often in a row.
    """

    brand: BrandState
    habits: Habits = field(default_factory=Habits)
    venues: dict[int, VenueState] = field(default_factory=dict)
    open_orders: dict[int, dict[int, OpenOrder]] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    bad: dict[str, SetAside] = field(default_factory=dict)


_encoder: Final = msgspec.json.Encoder()
_brand: Final = msgspec.json.Decoder(BrandState)
_habits: Final = msgspec.json.Decoder(Habits)
_venue: Final = msgspec.json.Decoder(VenueState)
_orders: Final = msgspec.json.Decoder(dict[int, OpenOrder])
_bad: Final = msgspec.json.Decoder(SetAside)


def encode(value: Any) -> bytes:
    """Write one field of the state."""
    return _encoder.encode(value)


BRAND_FIELD: Final = "b"
"""Name of the field that holds a ``BrandState``."""

HABITS_FIELD: Final = "h"
"""Name of the field that holds the ``Habits`` of its orders."""


def venue_field(venue_id: int) -> str:
    """Name of the field that holds a ``VenueState``."""
    return f"v:{venue_id}"


def orders_field(venue_id: int) -> str:
    """Name of the field that holds a venue's open orders."""
    return f"o:{venue_id}"


def begun_field(feed: str, venue_id: int | None) -> str:
    """Name of the field that holds how often a look was begun and not ended."""
    return f"r:{feed}:{'-' if venue_id is None else venue_id}"


def bad_field(feed: str, venue_id: int | None, row: str) -> str:
    """Name of the field that holds a row set aside; ``row`` is its id, or the digest of its bytes."""
    return f"{feed}:{'-' if venue_id is None else venue_id}:{row}"


def decode(state: Mapping[bytes, bytes], bad: Mapping[bytes, bytes], *, generation: str) -> Found:
    """Read a brand's state; a field that cannot be read counts as absent: it costs a longer look, nothing else."""
    brand = _read(_brand, state.get(BRAND_FIELD.encode())) or BrandState(generation=generation)
    if brand.generation != generation:
        return Found(BrandState(generation=generation))
    found = Found(brand, _read(_habits, state.get(HABITS_FIELD.encode())) or Habits())
    for name, value in state.items():
        kind, _, venue_id = name.partition(b":")
        if kind == b"r" and value.isdigit():
            found.begun[name.decode()] = int(value)
        if not venue_id.isdigit():
            continue
        if kind == b"v" and (venue := _read(_venue, value)) is not None:
            found.venues[int(venue_id)] = venue
        elif kind == b"o" and (orders := _read(_orders, value)) is not None:
            found.open_orders[int(venue_id)] = orders
    for name, value in bad.items():
        if (row := _read(_bad, value)) is not None:
            found.bad[name.decode()] = row
    return found


def _read(decoder: Any, value: bytes | None) -> Any:
    try:
        return None if value is None else decoder.decode(value)
    except msgspec.DecodeError:
        return None
