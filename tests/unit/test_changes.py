from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.changes import Feed, compare

THING = st.fixed_dictionaries(
    {"id": st.just(1)},
    optional={
        "status": st.sampled_from(["pending", "accepted"]),
        "comment": st.none() | st.text(max_size=2),
        "items": st.lists(st.integers(), max_size=2),
        "updated_at": st.text(max_size=2),
    },
)


def order(**changed: Any) -> dict[str, Any]:
    return {"id": 1, "status": "pending", "comment": None, "items": [], "updated_at": "10:00", **changed}


def test_what_is_seen_for_the_first_time_is_created() -> None:
    change = compare(Feed.ORDERS, None, order())

    assert change is not None
    assert change.type == "order.created"
    assert change.data == {"order": order(), "previous_status": None, "changes": {}}
    assert list(change.data) == ["order", "previous_status", "changes"]


def test_another_status_is_a_change_of_status_with_old_and_new() -> None:
    change = compare(Feed.ORDERS, order(), order(status="accepted", updated_at="10:01"))

    assert change is not None
    assert change.type == "order.status_changed"
    assert change.data["previous_status"] == "pending"
    assert change.data["changes"] == {"status": ["pending", "accepted"]}


def test_content_that_changes_with_the_status_is_told_along() -> None:
    change = compare(Feed.ORDERS, order(), order(status="accepted", comment="Ring"))

    assert change is not None
    assert change.type == "order.status_changed"
    assert change.data["changes"] == {"status": ["pending", "accepted"], "comment": [None, "Ring"]}


def test_content_alone_is_an_update_and_the_status_before_is_the_same() -> None:
    change = compare(Feed.ORDERS, order(), order(items=[1]))

    assert change is not None
    assert change.type == "order.updated"
    assert change.data["previous_status"] == "pending"
    assert change.data["changes"] == {"items": [[], [1]]}


def test_a_touch_alone_is_no_event() -> None:
    assert compare(Feed.ORDERS, order(), order(updated_at="10:01")) is None
    assert compare(Feed.ORDERS, order(), order()) is None


def test_what_is_removed_is_given_as_last_known() -> None:
    for after in (None, order(status="accepted")):
        change = compare(Feed.ORDERS, order(), after, removed=True)

        assert change is not None
        assert change.type == "order.removed"
        assert change.data == {"order": order(), "previous_status": "pending", "changes": {}}


def test_what_was_never_known_cannot_be_removed() -> None:
    assert compare(Feed.ORDERS, None, order(), removed=True) is None


def test_what_is_merely_missing_is_not_removed() -> None:
    assert compare(Feed.ORDERS, order(), None) is None


def test_what_is_older_than_memory_is_updated_and_not_created() -> None:
    change = compare(Feed.ORDERS, None, order(), unknown_before=True)

    assert change is not None
    assert change.type == "order.updated"
    assert change.data == {"order": order(), "previous_status": None, "changes": {}}


def test_a_station_changes_status_like_an_order() -> None:
    change = compare(Feed.STATIONS, {"id": 2, "status": "active"}, {"id": 2, "status": "inactive"})

    assert change is not None
    assert change.type == "station.status_changed"
    assert change.data == {
        "station": {"id": 2, "status": "inactive"},
        "previous_status": "active",
        "changes": {"status": ["active", "inactive"]},
    }


def test_a_venue_has_no_status_to_change() -> None:
    change = compare(Feed.VENUES, {"id": 3, "name": "A"}, {"id": 3, "name": "B"})

    assert change is not None
    assert change.type == "venue.updated"
    assert change.data == {"venue": {"id": 3, "name": "B"}, "changes": {"name": ["A", "B"]}}


def test_a_field_that_only_an_older_version_knew_is_told_as_gone() -> None:
    change = compare(Feed.VENUES, {"id": 3, "old": 1, "empty": None}, {"id": 3, "new": 2, "unset": None})

    assert change is not None
    assert change.data["changes"] == {"new": [None, 2], "old": [1, None]}


@pytest.mark.parametrize(
    ("feed", "subject"), [(Feed.ORDERS, "order/1"), (Feed.STATIONS, "station/1"), (Feed.VENUES, "venue/1")]
)
def test_a_subject_is_the_kind_of_thing_and_its_id(feed: Feed, subject: str) -> None:
    assert feed.subject(1) == subject


@given(THING, THING)
def test_the_changes_turn_what_was_into_what_is(before: dict[str, Any], after: dict[str, Any]) -> None:
    change = compare(Feed.ORDERS, before, after)
    told = {} if change is None else change.data["changes"]

    keys = (before.keys() | after.keys()) - {"updated_at"}
    expected = {key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)}
    assert told == expected
    assert (change is None) == (not expected)
    assert change is None or (change.type == "order.status_changed") == ("status" in expected)


@given(THING)
def test_a_thing_compared_with_itself_has_not_changed(thing: dict[str, Any]) -> None:
    assert compare(Feed.ORDERS, thing, dict(reversed(thing.items()))) is None
