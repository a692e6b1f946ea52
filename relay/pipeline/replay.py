"""How is a subscription told again, or told of what was before it?

A replay selects positions of the log once, in order, and queues them in steps, each at the tail of its subject's
queue. The past of a new subscription goes before what was committed since it was made, while the lane is still shut.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from relay.core.changes import Feed, compare
from relay.core.deliveries import State
from relay.core.errors import InvalidError, NotFoundError, Problem
from relay.core.events import Draft, Origin, StoredEvent, draft, rfc3339
from relay.core.subscriptions import Router, matches
from relay.pipeline.commit import queue_of
from relay.pipeline.subscriptions import name_of
from relay.store import keys
from relay.store.brands import BrandStore
from relay.store.deliveries import DeliveryStore, Retired
from relay.store.documents import Stored, Write
from relay.store.lane_walk import Cursor
from relay.store.log import Log, Range
from relay.store.replays import Replay, ReplayStore
from relay.store.snapshots import OPEN, Head, Scope, Snapshot, SnapshotStore
from relay.store.subscriptions import Subscription, SubscriptionStore

STEP = 500
"""Deliveries queued at once."""

ENDED = frozenset({"delivered", "cancelled"})
"""Statuses of orders that a subscription which starts with the open ones is not told of."""

MOST = 100_000
"""Deliveries of one replay."""

MOST_LISTED = 2_000
"""Events of a pulled subscription that were committed while its past was listed."""

BACKLOG = 2_000
"""A replay waits while so many deliveries of its subscription are pending: live traffic is not buried under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to replay; what is None does not limit.

    Attributes:
        first: position, included.
        last: position, included.
        status: only deliveries in that state; None also takes events that were never delivered to it.
    """

    first: int
    last: int
    event_ids: tuple[str, ...] | None = None
    status: State | None = None
    event_types: tuple[str, ...] | None = None


class Replays:
    """Selects, queues, stops."""

    def __init__(
        self,
        *,
        replays: ReplayStore,
        log: Log,
        deliveries: DeliveryStore,
        subscriptions: SubscriptionStore,
        keep_s: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._replays = replays
        self._log = log
        self._deliveries = deliveries
        self._subscriptions = subscriptions
        self._keep_s = keep_s
        self._now_ms = now_ms

    async def start(self, subscription: Subscription, selection: Selection, *, replay_id: str) -> Stored[Replay]:
        """Select what matches, and begin to queue it.

        Raises:
            InvalidError: an event is not in the log, or there are more than ``MOST``.
        """
        positions = await self._select(subscription, selection)
        if len(positions) > MOST:
            raise InvalidError([Problem("", f"more than {MOST} deliveries match: narrow since, until or event_types")])
        await self._replays.plan(replay_id, positions, keep_s=self._keep_s)
        made = Replay(
            id=replay_id,
            subscription_id=subscription.id,
            deliveries=len(positions),
            status="running" if positions else "done",
            created_at=rfc3339(self._now_ms()),
        )
        return await self._replays.create(replay_id, Write(made))

    async def step(self, replay: Replay) -> bool:
        """Queue the next part of a replay; False when it is done, was stopped, or has to wait."""
        if replay.status != "running":
            return False
        stored = await self._subscriptions.get(replay.subscription_id)
        if stored is None:
            await self._end(replay.id, "stopped")
            return False
        counts = await self._deliveries.counts([replay.subscription_id])
        if counts[replay.subscription_id].pending >= BACKLOG:
            return False
        positions = await self._replays.todo(replay.id, limit=STEP)
        if positions:
            rows = await self._rows(stored.value, positions)
            await self._deliveries.reopen(
                replay.subscription_id,
                rows,
                replay_id=replay.id,
                pull_only=stored.value.url is None,
                make=True,
                lists=keys.replay(replay.id),
            )
            await self._replays.keep_queued(replay.id, keep_s=self._keep_s)
        if len(positions) < STEP:
            await self._end(replay.id, "done")
            return False
        return True

    async def step_all(self) -> bool:
        """One step of every replay that runs; False when none could."""
        moved = False
        for stored in (await self._replays.all()).values():
            if stored.value.status == "running":
                moved = await self.step(stored.value) or moved
        return moved

    async def running(self) -> bool:
        """Whether any replay has more to queue."""
        return any(stored.value.status == "running" for stored in (await self._replays.all()).values())

    async def stop(self, replay_id: str) -> None:
        """Queue no more, and discard what it has queued and is still pending.

        Raises:
            NotFoundError: there is no such replay.
        """
        stored = await self._end(replay_id, "stopped")
        await self._replays.forget_todo(replay_id)
        subscription_id = stored.value.subscription_id
        start = 0
        while True:
            positions = await self._replays.queued(replay_id, start=start, limit=STEP)
            if not positions:
                return
            start += len(positions)
            events = await self._log.at(positions)
            await self._deliveries.retire(
                subscription_id,
                [
                    Retired(position, 0, _queue(event), event.brand or "", b"", f"stop:{replay_id}")
                    for position, event in zip(positions, events, strict=True)
                    if event is not None
                ],
            )

    async def _end(self, replay_id: str, status: Literal["done", "stopped"]) -> Stored[Replay]:
        def change(present: Replay) -> Write[Replay]:
            if present.status in ("stopped", status):  # what is all queued can be stopped: not all of it was sent
                return Write(present)
            return Write(replace(present, status=status, ended_at=rfc3339(self._now_ms())))

        return await self._replays.update(replay_id, change, name_of=lambda _: None)

    async def _rows(self, subscription: Subscription, positions: Sequence[int]) -> list[tuple[int, str, str]]:
        events = await self._log.at(positions)
        return [
            (position, "-", "") if event is None else (position, queue_for(subscription, event), event.brand or "")
            for position, event in zip(positions, events, strict=True)
        ]

    async def _select(self, subscription: Subscription, selection: Selection) -> list[int]:
        """Positions in order."""
        if selection.event_ids is not None:
            found = await self._log.positions_of(selection.event_ids)
            problems = [
                Problem(f"/event_ids/{index}", "no event of the log has this id")
                for index, position in enumerate(found)
                if position is None
            ]
            if problems:
                raise InvalidError(problems)
            positions = sorted({position for position in found if position is not None})
            return await self._matching(subscription, selection, positions)
        if selection.status is not None:
            return await self._matching(subscription, selection, await self._in_state(subscription, selection))
        router = Router([subscription.route])
        positions = []
        first: int | None = selection.first
        while first is not None and len(positions) <= MOST:
            stretch = await self._log.forward(Range(first, selection.last), limit=STEP)
            positions += [event.position for event in stretch.events if _wanted(router, selection, event)]
            first = stretch.next
        return positions

    async def _in_state(self, subscription: Subscription, selection: Selection) -> list[int]:
        if selection.status is State.DEAD:
            found = await self._deliveries.dead(subscription.id)
            return sorted(position for position in found if selection.first <= position <= selection.last)
        positions: list[int] = []
        after: Cursor | None = None
        while len(positions) <= MOST:
            # A delivery is never made before its event.
            page = await self._deliveries.newest(
                [subscription.id], limit=STEP, after=after, status=selection.status, since=selection.first
            )
            positions += [d.position for d in page.deliveries if selection.first <= d.position <= selection.last]
            after = page.next
            if after is None:
                break
        return sorted(set(positions))

    async def _matching(self, subscription: Subscription, selection: Selection, positions: Sequence[int]) -> list[int]:
        """Leave out what the subscription does not want, or what is in another state."""
        router = Router([subscription.route])
        kept: list[int] = []
        for start in range(0, len(positions), STEP):
            part = positions[start : start + STEP]
            known = await self._deliveries.many([(subscription.id, position) for position in part])
            for event, delivery in zip(await self._log.at(part), known, strict=True):
                if event is None or (delivery is None and not _wanted(router, selection, event)):
                    continue
                if selection.event_types is not None and not matches(selection.event_types, event.type):
                    continue
                if selection.status is None or (delivery is not None and delivery.record.state is selection.status):
                    kept.append(event.position)
        return kept


class Past:
    """Queues what a new subscription asked to be told of the past, then opens its lane."""

    def __init__(
        self,
        *,
        brands: BrandStore,
        snapshots: SnapshotStore,
        log: Log,
        deliveries: DeliveryStore,
        subscriptions: SubscriptionStore,
        venues_of: Callable[[str], Awaitable[Collection[int]]],
        position_of: Callable[[str], int],
    ) -> None:
        self._brands = brands
        self._snapshots = snapshots
        self._log = log
        self._deliveries = deliveries
        self._subscriptions = subscriptions
        self._venues_of = venues_of
        self._position_of = position_of

    async def open(self, subscription: Subscription) -> Stored[Subscription]:
        """Queue the past and open the lane; may be repeated after a crash: what is queued already stays.

        Raises:
            NotFoundError: it was deleted meanwhile.
        """
        if subscription.start == "open_orders":
            positions = await self._open_orders(subscription)
        elif subscription.start == "now":
            positions = []
        else:
            positions = await self._since(subscription, self._position_of(subscription.start))
        pulled = subscription.url is None
        positions = sorted(set(positions))
        for start in range(0, len(positions), STEP):
            await self._queue(subscription, positions[start : start + STEP])
        if pulled and positions:
            # What was committed meanwhile was listed before the past: list it once more, behind it, all at once.
            since = int(subscription.created_position) + 1
            await self._queue(subscription, await self._deliveries.listed(subscription.id, since, limit=MOST_LISTED))

        def opened(present: Subscription) -> Write[Subscription]:
            changed = replace(present, opening=False)
            return Write(changed, name=changed.name, gate=changed.gate)

        return await self._subscriptions.update(subscription.id, opened, name_of=name_of)

    async def _queue(self, subscription: Subscription, positions: Sequence[int]) -> None:
        pulled = subscription.url is None
        events = await self._log.at(positions)
        await self._deliveries.reopen(
            subscription.id,
            [
                (event.position, queue_for(subscription, event), event.brand or "")
                for event in events
                if event is not None
            ],
            pull_only=pulled,
            make=True,
            front=not pulled,
        )

    async def open_all(self) -> None:
        """Finish what a killed process began."""
        for stored in (await self._subscriptions.all()).values():
            if stored.value.opening:
                try:
                    await self.open(stored.value)
                except NotFoundError:
                    continue

    async def _since(self, subscription: Subscription, first: int) -> list[int]:
        router = Router([subscription.route])
        positions: list[int] = []
        following: int | None = first
        last = int(subscription.created_position)
        while following is not None:
            stretch = await self._log.forward(Range(following, last), limit=STEP)
            positions += [
                event.position
                for event in stretch.events
                if subscription.id in router.match(event.brand, event.venue_id, event.type)
            ]
            following = stretch.next
        return positions

    async def _open_orders(self, subscription: Subscription) -> list[int]:
        if not matches(subscription.event_types, "order.created"):
            return []
        positions: list[int] = []
        for brand in await self._brands.all():
            if subscription.brands is not None and brand not in subscription.brands:
                continue
            for venue_id in await self._venues_of(brand):
                if subscription.venues is None or venue_id in subscription.venues:
                    positions += await self._announce_open(subscription, Scope(brand, venue_id, Feed.ORDERS.value))
        return positions

    async def _announce_open(self, subscription: Subscription, scope: Scope) -> list[int]:
        positions: list[int] = []
        async for heads in self._snapshots.flagged(scope, OPEN):
            objects = await self._snapshots.objects(scope, list(heads))
            events = [
                (_draft_of(scope, order_id, head, known), head.sequence, None)
                for (order_id, head), known in zip(heads.items(), objects, strict=True)
                if known is not None and known.object["status"] not in ENDED
            ]
            if events:
                positions += await self._log.append_for(subscription.id, events)
        return positions


def _draft_of(scope: Scope, order_id: int, head: Head, known: Snapshot) -> Draft:
    change = compare(Feed.ORDERS, None, known.object)
    assert change is not None  # noqa: S101  (what was not there before is created)
    return draft(
        change,
        brand=scope.brand,
        venue_id=scope.venue_id,
        subject=Feed.ORDERS.subject(order_id),
        origin=Origin.BACKFILL.value,
        previous_id=head.event_id,
        raw=known.raw,
    )


def queue_for(subscription: Subscription, event: StoredEvent) -> str:
    """Name of the queue in which an event waits for a subscription."""
    queue = queue_of(event.brand, event.venue_id, event.subject)
    return f"{queue}#{event.position}" if subscription.ordering == "none" else queue


def _queue(event: StoredEvent) -> str:
    return queue_of(event.brand, event.venue_id, event.subject)


def _wanted(router: Router, selection: Selection, event: StoredEvent) -> bool:
    if selection.event_types is not None and not matches(selection.event_types, event.type):
        return False
    return bool(router.match(event.brand, event.venue_id, event.type))
