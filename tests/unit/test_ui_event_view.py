import pytest

from relay.api.ui.event_view import event_row
from relay.api.ui.statuses import Level, attempt_badge, badge, delivery_badge
from relay.core.event_types import EVENT_TYPES

WORDS = {
    "order.created": "Order 1 placed",
    "order.status_changed": "Order 1 accepted",
    "order.updated": "Order 1 changed",
    "order.removed": "Order 1 removed",
    "station.created": "Station 2 (Bar) added",
    "station.status_changed": "Station 2 (Bar) inactive",
    "station.updated": "Station 2 (Bar) changed",
    "station.removed": "Station 2 (Bar) removed",
    "venue.created": "Venue 1 (Main) added",
    "venue.updated": "Venue 1 (Main) changed",
    "venue.removed": "Venue 1 (Main) removed",
    "relay.test": "Test",
    "relay.delivery_dead": "Delivery given up",
    "relay.subscription_disabled": "Subscription disabled",
    "relay.subscription_enabled": "Subscription enabled",
    "relay.brand_failing": "Brand failing",
    "relay.brand_recovered": "Brand works again",
}


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_every_type_of_event_has_a_heading(name: str) -> None:
    assert event_row(EVENT_TYPES[name].example).what == WORDS[name]


def test_a_change_of_status_shows_both() -> None:
    row = event_row(EVENT_TYPES["order.status_changed"].example)
    assert (row.before, row.badge) == ("pending", badge("order", "accepted"))
    assert row.origin == "seen at a look"
    assert event_row(EVENT_TYPES["order.removed"].example).badge == badge("order", "removed")


def test_states_that_nobody_knows_are_shown_as_they_are() -> None:
    assert badge("order", "on_its_way").text == "on its way"
    assert badge("order", "on_its_way").level is Level.IDLE


def test_a_delivery_that_was_tried_is_being_retried() -> None:
    assert delivery_badge({"status": "pending", "attempt_count": 0}).text == "pending"
    assert delivery_badge({"status": "pending", "attempt_count": 2}).text == "retrying"
    assert delivery_badge({"status": "dead", "attempt_count": 2}).level is Level.BAD
    assert [attempt_badge(code).level for code in (204, 199, 302, 500, None)] == [Level.OK, *[Level.BAD] * 4]
