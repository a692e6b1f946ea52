import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import stations, venues
from relay.core.errors import RowUnreadable
from relay.core.normalize import canonical_json

STATIONS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "list-stations.json").read_text())["data"]

ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.builds(list) | st.builds(dict)
)


def test_the_documented_stations_are_the_contracts() -> None:
    assert [stations.normalize(row) for row in STATIONS] == [
        {
            "id": 1,
            "name": "Kitchen",
            "status": "active",
            "type": "kitchen",
            "printable": True,
            "created_at": "2026-01-13T14:08:49.000000Z",
            "updated_at": "2026-01-13T14:08:49.000000Z",
        },
        {
            "id": 2,
            "name": "Bar",
            "status": "active",
            "type": "other",
            "printable": True,
            "created_at": "2026-01-13T14:08:49.000000Z",
            "updated_at": "2026-01-13T14:08:49.000000Z",
        },
        {
            "id": 3,
            "name": "Tandir",
            "status": "active",
            "type": "other",
            "printable": False,
            "created_at": "2026-01-13T14:36:51.000000Z",
            "updated_at": "2026-01-13T14:36:51.000000Z",
        },
    ]
    assert list(stations.normalize(STATIONS[0])) == list(STATIONS[0])


@pytest.mark.parametrize("one", [1, "1", True, "true", Decimal(1)])
def test_one_is_read_however_it_is_spelled(one: object) -> None:
    station = stations.normalize({"id": "7", "status": one, "type": one, "printable": one})

    assert (station["id"], station["status"], station["type"], station["printable"]) == (7, "active", "kitchen", True)


@pytest.mark.parametrize("other", [0, "0", False, None, "", [], 2, "on hold"])
def test_whatever_is_not_one_is_off(other: object) -> None:
    station = stations.normalize({"id": 7, "status": other, "type": other, "printable": other})

    assert (station["status"], station["type"], station["printable"]) == ("inactive", "other", False)


def test_a_venue_is_its_id_name_and_rank_and_nothing_personal() -> None:
    row = {"id": "1", "name": "Main", "is_main": 1, "media": [], "phone": "+994", "email": "a@b.c", "address": "x"}

    assert venues.normalize(row) == {"id": 1, "name": "Main", "is_main": True}
    assert venues.normalize({"id": 2}) == {"id": 2, "name": None, "is_main": False}


@pytest.mark.parametrize("bad", [None, 0, "", "x", [], -3])
def test_without_a_usable_id_neither_can_be_read(bad: object) -> None:
    for normalize in (stations.normalize, venues.normalize):
        with pytest.raises(RowUnreadable):
            normalize({"id": bad})


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "status", "type", "printable", "is_main"), ANYTHING)))
def test_no_row_with_an_id_is_refused(row: dict[str, Any]) -> None:
    canonical_json([stations.normalize({**row, "id": 1}), venues.normalize({**row, "id": 1})])
