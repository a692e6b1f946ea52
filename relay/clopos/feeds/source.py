"""What must a feed say of itself?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relay.core.changes import Feed

Params = tuple[tuple[str, str], ...]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSource:
    """Where a feed's rows come from and what they mean.

    Attributes:
        feed: which.
        path: of the list, below the base URL.
        of_venue: its rows are one venue's, asked for with ``x-venue``; else they are the whole brand's.
        paged: its list takes ``page`` and ``limit``.
        latest_first: parameters that put the rows touched last first; empty where the list knows no such order, and is
            read whole.
        newest_first: parameters that put the rows with the highest ids first.
        normalize: a row as the contract has it; the currency is the brand's. Raises ``RowUnreadable``.
        is_removed: the row says that its thing is gone.
        is_open: something is still expected to happen to the (normalized) thing.
        forget: take the person out of the (normalized) thing and out of its row.
    """

    feed: Feed
    path: str
    of_venue: bool = True
    paged: bool = True
    latest_first: Params = ()
    newest_first: Params = ()
    normalize: Callable[[Row, str | None], dict[str, Any]]
    is_removed: Callable[[Row], bool] = lambda _row: False
    is_open: Callable[[Row], bool] = lambda _thing: True
    forget: Callable[[dict[str, Any], bytes | None], tuple[dict[str, Any], bytes | None]] = lambda thing, raw: (
        thing,
        raw,
    )
