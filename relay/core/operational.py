"""What the relay says of itself: the data of each ``relay.*`` event."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from relay.core.changes import Change

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ERROR_CHARS: Final = 300


def rfc3339(at_ms: int) -> str:
    """Write a time (Unix, milliseconds) as RFC 3339, UTC, with milliseconds: ``2026-02-02T13:46:05.120Z``."""
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=256)
def _second(at_s: int) -> str:
    """Spell a second; events come many to one."""
    return (_EPOCH + timedelta(seconds=at_s)).strftime("%Y-%m-%dT%H:%M:%S")


def subscription_subject(subscription: str) -> str:
    """Name a subscription as the subject of an event."""
    return f"subscription/{subscription}"


def brand_subject(brand: str) -> str:
    """Name a brand as the subject of an event."""
    return f"brand/{brand}"


def test_sent(message: str) -> Change:
    """Make the data of ``relay.test``."""
    return Change("relay.test", {"message": message})


def delivery_dead(
    *,
    subscription: str,
    delivery: str,
    event: str,
    type: str,  # noqa: A002 - the field's name
    subject: str,
    attempts: int,
    last_error: str | None,
) -> Change:
    """Make the data of ``relay.delivery_dead``: which delivery of which event was given up.

    Args:
        subscription: its id.
        delivery: its id.
        event: the event's id.
        type: the event's type.
        subject: the event's subject.
        attempts: how many were made.
        last_error: what the last one ended with; cut to 300 characters.
    """
    error = None if last_error is None else last_error[:_ERROR_CHARS]
    return Change(
        "relay.delivery_dead",
        {
            "subscription": subscription,
            "delivery": delivery,
            "event": event,
            "type": type,
            "subject": subject,
            "attempts": attempts,
            "last_error": error,
        },
    )


def subscription_disabled(*, subscription: str, name: str | None, reason: str, since_ms: int) -> Change:
    """Make the data of ``relay.subscription_disabled``: since when, and why."""
    return _subscription("relay.subscription_disabled", subscription, name, reason, since_ms)


def subscription_enabled(*, subscription: str, name: str | None, reason: str | None, since_ms: int) -> Change:
    """Make the data of ``relay.subscription_enabled``: since when, and why."""
    return _subscription("relay.subscription_enabled", subscription, name, reason, since_ms)


def _subscription(kind: str, subscription: str, name: str | None, reason: str | None, since_ms: int) -> Change:
    return Change(kind, {"subscription": subscription, "name": name, "reason": reason, "since": rfc3339(since_ms)})


def brand_failing(*, error: str, since_ms: int) -> Change:
    """Make the data of ``relay.brand_failing``: since when, and with what."""
    return Change("relay.brand_failing", {"error": error[:_ERROR_CHARS], "since": rfc3339(since_ms)})


def brand_recovered(*, error: str | None, since_ms: int) -> Change:
    """Make the data of ``relay.brand_recovered``: since when, and what it failed with before."""
    shown = None if error is None else error[:_ERROR_CHARS]
    return Change("relay.brand_recovered", {"error": shown, "since": rfc3339(since_ms)})
