"""What surrounds every look, whatever is looked at?  How it ended is taken in, logged, told, and written down.

A brand whose last owners all died is looked at with care: for some minutes one look at a time, each written down
before it begins. One that ends worker after worker is set aside for a while: it would end the looks at all brands.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from relay import logs
from relay.clopos.api import Access
from relay.clopos.feeds import FeedSource
from relay.core.errors import CloposError, DeadlyError, HeldBackError, StaleError
from relay.core.operational import brand_failing, brand_recovered, brand_subject
from relay.pipeline.commit import OperationalEvent
from relay.pipeline.failing import Turn, brand_is_well, failed, feed_is_well
from relay.pipeline.look import Pass
from relay.pipeline.notebook import Notebook
from relay.pipeline.poll_context import PollContext
from relay.pipeline.reading import Reader, Tally
from relay.store.connection import RedisError
from relay.store.findings import FeedState
from relay.store.quota import Purpose
from relay.store.snapshots import Scope
from relay.store.venues import Claim, Noted

AFTER_REDIS_FAILED_MS = 1_000
AFTER_OUR_FAULT_MS = 30_000
EVENTS_NAMED = 50
"""So many events a line of the log names; the log of events has them all."""
CAREFUL_AFTER = 2
"""Owners in a row that died: from then on the next one takes care, at first."""
CAREFUL_FOR_MS = 300_000
DEADLY_AFTER = 3
"""Times in a row that a look was begun with care, and its worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is looked at.

    Attributes:
        venue_id: None for what belongs to the whole brand.
        state: of that feed there; how the look ended is kept in it.
        purpose: whose share of the quota the look uses.
        memories: for a list of all venues at once: the highest id of each venue's first look.
    """

    source: FeedSource
    venue_id: int | None
    state: FeedState
    purpose: Purpose
    memories: Mapping[int, int] | None = None


class Observer:
    """Takes one look after the other at one brand, for the worker that owns it."""

    def __init__(self, ctx: PollContext, claim: Claim, book: Notebook) -> None:
        self._ctx = ctx
        self._claim = claim
        self._book = book
        self.access: Access
        self.lost = False
        self._last_note: Noted | None = None
        self.count = 0
        self._begun_when_failed: dict[int, int] = {}
        """Looks that had begun when a feed failed last (by its state's identity), or the brand began to (0)."""
        self._careful = asyncio.Lock()
        self._careful_until_ms = book.now_ms() + CAREFUL_FOR_MS if claim.died >= CAREFUL_AFTER else 0

    async def take(
        self, target: Target, tally: Tally, look: Callable[[Reader], Awaitable[Pass]], *, began_ms: int
    ) -> Pass | None:
        """Take one look.

        Args:
            target: what is looked at.
            tally: what the look will have brought.
            look: reads it.
            began_ms: Redis' clock.

        Returns:
            How it ended; None when it failed, which is taken in: nothing goes further from here.
        """
        if self._book.now_ms() >= self._careful_until_ms:
            return await self._take(target, tally, look, began_ms=began_ms)
        async with self._careful:
            return await self._take(target, tally, self._with_care(target, look), began_ms=began_ms)

    def _with_care(
        self, target: Target, look: Callable[[Reader], Awaitable[Pass]]
    ) -> Callable[[Reader], Awaitable[Pass]]:
        """Have a look leave a trace while it is taken, and not be taken that has ended worker after worker."""
        feed, venue_id, state = target.source.feed.value, target.venue_id, target.state

        async def carefully(reader: Reader) -> Pass:
            wait_ms = state.retry_ms - self._book.now_ms()
            if state.reason == DeadlyError.default_reason and wait_ms > 0:
                raise HeldBackError("It was set aside while this look waited.", reason="stale", wait_s=wait_ms / 1000)
            deadly = self._book.begun(feed, venue_id) >= DEADLY_AFTER
            try:
                if deadly:
                    raise DeadlyError(f"{DEADLY_AFTER} workers in a row have died of reading this.")
                self._heed(await self._book.begin(feed, venue_id))
                return await look(reader)
            finally:
                self._book.ended(feed, venue_id)

        return carefully

    async def _take(
        self, target: Target, tally: Tally, look: Callable[[Reader], Awaitable[Pass]], *, began_ms: int
    ) -> Pass | None:
        self.count += 1
        number, state = self.count, target.state
        error: CloposError | None = None
        done: Pass | None = None
        turn: Turn | None = None
        try:
            done = await look(self._reader(target))
        except StaleError:
            self.lost = True
            return None
        except CloposError as failure:
            error = failure
            turn = failed(self._book.brand, state, failure, now_ms=self._book.now_ms(), draw=self._ctx.draw())
            self._begun_when_failed[id(state)] = self.count
            if turn is not None:
                self._begun_when_failed[0] = self.count
        except RedisError as failure:
            state.retry_ms = self._book.now_ms() + AFTER_REDIS_FAILED_MS
            self._complain("look not committed", "warning", target, tally, failure)
            return None
        except Exception as failure:  # noqa: BLE001  the outer edge of one venue
            state.retry_ms = self._book.now_ms() + AFTER_OUR_FAULT_MS
            self._complain("look failed", "error", target, tally, failure)
            return None
        else:
            turn = self._went_well(state, number)
            if tally.events:
                state.changed_ms = began_ms
            state.still_ms = began_ms if tally.silent_changes else state.still_ms
            state.strangers = tally.strangers > 0
        self._take_in(target, tally)
        self._log(target, tally, error, began_ms)
        if turn is not None:
            await self._tell(turn)
        return done

    def _went_well(self, state: FeedState, number: int) -> Turn | None:
        """Take in a success; one that had begun before something failed does not say that this is over."""
        if number > self._begun_when_failed.get(id(state), 0):
            feed_is_well(state)
        return brand_is_well(self._book.brand) if number > self._begun_when_failed.get(0, 0) else None

    def _reader(self, target: Target) -> Reader:
        return Reader(
            client=self._ctx.client,
            snapshots=self._ctx.snapshots,
            committer=self._ctx.committer,
            commands=self._ctx.commands,
            access=self.access,
            source=target.source,
            scope=Scope(self._claim.brand, target.venue_id, target.source.feed.value),
            fence=self._claim.fence,
            origin="poll",
            purpose=target.purpose,
            memories=target.memories,
        )

    def _complain(self, event: str, level: logs.Level, target: Target, tally: Tally, failure: Exception) -> None:
        logs.event(
            event,
            level=level,
            brand=self._claim.brand,
            venue_id=target.venue_id,
            feed=target.source.feed.value,
            event_ids=_event_ids(tally),
            exc=failure,
        )

    def _take_in(self, target: Target, tally: Tally) -> None:
        feed, brand = target.source.feed.value, self._claim.brand
        fresh = 0
        parts: list[tuple[int | None, Tally]] = [*tally.venues.items()] or [(target.venue_id, tally)]
        for venue_id, part in parts:
            fresh += self._book.set_aside(feed, venue_id, part.bad)
            self._book.readable(feed, venue_id, part.ids - {row.id for row in part.bad})
        self._ctx.requests.count(f"poll_rows_set_aside|{brand}|{feed}", fresh)
        self._ctx.requests.count(f"poll_conflicts|{brand}|{feed}", tally.conflicts)

    def _log(self, target: Target, tally: Tally, error: CloposError | None, began_ms: int) -> None:
        quiet = error is None and not (tally.events or tally.silent or tally.conflicts or tally.bad or tally.corrupt)
        logs.event(
            "poll",
            level="debug" if quiet else "info" if error is None else "warning",
            brand=self._claim.brand,
            venue_id=target.venue_id,
            feed=target.source.feed.value,
            outcome="ok" if error is None else error.reason,
            requests=tally.requests,
            rows=tally.rows,
            known=tally.known,
            events=len(tally.events),
            event_ids=_event_ids(tally),
            silent=tally.silent,
            conflicts=tally.conflicts,
            set_aside=len(tally.bad),
            corrupt=sorted(tally.corrupt)[:10],
            duration_ms=self._book.now_ms() - began_ms,
        )

    async def _tell(self, turn: Turn) -> None:
        change = (brand_failing if turn.failing else brand_recovered)(error=turn.error, since_ms=turn.since_ms)
        brand = self._claim.brand
        logs.event(change.type, level="error" if turn.failing else "info", brand=brand, error=turn.error)
        try:
            await self._ctx.committer.operational(
                OperationalEvent(
                    type=change.type,
                    subject=brand_subject(brand),
                    brand=brand,
                    data=change.data,
                    nonce=f"{turn.failing}/{turn.since_ms}",
                )
            )
        except RedisError as error:
            logs.event("brand's turn not told", level="warning", brand=brand, exc=error)

    async def note(self, *, venues: Iterable[int] = (), orders: Iterable[int] = ()) -> None:
        """Write down what has changed: the state of these venues, the open orders of those."""
        if self.lost:
            return
        try:
            noted = await self._book.write(venues=venues, orders=orders)
        except RedisError as error:
            logs.event("look not noted", level="warning", brand=self._claim.brand, exc=error)
            return
        self._heed(noted)

    def _heed(self, noted: Noted | None) -> None:
        if noted is None:
            self.lost = True
        else:
            self._last_note = noted.after(self._last_note)

    def take_note(self) -> Noted | None:
        """Hand over what was told since the last call, when looks were written down."""
        noted, self._last_note = self._last_note, None
        return noted


def _event_ids(tally: Tally) -> list[str]:
    """Of the events that a look has committed, also where it failed afterwards."""
    return [event_id for _, _, event_id, _, _ in tally.events[:EVENTS_NAMED]]
