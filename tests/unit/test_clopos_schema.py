import contextlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.clopos.schema import (
    MAX_ROW_BYTES,
    MAX_ROWS,
    BadRow,
    RawRow,
    bad_row,
    fingerprint,
    read_object,
    read_one,
    read_page,
    read_row,
)
from relay.core.errors import CloposError, PageUnreadable, RefusedError, RowUnreadable
from relay.core.orders import normalize

DOCUMENTED = (Path(__file__).parent / "data" / "list-orders.json").read_bytes()
GOOD = b'{"id": 2, "name": "a"}'


def page(*rows: bytes, total: bytes = b"4") -> bytes:
    return b'{"success":true,"data":[' + b",".join(rows) + b'],"total":' + total + b"}"


def raw(data: bytes) -> RawRow:
    return RawRow(data, fingerprint(data))


# --- pages -----------------------------------------------------------------------------------------------------------


def test_the_documented_page_has_one_row_of_four() -> None:
    read = read_page(DOCUMENTED)

    assert (len(read.rows), read.total, read.bad_rows) == (1, 4, ())
    assert read_row(read.rows[0]) == json.loads(DOCUMENTED)["data"][0]


def test_a_row_is_its_bytes_exactly_as_they_came() -> None:
    row = b'{ "id" : 1,\n "price": 1.50, "name":"\\u00e4\\/" }'

    assert [each.data for each in read_page(page(row, GOOD)).rows] == [row, GOOD]


def test_the_fingerprint_is_that_of_the_bytes() -> None:
    one, two, again = read_page(page(b'{"id":1}', b'{"id": 1}', b'{"id":1}')).rows

    assert one.fingerprint == again.fingerprint != two.fingerprint
    assert len(one.fingerprint) == 12


@pytest.mark.parametrize(
    ("total", "read"),
    [
        (b"4", 4),
        (b'"4"', 4),
        (b"0", 0),
        (b"null", None),
        (b"-1", None),
        (b"[]", None),
        (b"1.5", None),
        (b'"\xff"', None),
        (b"1e999", None),
    ],
)
def test_a_total_is_read_however_it_is_spelled(total: bytes, read: int | None) -> None:
    assert read_page(page(GOOD, total=total)).total == read


def test_a_total_of_nothing_but_brackets_raises_nothing_but_clopos_errors() -> None:
    for depth in range(800, 1000):  # around what the parsers beside each other still take
        with contextlib.suppress(CloposError):
            assert read_page(page(GOOD, total=b"[" * depth + b"]" * depth)).total is None


@pytest.mark.parametrize("poison", [b"1", b"NaN"])
def test_a_page_of_more_rows_than_any_has_is_not_read(poison: bytes) -> None:
    with pytest.raises(PageUnreadable) as caught:
        read_page(page(*[b"1"] * MAX_ROWS, poison))

    assert caught.value.reason == "oversize"


def test_an_empty_list_is_an_empty_page() -> None:
    for body in (b'{"success":true,"data":[],"total":0}', b' {"data": [ ] } ', b'\xef\xbb\xbf{"data":[]}'):
        assert read_page(body).rows == ()


def test_an_envelope_without_success_is_a_page() -> None:
    assert len(read_page(b'{"data":[{"id":1}],"time":3,"unix":[]}').rows) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"   ", "not_json"),
        (b"<!doctype html><title>Maintenance</title>", "not_json"),
        (b"temporarily unavailable", "not_json"),
        (b"\x1f\x8b\x08\x00binary", "not_json"),
        (b"\xff\xfe{\x00}\x00", "not_json"),
        (b"{", "truncated"),
        (b'{"success":true,"data":[{"id":1},{"id":2,"na', "truncated"),
        (b'{"success":true,"data":[{"id":1}],"total":1', "truncated"),
        (b'{"success":true,"data":[{"id":1},', "truncated"),
        (b'{"success":true,"data":[{"id":NaN}', "truncated"),
        (b'{"data":[{"id":1}]}}', "not_json"),
        (b'{"data":[{"id":1}]} trailing', "not_json"),
        (b'{"data":[{"id":1}],}', "not_json"),
        (b'{"data":[{"id":1]}}', "not_json"),
        (b"[]", "not_an_object"),
        (b'[{"id":1}]', "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"{}", "no_data"),
        (b'{"success":true}', "no_data"),
        (b'{"success":true,"data":null}', "not_a_list"),
        (b'{"success":true,"data":{}}', "not_a_list"),
        (b'{"success":true,"data":{"id":1}}', "not_a_list"),
        (b'{"success":true,"data":"x"}', "not_a_list"),
    ],
)
def test_what_is_no_page_is_never_an_empty_one(body: bytes, reason: str) -> None:
    with pytest.raises(PageUnreadable) as caught:
        read_page(body)

    assert caught.value.reason == reason


def test_a_page_that_says_it_failed_is_refused_and_not_empty() -> None:
    for body in (b'{"success":false,"data":[],"error":"unauthorized"}', b'{"success":false,"error":"unauthorized"}'):
        with pytest.raises(RefusedError) as caught:
            read_page(body)
        assert caught.value.reason == "unauthorized"


@given(st.integers(0, len(DOCUMENTED.rstrip()) - 1))
def test_a_page_cut_anywhere_is_no_page(length: int) -> None:
    with pytest.raises(PageUnreadable) as caught:
        read_page(DOCUMENTED[:length])

    assert caught.value.reason == ("truncated" if length else "not_json")


POISON = [
    (b'{"id":7,"price":NaN}', "bad_number", 7),
    (b'{"id":7,"price":-Infinity}', "bad_number", 7),
    (b'{"price":NaN,"payload":{"id":3},"id":"7"}', "bad_number", 7),
    (b'{"id":7,"deep":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "deep", 7),
    (b'{"id":7,"deep":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}", "deep", 7),
    (b'{"id":7,"name":"a\x01b"}', "not_json", 7),
    (b'{"id":7,"name":"\\x"}', "not_json", 7),
    (b'{"id":7,"name":tru}', "not_json", 7),
    (b'{"id":7,}', "not_json", 7),
    (b'{"name":NaN}', "bad_number", None),
    (b'{"id":null,"name":NaN}', "bad_number", None),
    (b"null", "not_an_object", None),
    (b"NaN", "not_an_object", None),
    (b"[]", "not_an_object", None),
    (b"5", "not_an_object", None),
    (b'{"id":7,"name":"' + b"x" * MAX_ROW_BYTES + b'"}', "oversize", 7),
]


@pytest.mark.parametrize(("poison", "reason", "row_id"), POISON, ids=[repr(row)[:30] for row, *_ in POISON])
def test_one_bad_row_does_not_hide_the_others(poison: bytes, reason: str, row_id: int | None) -> None:
    read = read_page(page(GOOD, poison, GOOD))

    assert [row.data for row in read.rows] == [GOOD, GOOD]
    assert read.total == 4
    assert read.bad_rows == (BadRow(reason, row_id, fingerprint(poison), len(poison)),)


UNREADABLE_WHEN_PARSED = [
    (b'{"id":7,"big":' + b"9" * 5_000 + b"}", "bad_number"),
    (b'{"id":7,"big":1e999999}', "bad_number"),
    (b'{"id":7,"big":1e99999999999999999999999}', "bad_number"),
    (b'{"id":7,"big":0.' + b"1" * 5_000 + b"}", "bad_number"),
    (b'{"id":7,"name":"\xff"}', "bad_text"),
    (b'{"id":7,"name":"\xed\xa0\x80"}', "bad_text"),
    (b'{"id":7,"deep":' + b"[" * 200 + b"]" * 200 + b"}", "deep"),
]


@pytest.mark.parametrize(
    ("poison", "reason"), UNREADABLE_WHEN_PARSED, ids=[repr(row)[:30] for row, _ in UNREADABLE_WHEN_PARSED]
)
def test_a_row_that_only_its_parsing_shows_to_be_bad_is_told_then(poison: bytes, reason: str) -> None:
    good, other = read_page(page(GOOD, poison)).rows
    with pytest.raises(RowUnreadable) as caught:
        read_row(other)

    assert read_row(good) == {"id": 2, "name": "a"}
    assert (caught.value.reason, caught.value.row_id) == (reason, 7)
    assert bad_row(other, caught.value) == BadRow(reason, 7, other.fingerprint, len(poison))


def test_a_row_without_an_id_is_told_when_it_is_normalized() -> None:
    (row,) = read_page(page(b'{"id":null}')).rows
    with pytest.raises(RowUnreadable) as caught:
        normalize(read_row(row), currency=None)

    assert bad_row(row, caught.value).reason == "no_id"


def test_half_a_surrogate_pair_is_no_obstacle() -> None:
    read = read_page(page(b'{"id":1,"status":"A\\ud83d"}', GOOD))
    row = normalize(read_row(read.rows[0]), currency=None)

    assert read.bad_rows == ()
    assert row["source_status"] == "A\ufffd"


def test_a_poisoned_page_has_the_fingerprints_of_a_clean_one() -> None:
    clean = read_page(page(GOOD, b' {"id":1} ')).rows

    assert read_page(page(GOOD, b' {"id":1} ', b"NaN")).rows == clean


def test_structure_inside_strings_is_text() -> None:
    row = b'{"id":1,"name":"}],[\\"{","data":[1,2],"x":"\\\\"}'

    assert [each.data for each in read_page(page(row, b"NaN", row)).rows] == [row, row]


def test_data_further_in_is_not_the_pages() -> None:
    body = b'{"meta":{"data":[{"id":9}]},"data":[{"id":1},NaN],"more":{"data":[{"id":8}]}}'

    assert [each.data for each in read_page(body).rows] == [b'{"id":1}']


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.text(max_size=4) | st.just("data"), JSON, max_size=4), max_size=4)


@given(ROWS, st.dictionaries(st.text(max_size=3), JSON, max_size=3), st.sampled_from([None, 1, 2]))
def test_both_ways_of_splitting_find_the_same_rows(rows: list[Any], more: dict[str, Any], indent: int | None) -> None:
    more.pop("success", None)
    written = [json.dumps(row, indent=indent).encode() for row in rows]
    around = json.dumps(more)[1:-1].encode()
    head = b"{" + (around + b"," if around else b"") + b'"data":['

    fast = read_page(head + b",".join(written) + b"]}")
    slow = read_page(head + b" , ".join([*written, b"NaN"]) + b"]}")

    assert [row.data for row in fast.rows] == written
    assert slow.rows == fast.rows
    assert len(slow.bad_rows) == 1


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_clopos_errors(body: bytes) -> None:
    for read in (read_page, read_object, read_one, read_row):
        for candidate in (body, b'{"data":[' + body + b"]}", b'{"data":' + body + b"}"):
            with contextlib.suppress(CloposError):
                read(candidate)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_numbers_are_read_exactly() -> None:
    row = read_row(b'{"a":12345678901234567.89,"b":123456789012345678901234567890,"c":1e2,"d":8.50,"e":-0}')

    assert row == {
        "a": Decimal("12345678901234567.89"),
        "b": 123456789012345678901234567890,
        "c": Decimal("1E+2"),
        "d": Decimal("8.50"),
        "e": 0,
    }
    assert isinstance(row["b"], int)


def test_what_is_personal_is_not_shown_in_a_log() -> None:
    row = raw(b'{"id":1,"phone":"+994705401040",NaN}')

    assert "99470" not in repr(row)
    with pytest.raises(RowUnreadable) as caught:
        read_row(row)
    assert "99470" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- single answers --------------------------------------------------------------------------------------------------


def test_a_single_row_is_taken_out_of_its_envelope() -> None:
    row = read_one(b'{"success":true,"data": {"id":108, "a":1.50} }')

    assert row == raw(b'{"id":108, "a":1.50}')
    assert read_one(b'{"data":[{"id":1}]}') == raw(b'{"id":1}')


@pytest.mark.parametrize(
    "body", [b"{}", b'{"data":null}', b'{"data":[]}', b'{"data":{}}', b'{"data":[{"id":1},{"id":2}]}', b'{"data":""}']
)
def test_an_answer_without_one_row_is_unreadable(body: bytes) -> None:
    with pytest.raises((PageUnreadable, RowUnreadable)):
        read_one(body)


def test_a_single_row_that_cannot_be_read_is_unreadable() -> None:
    with pytest.raises(RowUnreadable) as caught:
        read_one(b'{"success":true,"data":{"id":7,"a":NaN}}')

    assert (caught.value.reason, caught.value.row_id) == ("bad_number", 7)


def test_a_single_answer_that_failed_is_refused() -> None:
    with pytest.raises(RefusedError):
        read_one(b'{"success":false,"message":"no"}')


def test_a_whole_answer_is_read_as_an_object() -> None:
    assert read_object(b'\xef\xbb\xbf{"token":"t","expires_at":1767852332}') == {"token": "t", "expires_at": 1767852332}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"<html>", "not_json"),
        (b"[]", "not_an_object"),
        (b'{"a":', "truncated"),
        (b'{"a":1}x', "not_json"),
        (b'{"a":NaN}', "bad_number"),
        (b'{"a":"\xff"}', "bad_text"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deep"),
    ],
)
def test_an_answer_that_is_no_object_is_unreadable(body: bytes, reason: str) -> None:
    with pytest.raises(PageUnreadable) as caught:
        read_object(body)

    assert caught.value.reason == reason


def test_a_string_without_end_is_gone_through_once_however_many_quotes_it_holds() -> None:
    body = b'{"a":[' + b"{}," * 200 + b'"' + b'\\"' * 500_000

    # Gone through again for each quote, this would take an hour.
    for reader in (read_object, read_one, read_page):
        with pytest.raises(PageUnreadable):
            reader(body)
    with pytest.raises(RowUnreadable):
        read_row(body[:200_000])
