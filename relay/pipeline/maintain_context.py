"""What does a maintain shift work with?"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from relay.pipeline.commit import Committer
from relay.pipeline.replay import Past, Replays
from relay.pipeline.stop import Stop
from relay.store.brands import BrandStore
from relay.store.deliveries import DeliveryStore
from relay.store.log import Log
from relay.store.maintenance import Maintenance
from relay.store.snapshots import SnapshotStore
from relay.store.subscriptions import SubscriptionStore

PART: Final = 500
"""What is read, or written, at once."""

ROUNDS: Final = 200
"""Parts of one task before the others have their turn."""

IDLE_MS: Final = 300_000
"""Between two rounds while there is nothing to do; a shift costs Redis some sixty commands."""

BUSY_MS: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintainContext:
    """The opened parts, and the settings of what goes on in the background.

    Attributes:
        venues_of: ids of a brand's venues.
        forget_brand: deletes what looking at a brand has left.
        disable: shuts a subscription: id, reason.
        more_tasks: further tasks by name.
    """

    redis: Any
    maintenance: Maintenance
    subscriptions: SubscriptionStore
    brands: BrandStore
    deliveries: DeliveryStore
    snapshots: SnapshotStore
    log: Log
    committer: Committer
    replays: Replays
    past: Past
    retention_ms: int
    venues_of: Callable[[str], Awaitable[Collection[int]]]
    forget_brand: Callable[[str], Awaitable[None]]
    disable: Callable[[str, str], Awaitable[None]]
    more_tasks: "dict[str, Task]"


Task = Callable[[MaintainContext, Stop], Awaitable[int]]
"""Does its work in parts; gives the ms after which it wants to go on."""
