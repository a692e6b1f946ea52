"""How is the API run?  Opened, served with limits, drained when told to stop."""

import secrets

from relay.api.auth import digest_of
from relay.api.services import Services
from relay.api.waiting import Waiting
from relay.bootstrap import Relay, wall_ms
from relay.egress.guard import SystemLookup
from relay.store.apikeys import ApiKeyStore
from relay.store.audit import AuditStore
from relay.store.brand_state import BrandStates
from relay.store.idempotency import IdempotencyStore
from relay.store.lane_log import LaneLog


def services_of(relay: Relay) -> Services:
    """What the routes work with, from what was opened."""
    settings, stores = relay.settings, relay.stores
    lane_log = LaneLog(relay.redis)
    return Services(
        admin_digest=digest_of(settings.admin_token),
        allow=settings.allow_networks,
        retention_s=settings.retention_s,
        attempt_timeout_s=settings.attempt_timeout_s,
        vault=stores.vault,
        brands=stores.brands,
        brand_states=BrandStates(relay.redis, stores.polls, stores.quota),
        subscriptions=stores.subscriptions,
        life=relay.life,
        api_keys=ApiKeyStore(relay.redis, relay.scripts),
        audit=AuditStore(relay.redis),
        idempotency=IdempotencyStore(relay.scripts, stores.vault),
        deliveries=stores.deliveries,
        lane_log=lane_log,
        waiting=Waiting(lane_log),
        log=stores.log,
        snapshots=stores.snapshots,
        polls=stores.polls,
        counters=stores.counters,
        maintenance=stores.maintenance,
        replays=relay.replays,
        replay_store=stores.replays,
        past=relay.past,
        endpoints=relay.endpoints,
        sender=relay.sender,
        ignorer=relay.ignorer,
        requests=relay.requests,
        venues_of=relay.venues_of,
        lookup=SystemLookup(),
        now_ms=wall_ms,
        random_bytes=secrets.token_bytes,
        wake=relay.wake,
    )
