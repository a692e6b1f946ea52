"""When is a failed delivery tried again? After the schedule's next delay, later if the partner asks, until it ends."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from relay.core.durations import format_duration, parse_duration

DEFAULT_DELAYS_S: Final = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""5s,5m,30m,2h,5h,10h,14h,20h,24h: the delays before attempts 2 to 10."""

MAX_STEPS: Final = 20
MAX_TOTAL: Final = timedelta(days=30)
SHORTEST_DELAY: Final = timedelta(milliseconds=1)

LONGEST_RETRY_AFTER_S: Final = 366 * 86_400.0
"""What ``parse_retry_after`` returns for anything longer; the policy's ``max_wait_s`` is what counts."""

_SECONDS: Final = re.compile(r"[0-9]+", re.ASCII)
_MAX_HEADER_CHARS: Final = 128


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how far apart a delivery is tried.

    Attributes:
        delays_s: seconds before attempt 2, 3, …; a delivery has ``len(delays_s) + 1`` attempts.
        jitter: each delay is spread by plus or minus this share of itself.
        max_wait_s: the longest wait that a partner's ``Retry-After`` can ask for.
    """

    delays_s: tuple[float, ...] = DEFAULT_DELAYS_S
    jitter: float = 0.1
    max_wait_s: float = 36_000.0


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again, not before ``at`` (aware, UTC)."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Dead:
    """The schedule is used up; ``attempts`` were made."""

    attempts: int


def next_attempt(
    policy: RetryPolicy, *, attempt: int, failed_at: datetime, retry_after_s: float | None, draw: float
) -> RetryAt | Dead:
    """Decide when to try a failed delivery again.

    Args:
        policy: the subscription's schedule.
        attempt: number of the try that just failed; the first is 1.
        failed_at: when it failed (aware, UTC).
        retry_after_s: the partner's Retry-After in seconds, None if absent. It may lengthen the wait up to
            ``policy.max_wait_s``, never shorten it.
        draw: a number in [0, 1) that picks the jitter; 0.5 means none.

    Returns:
        RetryAt, or Dead once the schedule is used up.

    Raises:
        ValueError: ``attempt`` is below 1.

    Source:
        RFC 9110, section 10.2.3; Standard Webhooks 1.0.0, "Retries".
    """
    if attempt < 1:
        raise ValueError("attempt numbers start at 1")
    if attempt > len(policy.delays_s):
        return Dead(attempts=attempt)
    wait_s = policy.delays_s[attempt - 1] * (1 + policy.jitter * (2 * draw - 1))
    if retry_after_s is not None:
        wait_s = max(wait_s, min(retry_after_s, policy.max_wait_s))
    return RetryAt(failed_at + timedelta(seconds=wait_s))


def parse_schedule(text: str) -> tuple[float, ...]:
    """Read a retry schedule.

    Args:
        text: durations separated by commas, such as ``"5s,5m,30m"``: the delays before attempt 2, 3, ….

    Returns:
        The delays in seconds.

    Raises:
        ValueError: not durations, a delay shorter than the one before it, more than 20 of them, or more than 30 days
            in all. The message does not repeat the text.
    """
    parts = text.split(",", MAX_STEPS)
    if len(parts) > MAX_STEPS:
        raise ValueError(f"has too many delays: at most {MAX_STEPS}")
    delays: list[timedelta] = []
    for number, part in enumerate(parts, start=1):
        try:
            delay = parse_duration(part, at_least=SHORTEST_DELAY, at_most=MAX_TOTAL)
        except ValueError as wrong:
            raise ValueError(f"delay {number} {wrong}") from None
        if delays and delay < delays[-1]:
            raise ValueError(f"delay {number} is shorter than the one before it: delays must not fall")
        delays.append(delay)
    if sum(delays, timedelta(0)) > MAX_TOTAL:
        raise ValueError(f"is too long in all: at most {format_duration(MAX_TOTAL)} together")
    return tuple(delay / timedelta(seconds=1) for delay in delays)


def format_schedule(delays_s: tuple[float, ...]) -> str:
    """Write a schedule as ``parse_schedule`` reads it."""
    return ",".join(format_duration(timedelta(milliseconds=round(delay_s * 1_000))) for delay_s in delays_s)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a ``Retry-After`` header.

    Args:
        value: the header as received: seconds or an HTTP date in any of its three forms; None if absent.
        now: the time to count a date from (aware).

    Returns:
        Seconds to wait, between 0 (a date in the past) and ``LONGEST_RETRY_AFTER_S``. None if there is no such header
        or it is neither whole seconds nor a date: ``"1e9"``, ``"-5"`` and ``"soon"`` ask for nothing.

    Source:
        RFC 9110, sections 10.2.3 and 5.6.7.
    """
    if value is None:
        return None
    value = value.strip(" \t")
    if len(value) > _MAX_HEADER_CHARS:
        return None
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(value)
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        wait_s = (until - now) / timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), LONGEST_RETRY_AFTER_S)
