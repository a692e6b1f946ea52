"""What does a deliver shift work with?"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from relay.egress.sender import Sender
from relay.pipeline.commit import Committer
from relay.pipeline.endpoints import Endpoints
from relay.store.brands import BrandStore
from relay.store.lanes import LaneStore

LINGER_S: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverContext:
    """The opened parts, and the settings of delivering.

    Attributes:
        redis: a client whose replies are bytes.
        pop: another one, for blocking pops.
        disable: shuts a subscription: id, reason.
        wall_s: Unix time.
        draw: a number in [0, 1), for jitter.
        timeout_s: of one attempt.
        max_wait_s: longest Retry-After honoured.
        linger_s: how long a shift waits for more work before it ends.
    """

    redis: Any
    pop: Any
    lanes: LaneStore
    endpoints: Endpoints
    brands: BrandStore
    sender: Sender
    committer: Committer
    disable: Callable[[str, str], Awaitable[None]]
    wall_s: Callable[[], float]
    draw: Callable[[], float]
    timeout_s: float
    max_wait_s: float
    linger_s: float = LINGER_S
