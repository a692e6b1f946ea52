"""What is read from Clopos: one file a feed, which says where its rows come from, how they normalize, what is open.

To add a feed (receipts, the stop-list): a file here that fills in a ``FeedSource``, its normalizer in ``core``, its
nouns in ``core.changes``.
"""

from relay.clopos.feeds.orders import ORDERS
from relay.clopos.feeds.source import FeedSource
from relay.clopos.feeds.stations import STATIONS
from relay.clopos.feeds.venues import VENUES

__all__ = ["ORDERS", "STATIONS", "VENUES", "FeedSource"]
