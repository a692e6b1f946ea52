"""Where do stations come from, and what is one?"""

from typing import Any, Final, cast

from relay.clopos.feeds.source import FeedSource, Row
from relay.core import stations
from relay.core.changes import Feed
from relay.core.orders import is_deleted


def _normalize(row: Row, _currency: str | None) -> dict[str, Any]:
    return cast("dict[str, Any]", stations.normalize(row))


STATIONS: Final = FeedSource(feed=Feed.STATIONS, path="stations", normalize=_normalize, is_removed=is_deleted)
"""A venue's stations: few, slow, without an order of their own; read whole."""
