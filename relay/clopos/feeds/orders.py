"""Where do orders come from, and what is one?"""

from typing import Any, Final, cast

import orjson

from relay.clopos.feeds.source import FeedSource, Row
from relay.core import orders, shaping
from relay.core.changes import Feed


def _normalize(row: Row, currency: str | None) -> dict[str, Any]:
    return cast("dict[str, Any]", orders.normalize(row, currency=currency))


def _forget(order: dict[str, Any], raw: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    forgotten = orders.forget_customer(cast("orders.Order", order))
    if raw is not None:
        _, raw = shaping.forget(orjson.dumps({"order": order, "changes": {}}), raw)
    return cast("dict[str, Any]", forgotten), raw


ORDERS: Final = FeedSource(
    feed=Feed.ORDERS,
    path="orders",
    latest_first=(("sort[0]", "updated_at"), ("sort[1]", "-1")),
    newest_first=(("sort[0]", "id"), ("sort[1]", "-1")),
    normalize=_normalize,
    is_removed=orders.is_deleted,
    is_open=orders.is_open,
    forget=_forget,
)
"""A venue's orders; ``updated_at`` orders them, and is nothing but an opaque token beside that."""
