"""Does everything that was matched end somewhere?  The ledger, whole and by subscription."""

from collections.abc import Mapping
from typing import Any, Final

from relay.api.fields import BrandName, Moment, epoch_ms, parse_moment
from relay.api.operations import READERS, Call, Operation, Query, Reply, Rfc3339
from relay.api.validation import Answer
from relay.core.operational import rfc3339
from relay.store.lane_states import COUNTED, Counts
from relay.store.positions import first_at

COUNT_DEADLINE_S: Final = 30.0


class LedgerQuery(Query):
    """Which part of the log."""

    brand: BrandName | None = None
    """Of that brand."""
    since: Moment | None = None
    """Made at or after that time."""


class LedgerRow(Answer):
    """Deliveries by their present state."""

    matched: int
    """All of them."""
    delivered: int
    """Answered with a 2xx."""
    pending: int
    """Queued, waiting for their turn, their time or their subscription."""
    dead: int
    """Given up."""
    expired: int
    """Older than max_age, or than the retention."""
    discarded: int
    """Their subscription or brand was deleted, or their replay stopped."""
    unaccounted: int
    """None of these: 0 unless the relay is wrong."""


class LedgerOfSubscription(LedgerRow):
    """One subscription's."""

    subscription: str
    """Whose; also of one that was deleted, while something of it is retained."""
    name: str | None
    """Its name."""


class LedgerAnswer(LedgerRow):
    """The ledger."""

    events: int
    """In the log, also those that one subscription alone was told with ``start``."""
    subscriptions: list[LedgerOfSubscription]
    """By subscription."""
    audited_at: Rfc3339 | None
    """When the records themselves were last counted, in the background."""


async def get(call: Call) -> Reply:
    """Count what is retained, by its present state."""
    query, services = call.query_as(LedgerQuery), call.services
    stored = await services.subscriptions.all()
    names = {key: each.value.name for key, each in stored.items()}
    for gone in await services.maintenance.gone_lanes():
        names.setdefault(gone, None)
    since = 0 if query.since is None else first_at(epoch_ms(parse_moment(query.since)))
    if since or query.brand is not None:
        counts = {key: await services.deliveries.count_records(key, since=since, brand=query.brand) for key in names}
        events = await services.log.count_of(query.brand, since=since)
    else:
        counts = await services.deliveries.counts(list(names))
        events = await services.log.count()
    whole = sum(counts.values(), Counts())
    audit = await services.maintenance.audit()
    return Reply(
        body=LedgerAnswer(
            **_shown(whole),
            events=events,
            subscriptions=[
                LedgerOfSubscription(**_shown(counts[key]), subscription=key, name=name) for key, name in names.items()
            ],
            audited_at=None if audit is None else rfc3339(audit[1]),
        )
    )


def _shown(counts: Counts) -> dict[str, int]:
    return {**{name: getattr(counts, name) for name in COUNTED}, "unaccounted": counts.unaccounted}


_ROW: Final[Mapping[str, Any]] = {
    "matched": 1200,
    "delivered": 1190,
    "pending": 8,
    "dead": 2,
    "expired": 0,
    "discarded": 0,
    "unaccounted": 0,
}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/ledger",
        name="get_ledger",
        tag="ledger",
        summary="Show the ledger",
        description="Counts what is retained, by its present state. With brand or since, the records are counted.",
        handler=get,
        roles=READERS,
        query=LedgerQuery,
        answer=LedgerAnswer,
        deadline_s=COUNT_DEADLINE_S,
        example={
            **_ROW,
            "events": 1100,
            "subscriptions": [{**_ROW, "subscription": "sub_k3m5q7r2t4u6v2x4z6b3", "name": "courier"}],
            "audited_at": "2026-02-02T13:45:00.000Z",
        },
    ),
)
