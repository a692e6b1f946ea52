from typing import Protocol

import pytest

from relay.sandbox.model import Venue
from relay.sandbox.world import UnknownError, World


class Clock(Protocol):
    now_s: float

    def __call__(self) -> float: ...
    def forward(self, seconds: float) -> None: ...


def test_a_placed_order_is_pending_dated_now_and_has_the_next_id(world: World) -> None:
    order = world.place("openapitest", 2)

    assert (order.id, order.venue_id, order.status) == (109, 2, "PENDING")
    assert order.created_at == "2026-11-20T12:00:00.000000Z"
    assert order.payload["service"] == {"sale_type_id": 2, "venue_id": 2}


def test_fields_given_replace_made_up_ones_and_unknown_ones_join_the_row(world: World) -> None:
    order = world.place("openapitest", 1, id=500, status="NEW", payload={"products": []}, deleted_at=None)

    assert order.row() | {"created_at": "", "updated_at": ""} == {
        "id": 500,
        "venue_id": 1,
        "type": "CALL_CENTER_ORDER",
        "integration": "call_center_new",
        "integration_uuid": None,
        "integration_id": None,
        "customer_ref_id": None,
        "integration_status": "CREATED",
        "status": "NEW",
        "payload": {"products": []},
        "created_at": "",
        "updated_at": "",
        "integration_response": None,
        "deleted_at": None,
    }
    assert world.place("openapitest", 1).id == 501


def test_the_same_id_may_exist_in_two_venues(world: World) -> None:
    first, second = world.place("openapitest", 1, id=7000), world.place("openapitest", 2, id=7000)

    world.accept(second)

    assert (first.status, second.status) == ("PENDING", "RECEIVED")
    assert world.order("openapitest", 2, 7000) is second


def test_an_id_placed_again_replaces_the_order(world: World) -> None:
    world.place("openapitest", 2, id=7000)
    again = world.place("openapitest", 2, id=7000)

    assert world.order("openapitest", 2, 7000) is again
    assert len(list(world.brand("openapitest").orders.of_venue(2))) == 1


@pytest.mark.parametrize(
    ("switch", "written"),
    [
        ("local", "2026-11-20T16:01:00.000000Z"),
        ("honest", "2026-11-20T12:01:00.000000Z"),
        ("still", "2026-11-20T16:00:00.000000Z"),
        ("backwards", "2026-11-20T15:59:59.000000Z"),
    ],
)
def test_a_status_change_writes_updated_at_as_the_switch_says(
    world: World, clock: Clock, switch: str, written: str
) -> None:
    order = world.place("openapitest", 1)
    world.switches.change({"updated_at": switch})
    clock.forward(60)

    world.accept(order)

    assert order.updated_at == written


def test_an_edit_moves_updated_at_even_where_a_status_change_does_not(world: World, clock: Clock) -> None:
    order = world.place("openapitest", 1)
    world.switches.change({"updated_at": "still"})
    clock.forward(60)

    world.edit(order, merge={"meta": {"comment": "Ring twice"}})

    assert order.updated_at == "2026-11-20T16:01:00.000000Z"


def test_backwards_falls_back_to_now_where_a_row_holds_no_time(world: World) -> None:
    order = world.place("openapitest", 1, updated_at=None)
    world.switches.change({"updated_at": "backwards"})

    world.accept(order)

    assert order.updated_at == "2026-11-20T16:00:00.000000Z"


def test_giving_a_status_again_changes_nothing(world: World, clock: Clock) -> None:
    order = world.place("openapitest", 1)
    world.ignore(order)
    before, changes = order.row(), len(world.history)
    clock.forward(60)

    world.ignore(order)

    assert order.row() == before
    assert len(world.history) == changes


def test_merging_keeps_what_it_does_not_name(world: World) -> None:
    order = world.order("openapitest", 1, 1)

    world.edit(order, merge={"customer": {"address": "9 Placeholder Rd"}, "delivery_fee": 3})

    assert order.payload["customer"]["name"] == "Rahid Akhundzada"
    assert order.payload["customer"]["address"] == "9 Placeholder Rd"
    assert order.payload["delivery_fee"] == 3


def test_an_edit_without_touch_leaves_updated_at_alone(world: World, clock: Clock) -> None:
    order = world.order("openapitest", 1, 1)
    clock.forward(60)

    world.edit(order, touch=False, integration_status="SENT")

    assert (order.integration_status, order.updated_at) == ("SENT", "2026-02-02T17:46:02.000000Z")


def test_accepting_opens_a_receipt_and_delivering_closes_it(world: World, clock: Clock) -> None:
    order = world.place("openapitest", 2)
    world.accept(order)
    receipt = world.venue("openapitest", 2).receipts[order.receipt_id or 0]
    assert (receipt.service_notification_id, receipt.status, receipt.closed_s) == (order.id, 1, None)
    clock.forward(1200)

    world.deliver(order)

    assert (receipt.status, receipt.closed_s) == (2, clock.now_s)
    assert len(world.venue("openapitest", 2).receipts) == 1


def test_many_orders_lie_apart_as_asked_and_the_last_is_now(world: World) -> None:
    placed = world.place_many("openapitest", 2, count=3, spacing_s=60, status="DELIVERED")

    assert [order.created_at[11:19] for order in placed] == ["11:58:00", "11:59:00", "12:00:00"]
    assert [order.updated_at[11:19] for order in placed] == ["15:58:00", "15:59:00", "16:00:00"]
    assert {order.status for order in placed} == {"DELIVERED"}


def test_history_tells_what_happened_in_order(world: World) -> None:
    order = world.place("openapitest", 2)
    world.accept(order)
    world.edit(order, type="PICKUP")
    world.remove(order)
    world.put_station("openapitest", 1, 2, status=0)
    world.set_stop("openapitest", 1, 51, 0)

    assert [(change.what, change.subject_id, change.status) for change in world.history] == [
        ("order.placed", 109, "PENDING"),
        ("order.status", 109, "RECEIVED"),
        ("order.edited", 109, "RECEIVED"),
        ("order.removed", 109, None),
        ("station.changed", 2, 0),
        ("stop.changed", 51, None),
    ]


def test_a_station_changes_only_what_is_named_and_its_updated_at(world: World) -> None:
    station = world.put_station("openapitest", 1, 2, status=0)

    assert station.row() == {
        "id": 2,
        "name": "Bar",
        "status": 0,
        "type": 0,
        "printable": 1,
        "created_at": "2026-01-13T14:08:49.000000Z",
        "updated_at": "2026-11-20T12:00:00.000000Z",
    }


def test_what_does_not_exist_is_named(world: World) -> None:
    with pytest.raises(UnknownError, match="no brand 'elsewhere'"):
        world.place("elsewhere", 1)
    with pytest.raises(UnknownError, match="no venue 9"):
        world.place("openapitest", 9)
    with pytest.raises(UnknownError, match="no order 9"):
        world.order("openapitest", 1, 9)
    with pytest.raises(UnknownError, match="no field 'colour'"):
        world.put_station("openapitest", 1, 2, colour="red")
    with pytest.raises(UnknownError, match="no station 9"):
        world.remove_station("openapitest", 1, 9)


def test_orders_of_a_closed_venue_live_on_unseen(world: World) -> None:
    order = world.place("openapitest", 2)
    world.remove_venue("openapitest", 2)

    world.accept(order)
    world.add_venue("openapitest", Venue(2, "Seaside, again"))

    assert world.order("openapitest", 2, order.id).status == "RECEIVED"
