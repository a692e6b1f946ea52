"""What do benches deliver?  Events of the documented order, some 1.5 KB each, committed as a look commits them."""

from __future__ import annotations

import random
from typing import Any

from relay.core.orders import normalize
from tests.integration.relays import Parts

DOCUMENTED = {
    "id": 1,
    "venue_id": 1,
    "type": "CALL_CENTER_ORDER",
    "integration": "call_center_new",
    "integration_status": "CREATED",
    "status": "RECEIVED",
    "created_at": "2026-02-02T13:45:53.000000Z",
    "updated_at": "2026-02-02T17:46:02.000000Z",
}
GOODS = ("Pizza", "Ayran", "Plov", "Dolma", "Qutab", "Kebab", "Tea", "Baklava")
A_CALL = 500


def documented_order(order_id: int, draw: random.Random, *, goods: int = 5) -> dict[str, Any]:
    """The documented order, with a customer and goods of its own."""
    products = [
        {
            "product_id": draw.randrange(1000),
            "count": draw.randrange(1, 9),
            "meta": {"price": draw.randrange(100, 2000) / 100, "order_product": {"product": {"name": name}}},
        }
        for name in draw.sample(GOODS, goods)
    ]
    payload = {
        "delivery_fee": 2.5,
        "customer": {
            "id": draw.randrange(1, 10**6),
            "phone": f"+99455{draw.randrange(10**7):07d}",
            "address": f"{draw.randrange(1, 400)} Made-up Street, flat {draw.randrange(1, 99)}",
            "name": f"Guest {draw.randrange(10**6)}",
        },
        "products": products,
        "meta": {
            "comment": f"Ring {draw.randrange(100)} times",
            "apply_service_charge": True,
            "service_charge_value": 5,
        },
        "sale_type_id": 2,
    }
    order: dict[str, Any] = dict(normalize({**DOCUMENTED, "id": order_id, "payload": payload}, currency=None))
    return order


async def fill(parts: Parts, *, events: int, first: int = 1, seed: int = 1) -> None:
    """Commit new orders, one event each."""
    draw = random.Random(seed)
    for start in range(first, first + events, A_CALL):
        await parts.see(*(documented_order(n, draw) for n in range(start, min(start + A_CALL, first + events))))
