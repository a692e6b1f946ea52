"""What does a failed look stop, and for how long?  One feed of one venue, or the whole brand."""

from dataclasses import dataclass
from typing import Final

from relay.clopos.advice import Reach, advice
from relay.core.errors import CloposError, DeadlyError, HeldBackError, SignInError, ThrottledError, UnknownThingError
from relay.store.findings import BrandState, FeedState

FAILING_AFTER: Final = 3
"""Failed requests in a row, over all venues, that make a brand failing. Refused credentials do at once."""

LONGEST_WAIT_MS: Final = 30_000
"""Between two tries of what may heal by itself."""

SIGN_IN_WAIT_MS: Final = 60_000
"""After refused credentials; the token store knows the exact time, for all workers."""

GONE_WAIT_MS: Final = 300_000
"""Between two looks whether a venue that Clopos does not know is back, at most."""


DEADLY_WAIT_MS: Final = 900_000
LONGEST_DEADLY_WAIT_MS: Final = 21_600_000
"""Between two tries of what has ended worker after worker: doubled from a quarter of an hour up to six."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The brand began or ceased to fail.

    Attributes:
        error: in words; of a recovery, what it had failed with.
        since_ms: when it began to fail.
    """

    failing: bool
    error: str
    since_ms: int


def failed(brand: BrandState, feed: FeedState, error: CloposError, *, now_ms: int, draw: float) -> Turn | None:
    """Take in a failed look: nobody asks again before it makes sense.

    Args:
        brand: changed in place.
        feed: of the venue that was looked at; changed in place.
        error: why it failed.
        now_ms: Redis' clock.
        draw: a number in [0, 1) that spreads the waits.

    Returns:
        The turn, if the brand counts as failing from now on.
    """
    if isinstance(error, HeldBackError) and _is_no_failure(error):
        _wait(brand, feed, error, now_ms)
        return None
    known = advice(error)
    spread = 0.5 + draw
    feed.failures += 1
    feed.failing_ms = feed.failing_ms or now_ms
    feed.reason, feed.message = error.reason, known.words
    wait_ms = min(LONGEST_WAIT_MS, 1000 << min(feed.failures - 1, 10)) * spread
    if isinstance(error, UnknownThingError):
        # Clopos answers, and says that there is no such venue: nothing else suffers.
        feed.retry_ms = now_ms + round(min(GONE_WAIT_MS, 10_000 << min(feed.failures - 1, 10)) * spread)
        return None
    if isinstance(error, DeadlyError):
        wait_ms = min(LONGEST_DEADLY_WAIT_MS, DEADLY_WAIT_MS << min(feed.failures - 1, 10))
        feed.retry_ms = now_ms + round(wait_ms * spread)
        return None
    if error.reason == "forbidden":
        wait_ms = SIGN_IN_WAIT_MS * spread
    feed.retry_ms = now_ms + round(min(wait_ms, LONGEST_WAIT_MS if known.reach is Reach.VENUE else SIGN_IN_WAIT_MS))
    brand.failures += 1
    if known.reach is not Reach.VENUE or brand.failures >= FAILING_AFTER:
        brand.retry_ms = now_ms + _brand_wait_ms(brand, error, spread)
    if brand.failing_ms:
        brand.reason, brand.message = error.reason, known.words
        return None
    refused = isinstance(error, SignInError) or (isinstance(error, HeldBackError) and known.reach is not Reach.VENUE)
    if brand.failures < FAILING_AFTER and not refused:
        return None
    brand.reason, brand.message = error.reason, known.words
    brand.failing_ms = now_ms
    return Turn(True, known.words, now_ms)


def _is_no_failure(error: HeldBackError) -> bool:
    """Whether it was just not the moment: the quota, or a look that began before the brand was changed."""
    return error.reason == "stale" or error.reason.startswith("quota_")


def _wait(brand: BrandState, feed: FeedState, error: HeldBackError, now_ms: int) -> None:
    """Wait, this feed; or the whole brand where its quota is blocked."""
    until_ms = now_ms + round(error.wait_s * 1000) + 50
    if error.reason in ("quota_window", "quota_pace", "stale"):
        feed.retry_ms = until_ms
    else:
        brand.retry_ms = until_ms


def _brand_wait_ms(brand: BrandState, error: CloposError, spread: float) -> int:
    if isinstance(error, HeldBackError | ThrottledError):
        return round(error.wait_s * 1000) + 50
    if isinstance(error, SignInError):
        return SIGN_IN_WAIT_MS
    doublings = min(max(0, brand.failures - FAILING_AFTER), 10)
    return round(min(LONGEST_WAIT_MS, 1000 << doublings) * spread)


def feed_is_well(feed: FeedState) -> None:
    """Take in a look that succeeded, for its feed: whatever was said of failures is over."""
    feed.failures = feed.failing_ms = feed.retry_ms = 0
    feed.reason = feed.message = ""


def brand_is_well(brand: BrandState) -> Turn | None:
    """Take in a look that succeeded, for the brand: whatever was said of failures is over.

    Returns:
        The turn, if the brand counted as failing till now.
    """
    turn = Turn(False, brand.message, brand.failing_ms) if brand.failing_ms else None
    brand.failures = brand.failing_ms = brand.retry_ms = 0
    brand.reason = brand.message = ""
    return turn


def try_again(brand: BrandState, feeds: list[FeedState]) -> None:
    """Let every look go on at once: somebody asked for one, or changed the brand."""
    brand.retry_ms = 0
    for feed in feeds:
        feed.retry_ms = 0
