"""What a venue is: a Clopos row read as the contract's ``data.venue``."""

from collections.abc import Mapping
from typing import Any, TypedDict

from relay.core.errors import RowUnreadable
from relay.core.normalize import flag, identity, text


class Venue(TypedDict):
    """The contract's ``data.venue``."""

    id: int
    name: str | None
    is_main: bool


def normalize(row: Mapping[str, Any]) -> Venue:
    """Read a row of ``GET /venues`` as a venue; without a readable flag it is not the main one.

    Raises:
        RowUnreadable: it has no usable id.
    """
    venue_id = identity(row.get("id"))
    if venue_id is None:
        raise RowUnreadable("The venue has no usable id.", reason="no_id")
    return {"id": venue_id, "name": text(row.get("name")), "is_main": flag(row.get("is_main")) is True}
