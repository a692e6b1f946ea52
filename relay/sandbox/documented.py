"""The rows that Clopos' documentation shows, to the letter, and the credentials everybody may know."""

from typing import Any

from relay.sandbox.model import DELIVERED, IGNORE, PENDING, RECEIVED, Order, Station, Venue, dumps
from relay.sandbox.stamps import epoch_s
from relay.sandbox.world import World

BRAND, CLIENT_ID, CLIENT_SECRET, INTEGRATOR_ID = "openapitest", "demo-client", "demo-secret", "demo-integrator"
PRODUCTION_BRAND, PRODUCTION_INTEGRATOR_ID = "productiontest", "demo-integrator-live"
"""A production brand for the same client, to meet the test/production mismatch; it has one empty venue."""

CREATED_AT = "2026-02-02T13:45:53.000000Z"
UPDATED_AT = "2026-02-02T17:46:02.000000Z"

ORDER_1_PAYLOAD: dict[str, Any] = {
    "auto_order_accept": False,
    "auto_order_sent_to_station": False,
    "delivery_fee": 2.5,
    "service": {"sale_type_id": 2, "venue_id": 1},
    "customer": {
        "id": 1,
        "phone": "+994705401040",
        "address": "123 Main St",
        "customer_discount_type": 1,
        "name": "Rahid Akhundzada",
    },
    "products": [
        {
            "product_id": 51,
            "count": 2,
            "product_modificators": [],
            "portion_size": 1,
            "meta": {
                "price": 8.5,
                "order_product": {
                    "count": 2,
                    "status": "new",
                    "product_modificators": [],
                    "product_hash": "abc123",
                    "product": {"id": 51, "name": "Pizza", "price": 8.5},
                },
            },
        }
    ],
    "meta": {
        "comment": "Leave at the door",
        "discount": {"discount_type": 1, "discount_value": 10},
        "apply_service_charge": True,
        "customer_discount_type": 1,
        "service_charge_value": 5,
    },
    "customer_id": 1,
    "sale_type_id": 2,
}
STATIONS = (
    Station(1, "Kitchen", "2026-01-13T14:08:49.000000Z", "2026-01-13T14:08:49.000000Z", type=1),
    Station(2, "Bar", "2026-01-13T14:08:49.000000Z", "2026-01-13T14:08:49.000000Z"),
    Station(3, "Tandir", "2026-01-13T14:36:51.000000Z", "2026-01-13T14:36:51.000000Z", printable=0),
)


def seed(world: World) -> None:
    """Put the documented brand into a world.

    Order 1 and stations 1 to 3 are the documentation's rows. Order 108 is the one whose cancelling it shows, still
    pending here. Orders 42 and 77 are made up, so that the list's ``total`` is the documented 4; they are older, so
    that the list's first row is the documented one.
    """
    world.add_brand(BRAND, is_test=True)
    world.add_brand(PRODUCTION_BRAND, is_test=False)
    world.add_integrator(INTEGRATOR_ID, is_test=True)
    world.add_integrator(PRODUCTION_INTEGRATOR_ID, is_test=False)
    world.add_client(CLIENT_ID, CLIENT_SECRET, brands=(BRAND, PRODUCTION_BRAND))
    world.add_venue(BRAND, Venue(1, "Main", is_main=True))
    world.add_venue(BRAND, Venue(2, "Seaside"))
    world.add_venue(PRODUCTION_BRAND, Venue(1, "Main", is_main=True))
    for row in STATIONS:
        world.put_station(BRAND, 1, row.id, **{name: value for name, value in row.row().items() if name != "id"})
    for order_id, status, created_at, updated_at in (
        (42, DELIVERED, "2026-02-01T16:20:11.000000Z", "2026-02-01T21:02:37.000000Z"),
        (77, IGNORE, "2026-02-02T09:12:40.000000Z", "2026-02-02T13:14:05.000000Z"),
        (1, RECEIVED, CREATED_AT, UPDATED_AT),
        (108, PENDING, CREATED_AT, "2026-02-02T17:45:53.000000Z"),
    ):
        payload = ORDER_1_PAYLOAD if order_id == 1 else _made_up(order_id)
        order = Order(BRAND, 1, order_id, status, dumps(payload), created_at, updated_at)
        world.insert(order)
        if status in {RECEIVED, DELIVERED}:
            world.open_receipt(order, at_s=epoch_s(created_at))
        if status == DELIVERED:
            world.close_receipt(order, at_s=epoch_s(created_at) + 2400)
    world.history.clear()


def _made_up(order_id: int) -> dict[str, Any]:
    customer = {
        "id": order_id,
        "phone": f"+9945500{order_id:05d}",
        "address": f"{order_id} Placeholder Rd",
        "customer_discount_type": 1,
        "name": "Leyla Placeholder",
    }
    return ORDER_1_PAYLOAD | {"customer": customer, "customer_id": order_id}
