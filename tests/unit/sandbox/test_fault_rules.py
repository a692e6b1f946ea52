from random import Random
from typing import Any

import pytest

from relay.sandbox.faults import BadFaultError, FaultBook

REQUEST: dict[str, Any] = {"method": "GET", "path": "/orders", "query": "page=3&limit=50", "brand": "b", "venue": "1"}


def struck(book: FaultBook, times: int = 1, **request: Any) -> list[bool]:
    draw = Random(0)
    return [book.strike(draw, **(REQUEST | request)) is not None for _ in range(times)]


@pytest.mark.parametrize(
    ("rule", "request_", "hit"),
    [
        ({}, {}, True),
        ({"method": "PUT"}, {}, False),
        ({"path": "/orders"}, {}, True),
        ({"path": "/orders"}, {"path": "/orders/1"}, False),
        ({"path": "/orders*"}, {"path": "/orders/1"}, True),
        ({"query": "page=3"}, {}, True),
        ({"query": "page=3"}, {"query": "page=2"}, False),
        ({"brand": "b"}, {}, True),
        ({"brand": "b"}, {"brand": None}, False),
        ({"venue": "2"}, {}, False),
    ],
)
def test_a_rule_strikes_the_requests_it_is_about(rule: dict[str, Any], request_: dict[str, Any], hit: bool) -> None:  # noqa: FBT001 - a column of the table
    book = FaultBook()
    book.add("500", **rule)

    assert struck(book, **request_) == [hit]


def test_a_rule_spares_the_first_and_ends_after_its_times() -> None:
    book = FaultBook()
    book.add("hang", after=1, times=2)

    assert struck(book, 5) == [False, True, True, False, False]
    assert (book.as_json()[0]["matched"], book.as_json()[0]["struck"]) == (5, 2)


def test_the_first_rule_that_strikes_wins() -> None:
    book = FaultBook()
    book.add("500", times=1)
    book.add("503")
    draw = Random(0)

    rules = [book.strike(draw, **REQUEST) for _ in range(2)]

    assert [rule and rule.status for rule in rules] == [500, 503]


def test_chance_is_seeded() -> None:
    book = FaultBook()
    book.add("500", chance=0.3)

    hits = struck(book, 1000)

    assert 250 < sum(hits) < 350
    assert hits == struck(book, 1000)


def test_rules_are_lifted_one_by_one_or_all() -> None:
    book = FaultBook()
    first = book.add("500")
    book.add("503")
    book.add("hang")

    assert (book.remove(first.id), book.remove(99), book.remove()) == (1, 0, 2)
    assert book.as_json() == []


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("earthquake", {}, "no fault 'earthquake'"),
        ("500", {"colour": "red"}, "no option 'colour'"),
        ("500", {"id": 3}, "no option 'id'"),
        ("500", {"times": "two"}, "times takes"),
        ("500", {"times": True}, "times takes"),
        ("99", {}, "status is between"),
        ("status", {"status": 1000}, "status is between"),
    ],
)
def test_a_rule_without_sense_is_refused(kind: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(BadFaultError, match=why):
        FaultBook().add(kind, **options)
