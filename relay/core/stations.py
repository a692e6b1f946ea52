"""What a station is: a Clopos row read as the contract's ``data.station``."""

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from relay.core.errors import RowUnreadable
from relay.core.normalize import flag, identity, text

_STATUSES: Final = {True: "active", False: "inactive"}
_TYPES: Final = {True: "kitchen", False: "other"}


class Station(TypedDict):
    """The contract's ``data.station``."""

    id: int
    name: str | None
    status: str
    type: str
    printable: bool
    created_at: str | None
    updated_at: str | None


def normalize(row: Mapping[str, Any]) -> Station:
    """Read a row of ``GET /stations`` as a station.

    What is not 1 (or true) is 0: a station without a readable status is inactive, without a type ``other``, without a
    printable flag not printable. The contract knows no third value, and an order must not be sent where nobody looks.

    Raises:
        RowUnreadable: it has no usable id.
    """
    station_id = identity(row.get("id"))
    if station_id is None:
        raise RowUnreadable("The station has no usable id.", reason="no_id")
    return {
        "id": station_id,
        "name": text(row.get("name")),
        "status": _STATUSES[_is_one(row.get("status"))],
        "type": _TYPES[_is_one(row.get("type"))],
        "printable": _is_one(row.get("printable")),
        "created_at": text(row.get("created_at")),
        "updated_at": text(row.get("updated_at")),
    }


def _is_one(value: Any) -> bool:
    return flag(value) is True
