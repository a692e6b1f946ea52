from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event_types import EVENT_TYPES, OPERATIONAL
from relay.core.subscriptions import PATTERNS, Route, Router, check_event_types, matches


def route(subscription_id: str, *patterns: str, **limits: Any) -> Route:
    limited: dict[str, Any] = {
        key: frozenset(value) if isinstance(value, list) else value for key, value in limits.items()
    }
    return Route(subscription_id, patterns or ("*",), **limited)


# --- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("order.created", {"order.created"}),
        ("order.*", {"order.created", "order.status_changed", "order.updated", "order.removed"}),
        ("venue.*", {"venue.created", "venue.updated", "venue.removed"}),
        ("*", set(EVENT_TYPES) - OPERATIONAL),
        ("relay.*", set(OPERATIONAL)),
        ("relay.brand_failing", {"relay.brand_failing"}),
    ],
)
def test_a_filter_takes_what_it_says_and_a_star_leaves_out_the_relays_own(pattern: str, taken: set[str]) -> None:
    assert {name for name in EVENT_TYPES if matches([pattern], name)} == taken


def test_any_of_several_filters_is_enough() -> None:
    assert matches(["venue.created", "order.*"], "order.updated")
    assert not matches(["venue.created", "order.*"], "station.updated")
    assert not matches([], "order.updated")


def test_an_unknown_type_or_filter_matches_nothing() -> None:
    assert not matches(["*", "order.*"], "order.invented")
    assert not matches(["order.invented", "ord*"], "order.created")


def test_every_filter_there_is_may_be_asked_for() -> None:
    assert check_event_types(list(PATTERNS)) == []
    assert set(PATTERNS) == {*EVENT_TYPES, "*", "order.*", "station.*", "venue.*", "relay.*"}


@pytest.mark.parametrize(
    "pattern",
    ["order.created\n", "Order.created", "order", "order.", ".*", "**", "order.**", "", " ", "*.created", "x" * 100_000,
     None, 7, [], {}, True],
    ids=lambda pattern: repr(pattern)[:20],
)  # fmt: skip
def test_what_is_no_filter_is_refused_without_being_echoed(pattern: object) -> None:
    problems = check_event_types(["order.*", pattern])

    assert [problem.pointer for problem in problems] == ["/1"]
    assert len(problems[0].detail) < 120


def test_a_near_miss_is_helped() -> None:
    assert "did you mean order.created?" in check_event_types(["order.create"])[0].detail


def test_none_at_all_twice_the_same_and_too_many_are_refused() -> None:
    assert [problem.pointer for problem in check_event_types([])] == [""]
    assert [problem.pointer for problem in check_event_types(["*", "order.*", "*"])] == ["/2"]
    assert len(check_event_types(["order.created"] * 1_000)) == 1


def test_every_problem_is_told_at_once() -> None:
    assert [problem.pointer for problem in check_event_types(["a", "*", "b", "*"])] == ["/0", "/2", "/3"]


# --- routing ---------------------------------------------------------------------------------------------------------


def test_an_event_goes_to_whoever_asks_for_its_type_brand_and_venue() -> None:
    router = Router(
        [
            route("all"),
            route("orders", "order.*"),
            route("stations", "station.*"),
            route("brand_a", brands=["a"]),
            route("brand_b", brands=["b"]),
            route("venue_1", venues=[1]),
            route("venue_2_of_a", brands=["a"], venues=[2]),
            route("nothing", brands=[]),
        ]
    )

    assert router.match("a", 1, "order.created") == ("all", "orders", "brand_a", "venue_1")
    assert router.match("a", 2, "order.created") == ("all", "orders", "brand_a", "venue_2_of_a")
    assert router.match("b", 3, "station.updated") == ("all", "stations", "brand_b")


def test_two_filters_that_both_take_an_event_route_it_once() -> None:
    assert Router([route("s", "*", "order.*", "order.created")]).match("a", 1, "order.created") == ("s",)


def test_an_unknown_type_goes_nowhere() -> None:
    assert Router([route("s")]).match("a", 1, "order.invented") == ()


def test_the_relays_own_events_go_only_to_who_asks_for_them() -> None:
    router = Router([route("star"), route("own", "relay.*"), route("one", "relay.brand_failing")])

    assert router.match("a", None, "relay.brand_failing") == ("own", "one")
    assert router.match(None, None, "relay.delivery_dead") == ("own",)


def test_a_partner_gets_its_own_partners_operational_events_and_the_operator_all() -> None:
    router = Router(
        [route("operator", "relay.*"), route("p", "relay.*", partner="p"), route("q", "relay.*", partner="q")]
    )

    assert router.match(None, None, "relay.delivery_dead", partner="p", about="other") == ("operator", "p")
    assert router.match(None, None, "relay.delivery_dead", partner=None, about="other") == ("operator",)
    assert router.match("a", None, "relay.brand_failing") == ("operator",)


def test_no_subscription_hears_of_itself() -> None:
    router = Router([route("one", "relay.*"), route("two", "relay.*")])

    assert router.match(None, None, "relay.subscription_disabled", about="one") == ("two",)


def test_a_partners_subscription_gets_the_orders_of_its_brands_like_any_other() -> None:
    assert Router([route("p", brands=["a"], partner="p")]).match("a", 1, "order.created") == ("p",)


def test_a_limit_to_brands_lets_pass_what_concerns_none() -> None:
    router = Router([route("a_only", "relay.*", brands=["a"], venues=[1])])

    assert router.match(None, None, "relay.delivery_dead") == ("a_only",)
    assert router.match("a", None, "relay.brand_failing") == ("a_only",)
    assert router.match("b", None, "relay.brand_failing") == ()


ROUTES = st.lists(
    st.builds(
        Route,
        subscription_id=st.integers(0, 99).map(str),
        patterns=st.lists(st.sampled_from(PATTERNS), max_size=3).map(tuple),
        brands=st.none() | st.frozensets(st.sampled_from("ab"), max_size=2),
        venues=st.none() | st.frozensets(st.integers(1, 3), max_size=2),
        partner=st.none() | st.just("p"),
    ),
    max_size=8,
    unique_by=lambda each: each.subscription_id,
)
FEED_TYPES = sorted(set(EVENT_TYPES) - OPERATIONAL)


@given(ROUTES, st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.sampled_from(FEED_TYPES)), max_size=6))
def test_the_index_answers_as_a_walk_over_all_would(routes: list[Route], asked: list[tuple[str, int, str]]) -> None:
    router = Router(routes)

    for brand, venue_id, name in asked:
        assert router.match(brand, venue_id, name) == tuple(
            each.subscription_id
            for each in routes
            if matches(each.patterns, name)
            and (each.brands is None or brand in each.brands)
            and (each.venues is None or venue_id in each.venues)
        )


def test_more_brands_than_a_router_remembers_are_still_routed_right() -> None:
    router = Router([route("s", brands=["b7"])])

    for _ in range(2):
        assert [brand for brand in range(5_000) if router.match(f"b{brand}", 1, "order.created")] == [7]


def test_of_a_thousand_subscriptions_those_of_the_brand_are_matched() -> None:
    router = Router([route(f"s{number}", brands=[f"b{number % 50}"]) for number in range(1_000)])

    assert router.match("b3", 1, "order.created") == tuple(f"s{number}" for number in range(3, 1_000, 50))
