"""Where do venues come from, and what is one?"""

from typing import Any, Final, cast

from relay.clopos.feeds.source import FeedSource, Row
from relay.core import venues
from relay.core.changes import Feed
from relay.core.orders import is_deleted


def _normalize(row: Row, _currency: str | None) -> dict[str, Any]:
    return cast("dict[str, Any]", venues.normalize(row))


VENUES: Final = FeedSource(
    feed=Feed.VENUES, path="venues", of_venue=False, paged=False, normalize=_normalize, is_removed=is_deleted
)
"""The brand's venues, all on one page: whoever may be looked at."""
