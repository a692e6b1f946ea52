import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.normalize import (
    MAX_ID,
    canonical_json,
    decimal,
    flag,
    identity,
    integer,
    mapping,
    objects,
    repair,
    repair_json,
    text,
)

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        (8.5, "8.5"),
        ("8.50", "8.5"),
        (Decimal("8.50"), "8.5"),
        (Decimal("1e2"), "100"),
        ("1e2", "100"),
        (" 16.2000 ", "16.2"),
        (5, "5"),
        (0, "0"),
        ("-0.00", "0"),
        (Decimal("0E-7"), "0"),
        (Decimal("0e9999"), "0"),
        ("-2.50", "-2.5"),
        ("+3", "3"),
        (".5", "0.5"),
        ("5.", "5"),
        ("007.10", "7.1"),
        (Decimal(123456789012345678901234567890), "123456789012345678901234567890"),
        ("12345678901234567.89", "12345678901234567.89"),
        (10**29 + 1, "100000000000000000000000000001"),
        (Decimal("1E-10"), "0.0000000001"),
    ],
)
def test_a_decimal_keeps_its_value_exactly_in_plain_notation(source: object, plain: str) -> None:
    assert decimal(source) == plain


@pytest.mark.parametrize(
    "source",
    [
        None,
        True,
        False,
        "",
        "abc",
        "1,5",
        "1_000",
        "٣",
        "NaN",
        "Infinity",
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        [],
        {},
        [1],
        "1e99999",
        Decimal("1e999999"),
        "1e9999999",
        "9" * 5000,
        "0x10",
        "1 2",
    ],
)
def test_what_is_no_finite_number_is_no_decimal(source: object) -> None:
    assert decimal(source) is None


@given(st.integers(-(10**40), 10**40), st.integers(0, 12), st.integers(0, 3))
def test_every_spelling_of_a_number_is_the_same_decimal(digits: int, scale: int, zeros: int) -> None:
    number = Decimal(f"{digits}E-{scale}")
    spelled = format(number, "f")
    padded = (spelled if "." in spelled else spelled + ".") + "0" * zeros
    plain = decimal(number)

    assert plain is not None
    assert {decimal(spelled), decimal(padded), decimal(f"{digits}e-{scale}"), decimal(Decimal(padded))} == {plain}
    assert Decimal(plain) == number
    assert "e" not in plain.lower()
    assert "." not in plain or not plain.endswith(("0", "."))


@pytest.mark.parametrize(
    ("source", "number"),
    [
        (7, 7),
        ("7", 7),
        ("7.00", 7),
        (Decimal("7.0"), 7),
        (7.0, 7),
        ("007", 7),
        (" 7 ", 7),
        ("-7", -7),
        (0, 0),
        ("0", 0),
        (MAX_ID, MAX_ID),
        (str(MAX_ID), MAX_ID),
        (Decimal("1E+3"), 1000),
    ],
)
def test_an_id_is_an_integer_however_it_is_spelled(source: object, number: int) -> None:
    assert integer(source) == number


@pytest.mark.parametrize(
    "source",
    [
        None,
        True,
        False,
        "",
        "7.5",
        7.5,
        Decimal("7.5"),
        "seven",
        "1e3",
        MAX_ID + 1,
        str(MAX_ID + 1),
        "9" * 5000,
        Decimal("1e999999"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        float("nan"),
        float("inf"),
        [7],
        {},
        "٣",
    ],
)
def test_what_is_no_integer_is_none(source: object) -> None:
    assert integer(source) is None


def test_a_text_of_nothing_but_zeros_is_not_gone_through() -> None:
    assert integer("0" * 4_299 + "7") == 7
    assert integer("0" * 1_000_000 + "7") is None


def test_an_integer_too_long_to_write_is_nothing() -> None:
    assert decimal(10**5000) is None
    assert integer(10**5000) is None
    assert text(10**5000) is None


def test_zero_and_less_identify_nothing() -> None:
    assert [identity(0), identity("0"), identity(-1), identity(1)] == [None, None, None, 1]


def test_a_flag_is_read_however_it_is_spelled() -> None:
    yes: list[object] = [True, 1, "1", "true", "TRUE ", Decimal(1)]
    no: list[object] = [False, 0, "0", "false", 0.0]
    neither: list[object] = [None, 2, "maybe", [], {}, ""]

    assert {flag(value) for value in yes} == {True}
    assert {flag(value) for value in no} == {False}
    assert {flag(value) for value in neither} == {None}


def test_text_is_kept_and_other_values_are_written_plainly() -> None:
    assert text("") == ""
    assert text(" as it is ") == " as it is "
    assert text(994705401040) == "994705401040"
    assert text(Decimal("1.50")) == "1.5"
    assert text(True) == "true"
    assert text({"street": "Nizami", "no": Decimal("5.0")}) == '{"street":"Nizami","no":"5"}'


def test_an_empty_object_or_list_is_no_text() -> None:
    assert [text(None), text([]), text({})] == [None, None, None]


def test_half_a_surrogate_pair_becomes_the_replacement_character_and_a_whole_one_stays() -> None:
    assert repair("a\ud83d") == "a\ufffd"
    assert repair("\ude00b") == "\ufffdb"
    assert repair("\U0001f600") == "\U0001f600"
    assert text(json.loads('"\\ud83d\\ude00 \\ud83d"')) == "\U0001f600 \ufffd"


def test_a_list_with_gaps_as_php_writes_it_is_a_list() -> None:
    assert objects({"0": {"a": 1}, "2": {"a": 2}}) == [{"a": 1}, {"a": 2}]
    assert objects([{"a": 1}, None, 5, {"a": 2}]) == [{"a": 1}, {"a": 2}]
    assert objects({"a": 1}) == []
    assert objects(None) == []


def test_what_is_no_object_is_an_empty_one() -> None:
    assert [mapping([]), mapping(None), mapping(""), mapping(5)] == [{}] * 4


@given(ANYTHING)
def test_nothing_that_a_row_can_hold_makes_a_reader_raise(value: object) -> None:
    written = [text(value), decimal(value), integer(value), identity(value), flag(value)]
    canonical_json(written)


@given(st.text(st.characters(exclude_categories=())))
def test_repaired_json_says_what_repaired_text_says(value: str) -> None:
    units = memoryview(value.encode("utf-16-le", "surrogatepass")).cast("H")
    in_full = '"' + "".join(f"\\u{unit:04X}" for unit in units) + '"'
    for escaped in (json.dumps(value), in_full):
        repaired = repair_json(escaped.encode())
        assert json.loads(repaired) == repair(json.loads(escaped))


@pytest.mark.parametrize(
    ("source", "repaired"),
    [
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\ud83d\u0041"', rb'"\ufffd\u0041"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'{"a":1.50}', rb'{"a":1.50}'),
    ],
)
def test_only_escaped_halves_of_pairs_are_repaired(source: bytes, repaired: bytes) -> None:
    assert repair_json(source) == repaired
