from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.sandbox.book import OrderBook
from relay.sandbox.errors import Refused
from relay.sandbox.model import Order
from relay.sandbox.query import ListQuery, parameters, read_list
from relay.sandbox.switches import Switches


@pytest.mark.parametrize(
    "text",
    [
        "sort[0]=id&sort[1]=1&filters[0][0]=status&filters[0][1]=READY&with[0]=receipt:id",
        "sort%5B0%5D=id&sort%5B1%5D=1&filters%5B0%5D%5B0%5D=status&filters%5B0%5D%5B1%5D=READY&with%5B%5D=receipt%3Aid",
    ],
)
def test_brackets_are_read_raw_and_encoded(text: str) -> None:
    assert read_list(text, Switches()) == ListQuery(
        sort_field="id", descending=False, filters=(("status", "READY"),), relations=("receipt:id",)
    )


def test_empty_brackets_are_numbered_from_nought() -> None:
    assert parameters("with[]=a&with[]=b") == {"with": {"0": "a", "1": "b"}}


def test_of_a_repeated_key_the_last_value_stands() -> None:
    assert read_list("page=2&page=3", Switches()).page == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "page=0&limit=-1",
        "page=two&limit=many",
        "page=99999999999",
        "colour=red&filters[0][0]=colour&filters[0][1]=red",
        "filters[0][0]=status",
        "sort[0]=colour",
        "date[0]=yesterday&date[1]=2026-13-01",
        "sort[=1&[0]=x&%5B%5D=y",
    ],
)
def test_a_wrong_parameter_is_as_if_it_were_not_there(text: str) -> None:
    assert read_list(text, Switches()) == ListQuery()


@pytest.mark.parametrize("direction", ["0", "2", "asc", ""])
def test_a_sort_direction_other_than_1_or_minus_1_is_refused(direction: str) -> None:
    with pytest.raises(Refused) as refused:
        read_list(f"sort[0]=id&sort[1]={direction}", Switches())

    assert refused.value.problem.status == 400
    assert refused.value.problem.message == "sort[1] must be 1 or -1"


def test_a_limit_above_the_maximum_is_cut_down_or_refused() -> None:
    assert read_list("limit=500", Switches()).limit == 200
    assert read_list("limit=500", Switches(max_limit=1000)).limit == 500
    with pytest.raises(Refused, match="must not be greater than 200"):
        read_list("limit=500", Switches(over_limit="refuse"))


def test_the_status_filter_the_sort_and_the_page_can_be_ignored() -> None:
    assert read_list("status=PENDING", Switches(ignore_status_filter=True)) == ListQuery()
    assert read_list("sort[0]=id&sort[1]=1", Switches(ignore_sort=True)) == ListQuery()
    assert read_list("page=3", Switches(ignore_page=True)) == ListQuery()


def order(order_id: int, **fields: Any) -> Order:
    row: dict[str, Any] = {
        "status": "PENDING",
        "created_at": "2026-02-01T10:00:00.000000Z",
        "updated_at": "x",
        "venue_id": 1,
    }
    return Order("b", id=order_id, payload_json="{}", **(row | fields))


def ids(book: OrderBook, text: str, venue_id: int | None = 1) -> list[int]:
    return [each.id for each in book.page(read_list(text, Switches()), venue_id)[0]]


def test_newest_come_first_and_of_one_second_by_id() -> None:
    book = OrderBook()
    for each in (order(3), order(1), order(2), order(9, created_at="2026-02-01T10:00:01.000000Z")):
        book.add(each)

    assert ids(book, "") == [9, 1, 2, 3]
    assert ids(book, "sort[1]=1") == [1, 2, 3, 9]
    assert ids(book, "limit=2") == [9, 1]
    assert ids(book, "limit=2&page=2") == [2, 3]
    assert ids(book, "limit=2&page=3") == []
    assert ids(book, "limit=3&page=2") == [3]


def test_days_are_inclusive_at_both_ends() -> None:
    book = OrderBook()
    for day in range(1, 6):
        book.add(order(day, created_at=f"2026-02-0{day}T23:59:59.000000Z"))

    assert ids(book, "date[0]=2026-02-02&date[1]=2026-02-04") == [4, 3, 2]
    assert ids(book, "date[0]=2026-02-04") == [5, 4]
    assert ids(book, "date[1]=2026-02-02&sort[0]=id&sort[1]=1") == [1, 2]


def test_total_counts_what_the_filters_keep_before_paging() -> None:
    book = OrderBook()
    for number in range(10):
        book.add(order(number, status="READY" if number % 2 else "PENDING"))

    found, total = book.page(read_list("status=READY&limit=2", Switches()), 1)

    assert ([each.id for each in found], total) == ([1, 3], 5)


def test_a_list_over_all_venues_holds_every_venue() -> None:
    book = OrderBook()
    book.add(order(1))
    book.add(order(1, venue_id=2))

    assert {each.venue_id for each in book.page(ListQuery(), None)[0]} == {1, 2}
    assert [each.venue_id for each in book.page(ListQuery(), 2)[0]] == [2]


def test_values_of_different_types_sort_without_a_fault() -> None:
    book = OrderBook()
    for number, created_at in enumerate([None, 5, "2026-02-01", 4.5, True]):
        book.add(order(number, created_at=created_at))

    assert ids(book, "sort[0]=created_at&sort[1]=1") == [0, 4, 3, 1, 2]


QUERIES = [
    "",
    "sort[0]=updated_at&sort[1]=-1&limit=3&page=2",
    "sort[0]=id&sort[1]=1&limit=4",
    "status=READY",
    "date[0]=2026-02-03&date[1]=2026-02-06&sort[0]=updated_at&sort[1]=1",
    "filters[0][0]=status&filters[0][1]=PENDING&sort[0]=status",
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "status", "touch", "remove", "look"]),
        st.integers(1, 12),
        st.integers(1, 2),
        st.integers(1, 9),
    ),
    max_size=60,
)


@given(STEPS)
def test_a_page_is_what_sorting_everything_would_give(steps: list[tuple[str, int, int, int]]) -> None:
    book, kept = OrderBook(), dict[tuple[int, int], Order]()
    for what, order_id, venue_id, moment in steps:
        known = kept.get((venue_id, order_id))
        if what == "add":
            made = order(order_id, venue_id=venue_id, created_at=f"2026-02-0{moment}T10:00:00.000000Z")
            kept[venue_id, order_id] = made
            book.add(made)
        elif what == "look":
            for query in QUERIES:
                for scope in (1, 2, None):
                    assert look(book, query, scope) == naive(list(kept.values()), query, scope)
        elif known is not None and what == "remove":
            book.remove(kept.pop((venue_id, order_id)))
        elif known is not None:
            with book.changing(known):
                if what == "status":
                    known.status = "READY" if known.status == "PENDING" else "PENDING"
                known.updated_at = f"2026-03-0{moment}T10:00:00.000000Z"


def look(book: OrderBook, text: str, scope: int | None) -> tuple[list[tuple[int, int]], int]:
    found, total = book.page(read_list(text, Switches()), scope)
    return [(each.venue_id, each.id) for each in found], total


def naive(orders: list[Order], text: str, scope: int | None) -> tuple[list[tuple[int, int]], int]:
    query = read_list(text, Switches())
    kept = [each for each in orders if scope in {None, each.venue_id} and query.keeps(each)]
    kept = [each for each in kept if (query.date_from or "") <= each.created_at[:10] <= (query.date_to or "9")]
    venue_ties = -1 if query.descending else 1
    kept.sort(key=lambda each: (each.id, venue_ties * each.venue_id))
    kept.sort(key=lambda each: getattr(each, query.sort_field), reverse=query.descending)
    first = (query.page - 1) * query.limit
    return [(each.venue_id, each.id) for each in kept[first : first + query.limit]], len(kept)
