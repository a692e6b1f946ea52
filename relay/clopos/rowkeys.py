"""What must be known of a row before it is worth parsing: its id, its venue, its ``updated_at``.

A page of which nothing changed is never parsed; these three are picked out of its rows' bytes.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from relay.clopos.schema import RawRow, read_row
from relay.core.errors import RowUnreadable
from relay.core.normalize import identity, text


class _Picked(msgspec.Struct):
    id: Any = None
    venue_id: Any = None
    updated_at: Any = None


_picked: Final = msgspec.json.Decoder(_Picked)


@dataclass(frozen=True, slots=True)
class RowKey:
    """The name of a row.

    Attributes:
        venue_id: as the row states it; None where it states none.
        updated_at: as the row states it; an opaque token that orders rows among themselves, "" where it states none.
    """

    id: int
    venue_id: int | None
    updated_at: str


def row_key(raw: RawRow) -> RowKey:
    """Pick a row's key out of its bytes.

    Raises:
        RowUnreadable: it has no usable id, or cannot be read at all.
    """
    try:
        picked = _picked.decode(raw.data)
        found_id, venue_id, updated_at = picked.id, picked.venue_id, picked.updated_at
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        row = read_row(raw)
        found_id, venue_id, updated_at = row.get("id"), row.get("venue_id"), row.get("updated_at")
    row_id = identity(found_id)
    if row_id is None:
        raise RowUnreadable("The row has no usable id.", reason="no_id")
    return RowKey(row_id, identity(venue_id), text(updated_at) or "")
