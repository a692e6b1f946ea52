import json
import zlib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.changes import Feed, compare
from relay.core.drafts import Draft, draft
from relay.core.errors import CorruptStateError
from relay.core.orders import normalize
from relay.core.packing import pack_static, unpack_static
from relay.store.snapshots import Snapshot, pack, unpack

PAGE = (Path(__file__).parent / "data" / "list-orders.json").read_text()


def documented(*, with_row: bool) -> Draft:
    row = json.loads(PAGE, parse_float=Decimal)["data"][0]
    before = normalize({**row, "status": "PENDING"}, currency=None)
    change = compare(Feed.ORDERS, before, normalize(row, currency=None))
    assert change is not None
    return draft(
        change,
        brand="openapitest",
        venue_id=1,
        subject="order/1",
        origin="poll",
        previous_id=None,
        raw=json.dumps(json.loads(PAGE)["data"][0], separators=(",", ":")).encode() if with_row else None,
    )


JSON_TEXT = st.dictionaries(st.text(max_size=3), st.text(max_size=20) | st.integers(), max_size=4)
EVENTS = st.builds(
    Draft,
    id=st.text(max_size=40),
    type=st.text(max_size=20),
    brand=st.none() | st.text(max_size=10),
    venue_id=st.none() | st.integers(0, 2**63 - 1),
    subject=st.text(max_size=20),
    origin=st.sampled_from(["poll", "test"]),
    data=JSON_TEXT.map(lambda value: json.dumps(value).encode()),
    raw=st.none() | JSON_TEXT.map(lambda value: json.dumps(value, indent=2).encode()) | st.just(b""),
)


@given(EVENTS)
def test_what_was_packed_comes_back(event: Draft) -> None:
    assert unpack_static(pack_static(event)) == event


def test_the_documented_event_packs_into_three_hundred_bytes_with_its_row_and_less_without() -> None:
    assert len(pack_static(documented(with_row=False))) <= 200
    assert len(pack_static(documented(with_row=True))) <= 300


def test_what_was_packed_by_an_earlier_release_is_still_read() -> None:
    # A blob written by the first release. If this fails, a dictionary was changed that kept events need.
    blob = bytes.fromhex("015866583f106283940ca0d48d5ee225115728d4d67255d7020001aa15c1")

    assert unpack_static(blob) == Draft(
        "evt_0", "order.created", "b", 1, "order/1", "poll", b'{"order":{"id":1}}', b"{}"
    )


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x01",
        b"{}",
        b"\x01" + zlib.compress(b"[]"),
        pack_static(documented(with_row=True))[:-1],
        pack_static(documented(with_row=True))[:40],
        pack_static(documented(with_row=True))[:-5] + b"\0" * 5,
        b"plain text",
        bytes(range(256)),
    ],
)
def test_what_nobody_packed_is_corrupt(blob: bytes) -> None:
    with pytest.raises(CorruptStateError):
        unpack_static(blob)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_corrupt(blob: bytes) -> None:
    for candidate in (blob, b"\x01" + blob):
        with pytest.raises(CorruptStateError):
            unpack_static(candidate)


def test_a_blob_of_a_newer_release_is_told_from_a_corrupt_one() -> None:
    with pytest.raises(CorruptStateError) as caught:
        unpack_static(b"\x02...")

    assert caught.value.reason == "newer_version"


@pytest.mark.parametrize("raw", [None, b'{"id":1,"status":"PENDING"}'])
def test_a_snapshot_comes_back_as_it_was(raw: bytes | None) -> None:
    value = {"id": 1, "status": "pending", "comment": "Zəng edin\n", "items": []}
    assert unpack(pack(value, raw)) == Snapshot(value, raw)


def test_a_snapshot_of_before_there_was_a_dictionary_can_be_read() -> None:
    assert unpack(zlib.compress(b'{"id":1}\n{"row":1}', 1)) == Snapshot({"id": 1}, b'{"row":1}')


@pytest.mark.parametrize("blob", [b"", b"x", b"\x01", b"\x01junk", b"\x7f", pack({"id": 1}, None)[:-3]])
def test_a_snapshot_that_is_none_says_so(blob: bytes) -> None:
    with pytest.raises(CorruptStateError):
        unpack(blob)
