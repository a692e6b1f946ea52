"""How is a subscription shown?  Without its secrets, with how it is doing."""

from collections.abc import Sequence
from datetime import timedelta

from relay.api.services import Services
from relay.api.subscription_answers import SubscriptionAnswer, SubscriptionState
from relay.api.subscription_documents import open_headers
from relay.core.durations import format_duration
from relay.core.errors import CorruptStateError
from relay.core.operational import rfc3339
from relay.core.retry import format_schedule
from relay.store.documents import Stored
from relay.store.lane_states import LaneState
from relay.store.subscriptions import Subscription


async def answers(
    services: Services, stored: Sequence[Stored[Subscription]], *, now_ms: int
) -> list[SubscriptionAnswer]:
    """Show subscriptions, in their order."""
    states = await services.deliveries.lane_states([each.id for each in stored], now_ms=now_ms)
    return [_answer(services, each.value, states[each.id], now_ms=now_ms) for each in stored]


def _answer(services: Services, subscription: Subscription, state: LaneState, *, now_ms: int) -> SubscriptionAnswer:
    shape = subscription.shapes[-1]
    old = [each.until_ms for each in subscription.secrets if each.until_ms is not None and each.until_ms > now_ms]
    return SubscriptionAnswer(
        id=subscription.id,
        name=subscription.name,
        url=subscription.url,
        event_types=list(subscription.event_types),
        brands=None if subscription.brands is None else list(subscription.brands),
        venues=None if subscription.venues is None else list(subscription.venues),
        description=subscription.description,
        partner=subscription.partner,
        signature=subscription.signature,
        public_key=subscription.secrets[0].public_key,
        headers=dict.fromkeys(_header_names(services, subscription)),
        redact=list(shape.redact),
        include_raw=shape.include_raw,
        ordering=subscription.ordering,
        max_concurrency=subscription.max_concurrency,
        rate_limit=subscription.rate_limit,
        retry_schedule=None
        if subscription.retry_schedule_s is None
        else format_schedule(subscription.retry_schedule_s),
        max_age=None
        if subscription.max_age_s is None
        else format_duration(timedelta(milliseconds=round(subscription.max_age_s * 1000))),
        enabled=subscription.status != "disabled",
        old_secret_until=rfc3339(max(old)) if old else None,
        created_at=subscription.created_at,
        updated_at=subscription.updated_at,
        state=_state(subscription, state),
    )


def _state(subscription: Subscription, state: LaneState) -> SubscriptionState:
    return SubscriptionState(
        status=subscription.status,
        disabled_reason=subscription.disabled_reason,
        pending=state.counts.pending,
        dead=state.counts.dead,
        oldest_pending_at=_time(state.oldest_pending_ms),
        success_rate_1h=state.success_rate_1h,
        latency_p95_ms_1h=state.latency_p95_ms_1h,
        failing_since=_time(state.failing_since_ms),
        held_until=_time(state.hold_until_ms),
        unverified=subscription.url is not None and not state.counts.delivered,
    )


def _header_names(services: Services, subscription: Subscription) -> list[str]:
    try:
        return sorted(open_headers(services, subscription.headers))
    except CorruptStateError:
        return []  # its key is missing: the rest of it can still be seen, and set right


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)
