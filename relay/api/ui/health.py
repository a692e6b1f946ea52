"""Is everything well, and if not, what is wrong and why?  Pure: what the API says of each part in, findings out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from relay.api.ui.formats import epoch_ms, in_words, plural, share, span
from relay.api.ui.statuses import BY_THE_OPERATOR, Level

STALE_S: Final = 120.0
VERY_STALE_S: Final = 300.0
OLD_BACKLOG_S: Final = 60.0
"""As the alerts of the chart have them: RelayBrandStale, RelayBrandNotPolled, RelayBacklogOld."""

NEARLY_FULL: Final = 0.75
"""Of Redis' memory, as RelayRedisNearlyFull has it; polling stops at 85 %."""

_IDLE: Final = {
    "poll": "Nothing looks at Clopos: no worker of the queue poll is alive.",
    "deliver": "Nothing is sent: no worker of the queue deliver is alive.",
    "maintain": "Nothing is tidied up or compared: no worker of the queue maintain is alive.",
}
"""What it means that no worker takes a queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machinery:
    """What the relay runs on.

    Attributes:
        workers: how many live, by queue.
        schedulers: how many live.
        memory: share of Redis' memory that is used; None where it has no limit.
        is_emptied: Redis is empty and should not be.
        unaccounted: deliveries that are nowhere, by the ledger.
    """

    workers: Mapping[str, int]
    schedulers: int
    memory: float | None
    is_emptied: bool
    unaccounted: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        what: a sentence.
        why: the reason, in whose words it may be.
        since_ms: when it began.
        link: where more is to be seen, and something done.
        link_text: what is there.
    """

    level: Level
    what: str
    why: str | None = None
    since_ms: int | None = None
    link: str | None = None
    link_text: str = "Look"


def findings(
    *,
    brands: Sequence[Mapping[str, Any]],
    subscriptions: Sequence[Mapping[str, Any]],
    errors: Mapping[str, str],
    machinery: Machinery | None,
    now_ms: int,
) -> list[Finding]:
    """Everything that is not as it should be, what matters most first.

    Args:
        brands: as ``GET /v1/brands`` has them; empty for a partner.
        subscriptions: as ``GET /v1/subscriptions`` has them.
        errors: what a subscription's last failed attempt ended with, by id.
        machinery: None where that is not the reader's business.
        now_ms: epoch ms.
    """
    found = [] if machinery is None else list(_of_machinery(machinery))
    for brand in brands:
        found += _of_brand(brand, now_ms)
    for subscription in subscriptions:
        found += _of_subscription(subscription, errors.get(subscription["id"]), now_ms)
    return sorted(found, key=lambda each: each.level.rank)


def oldest_look_s(brand: Mapping[str, Any], now_ms: int) -> float | None:
    """Age of the oldest venue's last look; None before the first, or where orders are not looked at."""
    looks = [epoch_ms(venue["orders"]["last_poll_at"]) for venue in brand["state"]["venues"]]
    if not looks or any(look is None for look in looks) or not brand["poll"]["orders"]:
        return None
    return max(0.0, (now_ms - min(look for look in looks if look is not None)) / 1000)


def waiting_s(subscription: Mapping[str, Any], now_ms: int) -> float | None:
    """Age of the oldest event that waits for a subscription."""
    oldest = epoch_ms(subscription["state"]["oldest_pending_at"])
    return None if oldest is None else max(0.0, (now_ms - oldest) / 1000)


def name_of(subscription: Mapping[str, Any]) -> str:
    """What people call a subscription: its name, else its id."""
    return str(subscription["name"] or subscription["id"])


def _of_machinery(machinery: Machinery) -> Iterator[Finding]:
    if machinery.is_emptied:
        why = "Put its data back, or begin anew with relay apply: nothing is announced until then."
        yield Finding(Level.BAD, "Redis is empty and should not be.", why)
    yield from (Finding(Level.BAD, _IDLE[kind]) for kind, living in machinery.workers.items() if not living)
    if not machinery.schedulers:
        why = "What is being worked on goes on; what falls due wakes nobody."
        yield Finding(Level.BAD, "No scheduler is alive.", why)
    if machinery.memory is not None and machinery.memory > NEARLY_FULL:
        why = "Above 85 % nothing is looked at any more, until there is room again."
        yield Finding(Level.BAD, f"Redis has used {share(machinery.memory)} of its memory.", why)
    if machinery.unaccounted:
        missing = plural(machinery.unaccounted, "delivery is", "deliveries are")
        yield Finding(Level.BAD, f"The ledger does not close: {missing} missing.")


def _of_brand(brand: Mapping[str, Any], now_ms: int) -> Iterator[Finding]:
    name, state = brand["brand"], brand["state"]
    link = f"/ui/brands/{name}"
    if state["status"] == "failing":
        since_ms = epoch_ms(state["since"])
        yield Finding(Level.BAD, f"Brand {name} cannot be looked at.", state["error"], since_ms, link, "Brand")
    elif state["error"]:
        yield Finding(Level.WARN, f"Brand {name} has trouble with part of what it looks at.", state["error"], link=link)
    age_s = oldest_look_s(brand, now_ms)
    if state["status"] == "ok" and age_s is not None and age_s > STALE_S:
        level = Level.BAD if age_s > VERY_STALE_S else Level.WARN
        yield Finding(level, f"Brand {name} was not looked at for {span(age_s)}.", link=link, link_text="Brand")
    count = state["set_aside"]["count"]
    if count:
        rows = plural(count, "row is", "rows are")
        what = f"Brand {name}: {rows} set aside as unreadable."
        yield Finding(Level.WARN, what, state["set_aside"]["rows"][0]["reason"], link=link, link_text="Brand")


def _of_subscription(subscription: Mapping[str, Any], error: str | None, now_ms: int) -> Iterator[Finding]:
    name, state = name_of(subscription), subscription["state"]
    link = f"/ui/subscriptions/{subscription['id']}"
    told = None if error is None else _sentence(in_words(error))
    failing_ms = epoch_ms(state["failing_since"])
    waits_s = waiting_s(subscription, now_ms)
    if state["status"] == "disabled" and state["disabled_reason"] != BY_THE_OPERATOR:
        waiting = f" {plural(state['pending'], 'event waits', 'events wait')}." if state["pending"] else ""
        reason = _sentence(state["disabled_reason"] or "it is not known why") + waiting
        yield Finding(Level.BAD, f"{name} is disabled: nothing is sent to it.", reason, None, link, "Subscription")
    elif state["status"] == "active" and failing_ms is not None:
        yield Finding(Level.WARN, f"{name} does not take what it is sent.", told, failing_ms, link, "Subscription")
    elif state["status"] == "active" and subscription["url"] and waits_s is not None and waits_s > OLD_BACKLOG_S:
        what = f"{name} is behind: its oldest event waits for {span(waits_s)}."
        yield Finding(Level.WARN, what, link=link, link_text="Subscription")
    if state["dead"]:
        given_up = plural(state["dead"], "delivery was", "deliveries were")
        dead = f"/ui/dead?subscription={subscription['id']}"
        yield Finding(Level.WARN, f"{name}: {given_up} given up.", told, None, dead, "Retry them")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
