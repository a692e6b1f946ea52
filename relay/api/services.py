"""What does the API work with?  Opened stores and functions, handed in; the API opens nothing itself."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from relay.api.scrape import Scraper
from relay.api.throttle import Throttle
from relay.api.turns import Turns
from relay.api.waiting import Waiting
from relay.core.addresses import Address, Networks
from relay.egress.sender import Sender
from relay.pipeline.command import Ignorer
from relay.pipeline.endpoints import Endpoints
from relay.pipeline.forget import Forgetter
from relay.pipeline.replay import Past, Replays
from relay.pipeline.subscriptions import SubscriptionLife
from relay.store.activity import Activity
from relay.store.apikeys import ApiKeyStore
from relay.store.audit import AuditStore
from relay.store.brand_state import BrandStates
from relay.store.brands import BrandStore
from relay.store.counters import Counters
from relay.store.deliveries import DeliveryStore
from relay.store.idempotency import IdempotencyStore
from relay.store.lane_log import LaneLog
from relay.store.log import Log
from relay.store.maintenance import Maintenance
from relay.store.replays import ReplayStore
from relay.store.sessions import SessionStore
from relay.store.snapshots import SnapshotStore
from relay.store.subscriptions import SubscriptionStore
from relay.store.vault import Vault
from relay.store.venues import PollStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything a route may use.

    Attributes:
        admin_digest: of ``RELAY_ADMIN_TOKEN``, see ``auth.digest_of``.
        venues_of: ids of a brand's venues that are, or were, looked at.
        lookup: resolves a host name to all its addresses; raises OSError.
        now_ms: wall clock, epoch ms.
        random_bytes: from a cryptographic source.
        metrics_digest: of ``RELAY_METRICS_TOKEN``; None without one.
        wake: somebody for work of a kind.
        tests_of_one: how often one subscription is tested.
        tests_of_all: how often all of them are.
    """

    admin_digest: str
    allow: Networks
    retention_s: float
    attempt_timeout_s: float
    vault: Vault
    brands: BrandStore
    brand_states: BrandStates
    subscriptions: SubscriptionStore
    life: SubscriptionLife
    api_keys: ApiKeyStore
    audit: AuditStore
    idempotency: IdempotencyStore
    deliveries: DeliveryStore
    lane_log: LaneLog
    waiting: Waiting
    log: Log
    snapshots: SnapshotStore
    polls: PollStore
    counters: Counters
    maintenance: Maintenance
    replays: Replays
    replay_store: ReplayStore
    past: Past
    sessions: SessionStore
    activity: Activity
    endpoints: Endpoints
    sender: Sender
    ignorer: Ignorer
    forgetter: Forgetter
    venues_of: Callable[[str], Awaitable[Collection[int]]]
    lookup: Callable[[str], Awaitable[Sequence[Address]]]
    now_ms: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    wake: Callable[[str], Awaitable[None]]
    scraper: Scraper
    metrics_digest: str | None
    tests_of_one: Throttle = field(default_factory=lambda: Throttle(interval_s=3.0, burst=10))
    tests_of_all: Throttle = field(default_factory=lambda: Throttle(interval_s=0.2, burst=50))
    turns: Turns = field(default_factory=Turns)
