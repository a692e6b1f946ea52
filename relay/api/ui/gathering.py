"""What do several pages need to know?  Whole lists, with a bound; last errors; attempts over time."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from relay.api.ui.health import Machinery
from relay.api.ui.overview_view import Slot
from relay.api.ui.visits import Visit

PAGE: Final = 200
MOST: Final = 1000
"""Of brands, and of subscriptions: a page with more of them is of no use, and the API has them all."""

SLOTS: Final = 24


async def everything(visit: Visit, name: str) -> list[dict[str, Any]]:
    """A whole list of the API's, up to ``MOST``."""
    found: list[dict[str, Any]] = []
    cursor = None
    while len(found) < MOST:
        query = {"limit": PAGE} if cursor is None else {"limit": PAGE, "cursor": cursor}
        answer = await visit.ask(name, query=query)
        found += answer["data"]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    return found


async def brands(visit: Visit) -> list[dict[str, Any]]:
    """Every brand; none for a partner."""
    return await everything(visit, "list_brands") if visit.may("list_brands") else []


async def subscriptions(visit: Visit) -> list[dict[str, Any]]:
    """Every subscription that the visitor is told of."""
    return await everything(visit, "list_subscriptions")


async def slots(visit: Visit, subscription_ids: Sequence[str]) -> list[Slot]:
    """Attempts of the last two hours to those subscriptions together."""
    found = await visit.services.activity.attempts(subscription_ids, now_ms=visit.services.now_ms(), slots=SLOTS)
    return [Slot(each.starts_ms, each.succeeded, each.failed) for each in found]


async def machinery(visit: Visit) -> Machinery | None:
    """What the relay runs on; nothing for a partner, or where it cannot be told."""
    if visit.is_partner:
        return None
    view, ledger = await asyncio.gather(visit.services.scraper.view(), visit.ask("get_ledger"))
    if not view.is_up:
        return None  # it would be as last known
    used, limit = view.figures.memory_bytes, view.figures.memory_limit_bytes
    return Machinery(
        workers=view.workers,
        schedulers=view.figures.schedulers,
        memory=used / limit if limit else None,
        is_emptied=view.standing.missing,
        unaccounted=ledger["unaccounted"],
    )


async def last_errors(visit: Visit, found: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the last failed attempt ended with, of each subscription that fails or has dead deliveries."""
    activity = visit.services.activity
    troubled = [each["id"] for each in found if each["state"]["failing_since"] or each["state"]["dead"]]
    retried = await activity.retried(troubled)
    known = {subscription_id for subscription_id, _ in retried}
    died = await activity.dead([each for each in troubled if each not in known], limit=len(troubled))
    wanted = [*retried, *((each.subscription_id, each.position) for each in died)]
    latest: dict[str, tuple[str, str]] = {}
    for delivery in await visit.services.deliveries.many(wanted):
        if delivery is None or not delivery.record.lines:
            continue
        last = delivery.record.history()[-1]
        if last["error"]:
            told = (last["at"], last["error"])
            latest[delivery.subscription_id] = max(told, latest.get(delivery.subscription_id, told))
    return {subscription_id: error for subscription_id, (_, error) in latest.items()}
