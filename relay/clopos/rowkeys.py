"""What must be known of a row before it is worth parsing: its id, its venue, its times.

A page of which nothing changed is never parsed; these few are picked out of its rows' bytes.
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
    created_at: Any = None


_picked: Final = msgspec.json.Decoder(_Picked)


@dataclass(frozen=True, slots=True)
class RowKey:
    """The name of a row.

    Attributes:
        venue_id: as the row states it; None where it states none.
        updated_at: as the row states it; an opaque token that orders rows among themselves, "" where it states none.
        created_at: likewise.
    """

    id: int
    venue_id: int | None
    updated_at: str
    created_at: str


def row_key(raw: RawRow) -> RowKey:
    """Pick a row's key out of its bytes.

    Raises:
        RowUnreadable: it has no usable id, or cannot be read at all.
    """
    try:
        picked = _picked.decode(raw.data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        row = read_row(raw)
        picked = _Picked(row.get("id"), row.get("venue_id"), row.get("updated_at"), row.get("created_at"))
    row_id = identity(picked.id)
    if row_id is None:
        raise RowUnreadable("The row has no usable id.", reason="no_id")
    return RowKey(row_id, identity(picked.venue_id), text(picked.updated_at) or "", text(picked.created_at) or "")
