"""How is one delivery attempted, and what does its end mean for it?"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from relay.core import signing
from relay.core.buckets import DURATION_MS, LATENCY_MS, bucket_of
from relay.core.deliveries import Record, attempt_line
from relay.core.events import StoredEvent, delivery_dead, render, rfc3339, subscription_subject
from relay.core.netpolicy import Refused
from relay.core.outcomes import OUR_FAULT_WAIT_S, Failure, Outcome, StatusClass, classify
from relay.core.retry import Dead, next_attempt, parse_retry_after
from relay.egress.sender import Attempt, OutboundRequest, Sender
from relay.pipeline.commit import OperationalEvent, encode_announcement
from relay.pipeline.endpoints import Endpoint
from relay.store.lanes import Settlement
from relay.store.positions import delivery_id

DELIVERED, RETRY, DEAD, EXPIRED, DISCARDED, BACK = "d", "r", "x", "e", "c", "b"
"""Verdicts of settle.lua."""

LONGEST_OUR_FAULT_WAIT_MS: Final = 60_000


class Head(msgspec.Struct, frozen=True, gc=False):
    """One delivery whose turn it is.

    Attributes:
        body: what is sent, where it has been rendered already.
    """

    queue: str
    position: int
    record: Record
    event: StoredEvent
    body: bytes | None = None

    @property
    def number(self) -> int:
        """Of the attempt to come; the first is 1."""
        return self.record.attempts + 1


class Tried(msgspec.Struct, frozen=True, gc=False):
    """An attempt that has ended."""

    head: Head
    attempt: Attempt
    outcome: Outcome


async def attempt(
    sender: Sender, endpoint: Endpoint, head: Head, *, wall_s: Callable[[], float], timeout_s: float
) -> Tried:
    """Render, sign and send one delivery.

    Args:
        wall_s: Unix time; the signature's timestamp is made from it.
        timeout_s: of the whole attempt.
    """
    url = endpoint.url
    if isinstance(url, Refused):
        error = f"{Failure.BLOCKED}: the URL is not allowed any more: {url.reason}"
        return _tried(head, Attempt(None, Failure.BLOCKED, error, StatusClass.REFUSED, 0), wall_s)
    body = head.body if head.body is not None else render(head.event, endpoint.shape_at(head.position))
    now_s = wall_s()
    timestamp_s = int(now_s)
    signature = signing.sign(
        endpoint.keys_at(now_s * 1000), webhook_id=head.event.id, timestamp_s=timestamp_s, body=body
    )
    headers = {
        **endpoint.headers,
        "webhook-id": head.event.id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signature,
        "relay-attempt": str(head.number),
    }
    return _tried(head, await sender.send(OutboundRequest(url, headers, body, timeout_s)), wall_s)


def _tried(head: Head, made: Attempt, wall_s: Callable[[], float]) -> Tried:
    retry_after_s = None
    if made.retry_after is not None:
        retry_after_s = parse_retry_after(made.retry_after, now=datetime.fromtimestamp(wall_s(), UTC))
    return Tried(head, made, classify(made.status_code, failure=made.failure, retry_after_s=retry_after_s))


def settlement(tried: Tried, *, endpoint: Endpoint, now_ms: int, started_at_s: float, draw: float) -> Settlement:
    """Decide how a delivery goes on after an attempt.

    Args:
        now_ms: Redis' time.
        started_at_s: wall clock at which the attempt began.
        draw: picks the jitter of the next delay; in [0, 1).
    """
    head, made, outcome = tried.head, tried.attempt, tried.outcome
    if outcome.ours:
        return _given_back(head, now_ms=now_ms)
    verdict, due_ms, announcement = DELIVERED, 0, ""
    latency_bucket, latency_ms = -1, 0
    if outcome.success:
        if not head.record.opened:
            latency_ms = max(now_ms - head.event.timestamp_ms, 0)
            latency_bucket = bucket_of(latency_ms, LATENCY_MS)
    elif outcome.gone:
        # The delivery that met the 410 stays; its subscription is disabled, and goes on from here once enabled again.
        verdict, due_ms = RETRY, now_ms
    else:
        following = next_attempt(
            endpoint.policy,
            attempt=head.number,
            failed_at=datetime.fromtimestamp(now_ms / 1000, UTC),
            retry_after_s=outcome.retry_after_s,
            draw=draw,
        )
        if isinstance(following, Dead):
            verdict = DEAD
            announcement = _dead(endpoint, tried)
        else:
            verdict, due_ms = RETRY, int(following.at.timestamp() * 1000)
    return Settlement(
        queue=head.queue,
        position=str(head.position),
        number=head.number,
        verdict=verdict,
        due_ms=due_ms,
        attempt=attempt_line(
            at=rfc3339(int(started_at_s * 1000)),
            number=head.number,
            status_code=made.status_code,
            error=made.error,
            duration_ms=made.duration_ms,
            response_excerpt=made.response_excerpt,
        ).decode(),
        status_class=outcome.status_class.value,
        duration_bucket=bucket_of(made.duration_ms, DURATION_MS),
        duration_ms=made.duration_ms,
        latency_bucket=latency_bucket,
        latency_ms=latency_ms,
        announcement=announcement,
    )


def unsent(queue: str, position: int, record: Record, *, verdict: str, due_ms: int = 0) -> Settlement:
    """A delivery that ends, or goes back, without an attempt."""
    return Settlement(queue=queue, position=str(position), number=record.attempts + 1, verdict=verdict, due_ms=due_ms)


def unreadable(queue: str, position: int, record: Record, *, at_s: float) -> Settlement:
    """A delivery whose event cannot be read: it is dead, with the reason where one looks for it.

    Args:
        at_s: Unix time.
    """
    number = record.attempts + 1
    line = attempt_line(
        at=rfc3339(int(at_s * 1000)),
        number=number,
        status_code=None,
        error="internal: what is stored of this event cannot be read; nothing was sent",
        duration_ms=0,
        response_excerpt=None,
    )
    return Settlement(queue=queue, position=str(position), number=number, verdict=DEAD, attempt=line.decode())


def _given_back(head: Head, *, now_ms: int) -> Settlement:
    """Put a delivery back that failed by our own fault: for 5 s, and longer the longer that goes on."""
    age_ms = max(now_ms - head.event.timestamp_ms, 0)
    wait_ms = min(max(int(OUR_FAULT_WAIT_S * 1000), age_ms // 10), LONGEST_OUR_FAULT_WAIT_MS)
    return unsent(head.queue, head.position, head.record, verdict=BACK, due_ms=now_ms + wait_ms)


def _dead(endpoint: Endpoint, tried: Tried) -> str:
    event = tried.head.event
    if event.type.startswith("relay."):
        return ""
    subscription = endpoint.subscription
    change = delivery_dead(
        subscription=subscription.id,
        delivery=delivery_id(subscription.id, tried.head.position),
        event=event.id,
        type=event.type,
        subject=event.subject,
        attempts=tried.head.number,
        last_error=tried.attempt.error,
    )
    return encode_announcement(
        OperationalEvent(
            type=change.type,
            subject=subscription_subject(subscription.id),
            brand=event.brand,
            venue_id=event.venue_id,
            partner=subscription.partner,
            about=subscription.id,
            data=change.data,
            nonce=str(tried.head.number),
        )
    ).decode()
