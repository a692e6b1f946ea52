"""What people order: a made-up menu, made-up customers, and the order payloads a seeded draw makes of them."""

from hashlib import sha256
from random import Random
from typing import Any

MENU = (
    (51, "Pizza", 8.5),
    (52, "Plov", 12.0),
    (53, "Dolma", 7.4),
    (54, "Lula kabab", 9.9),
    (55, "Qutab", 2.2),
    (56, "Dovga", 3.75),
    (57, "Tea", 1.5),
    (58, "Ayran", 1.8),
    (59, "Pakhlava", 4.25),
)
MODIFIERS = (
    (187, "Extra cheese", 1.2),
    (188, "No onion", 0),
    (189, "Spicy", 0),
    (201, "Large", 2.5),
    (202, "Sauce", 0.6),
)
CUSTOMERS = (
    "Aysel Example",
    "Murad Sample",
    "Leyla Placeholder",
    "Orkhan Fiction",
    "Nigar Specimen",
    "Tural Invented",
    "Sevinj Template",
)
STREETS = ("Imaginary Ave", "Nowhere St", "Placeholder Rd", "Made-up Lane")
COMMENTS = ("", "", "Leave at the door", "Ring twice", "No cutlery", "Call on arrival", "Zəng etməyin")
SALE_TYPE_DELIVERY = 2


def draw_payload(draw: Random, venue_id: int) -> dict[str, Any]:
    """Make up an order's payload in the documented shape.

    Args:
        draw: source of chance; the same state makes the same payload.
        venue_id: goes into ``service``.
    """
    customer_id = draw.randrange(100, 1000)
    discount = draw.choice((None, None, None, {"discount_type": 1, "discount_value": draw.choice((5, 10, 15))}))
    meta: dict[str, Any] = {"comment": draw.choice(COMMENTS)}
    if discount:
        meta["discount"] = discount
    meta |= {"apply_service_charge": draw.random() < 0.5, "customer_discount_type": 1, "service_charge_value": 5}  # noqa: PLR2004 - even odds
    return {
        "auto_order_accept": False,
        "auto_order_sent_to_station": False,
        "delivery_fee": draw.choice((0, 1.5, 2.5, 3)),
        "service": {"sale_type_id": SALE_TYPE_DELIVERY, "venue_id": venue_id},
        "customer": {
            "id": customer_id,
            "phone": f"+9945500{draw.randrange(100_000):05d}",
            "address": f"{draw.randrange(1, 200)} {draw.choice(STREETS)}",
            "customer_discount_type": 1,
            "name": draw.choice(CUSTOMERS),
        },
        "products": [draw_line(draw) for _ in range(draw.choice((1, 1, 2, 2, 3, 4)))],
        "meta": meta,
        "customer_id": customer_id,
        "sale_type_id": SALE_TYPE_DELIVERY,
    }


def draw_line(draw: Random) -> dict[str, Any]:
    """Make up one line of an order: a product, how many, and perhaps modifiers."""
    product_id, name, price = draw.choice(MENU)
    count = draw.choice((1, 1, 1, 2, 2, 3))
    modifiers = [
        {"modificator_id": modifier_id, "name": modifier, "price": extra, "count": 1}
        for modifier_id, modifier, extra in draw.sample(MODIFIERS, draw.choice((0, 0, 0, 1, 2)))
    ]
    return {
        "product_id": product_id,
        "count": count,
        "product_modificators": modifiers,
        "portion_size": 1,
        "meta": {
            "price": price,
            "order_product": {
                "count": count,
                "status": "new",
                "product_modificators": modifiers,
                "product_hash": sha256(repr((product_id, modifiers)).encode()).hexdigest()[:12],
                "product": {"id": product_id, "name": name, "price": price},
            },
        },
    }
