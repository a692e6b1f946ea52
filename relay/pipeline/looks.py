"""What happens in one look, from asking to the note: at orders, at stations, at which venues there are."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from redis.exceptions import RedisError

from relay import logs
from relay.clopos.api import Access
from relay.clopos.feeds import ORDERS, STATIONS, VENUES, FeedSource
from relay.core.cadence import OpenOrder, Outlook
from relay.core.errors import CloposError, CorruptStateError, StaleError
from relay.core.normalize import NORMALIZER_VERSION
from relay.core.operational import brand_failing, brand_recovered, brand_subject
from relay.pipeline.commit import OperationalEvent
from relay.pipeline.failing import Turn, failed, went_well
from relay.pipeline.judge import Rules, moment
from relay.pipeline.look import (
    FIRST_PAGES,
    FIRST_PAGES_OF_BRAND,
    Pass,
    look_at_all,
    look_at_latest,
    look_by_date,
    look_first,
)
from relay.pipeline.notebook import Notebook
from relay.pipeline.poll_context import PollContext
from relay.pipeline.reading import Reader, Tally
from relay.store.brands import Brand
from relay.store.quota import Granted, Purpose
from relay.store.snapshots import Scope
from relay.store.venues import Claim, FeedState, Noted, VenueState

LIST_EVERY_MS: Final = 180_000
STATIONS_EVERY_MS: Final = 60_000
SORT_AGAIN_MS: Final = 600_000
"""After rows came in another order than asked for, how long until that is tried again."""


class Chore(StrEnum):
    """What a brand's worker does beside looking at orders."""

    LIST = "venues"
    STATIONS = "stations"
    COMPARE = "compare"


@dataclass(frozen=True, slots=True)
class Errand:
    """One chore, when it is due, and how often it returns."""

    chore: Chore
    venue_id: int | None
    due_ms: int
    every_ms: int


class Looks:
    """Takes the looks of one brand, and writes down what they found."""

    def __init__(self, ctx: PollContext, claim: Claim, book: Notebook) -> None:
        self._ctx = ctx
        self._claim = claim
        self._book = book
        self.access: Access
        self.brand: Brand
        self.outlooks: dict[int, Outlook] = {}
        self.lost = False
        self.last_note: Noted | None = None
        self.count = 0
        self._at_once: set[tuple[Chore, int | None]] = set()

    def use(self, brand: Brand) -> None:
        """Go by this document from now on."""
        self.brand = brand
        self._see_venues()

    def _see_venues(self) -> None:
        known = self._book.brand.venues
        ids = list(known) if self.brand.venues is None else list(self.brand.venues)
        found = self._book.found
        for venue_id in ids:
            state = found.venues.setdefault(venue_id, VenueState())
            if venue_id not in self.outlooks:
                self.outlooks[venue_id] = Outlook(
                    last_ms=state.orders.looked_ms,
                    not_before_ms=state.orders.retry_ms,
                    rate=state.rate,
                    orders=dict(found.open_orders.get(venue_id, {})),
                )
        for venue_id in set(self.outlooks) - set(ids):
            del self.outlooks[venue_id]

    def feeds(self) -> list[FeedState]:
        """Everything that has a state of its own."""
        venues = [self._book.found.venues[venue_id] for venue_id in self.outlooks]
        return [self._book.brand.listed, *(feed for venue in venues for feed in (venue.orders, venue.stations))]

    @property
    def must_list(self) -> bool:
        """Whether no venue is known, and Clopos has not just been asked for them."""
        listed = self._book.brand.listed
        waits = max(listed.looked_ms + LIST_EVERY_MS // 6, listed.retry_ms)
        return self.brand.venues is None and not self._book.brand.venues and waits <= self._book.now_ms()

    async def orders(self, venue_id: int, grant: Granted) -> None:
        """Look at a venue's orders."""
        outlook, state = self.outlooks[venue_id], self._book.found.venues[venue_id]
        now_ms = self._book.now_ms()
        foreseen = {order_id: order.status for order_id, order in outlook.orders.items()}

        async def look(reader: Reader, tally: Tally) -> Pass:
            rules = self._rules(state.orders)
            if not state.orders.first_ms:
                most = max(3, min(FIRST_PAGES, FIRST_PAGES_OF_BRAND // len(self.outlooks)))
                return await look_first(reader, state.orders, rules, tally=tally, now_ms=now_ms, most_pages=most)
            by_date = state.orders.unsorted_ms and now_ms - state.orders.unsorted_ms < SORT_AGAIN_MS
            read = look_by_date if by_date else look_at_latest
            done = await read(reader, state.orders, rules, tally=tally, now_ms=now_ms, grant=grant)
            if not by_date and not done.again:
                state.orders.unsorted_ms = 0
            return done

        tally = Tally()
        try:
            done = await self._look(ORDERS, venue_id, state.orders, tally, look, purpose=Purpose.POLL, began_ms=now_ms)
        finally:
            outlook.looking = False
            outlook.last_ms = now_ms
        outlook.not_before_ms = state.orders.retry_ms
        if done is not None:
            unforeseen = [
                event for event in tally.events if not (event[1].endswith("status_changed") and event[0] in foreseen)
            ]
            statuses = {order_id: None for order_id in tally.closed if order_id in foreseen} | tally.statuses
            outlook.looked(self._book.found.habits, now_ms=now_ms, unforeseen=len(unforeseen), statuses=statuses)
            if done.again:
                outlook.last_ms = 0
            if done.deeper:
                self._at_once.add((Chore.COMPARE, venue_id))
        state.rate, state.open_orders = outlook.rate, len(outlook.orders)
        state.next_ms = max(now_ms + self._ctx.interval_ms, state.orders.retry_ms)
        changed = {order_id: order.status for order_id, order in outlook.orders.items()} != foreseen
        if changed:
            self._book.found.open_orders[venue_id] = outlook.orders
        await self._note(venues=[venue_id], orders=[venue_id] if changed else [])

    async def list_venues(self, purpose: Purpose, grant: Granted | None = None) -> None:
        """Read which venues there are; new ones join by themselves when the brand names none."""
        listed = self._book.brand.listed
        now_ms = self._book.now_ms()
        tally = Tally()

        async def look(reader: Reader, tally: Tally) -> Pass:
            return await look_at_all(reader, listed, self._rules(listed), tally=tally, now_ms=now_ms, grant=grant)

        done = await self._look(VENUES, None, listed, tally, look, purpose=purpose, began_ms=now_ms)
        if done is not None:
            things = await self._ctx.snapshots.all_objects(Scope(self._claim.brand, None, VENUES.feed.value))
            self._book.brand.venues = {
                venue_id: things[venue_id].object.get("name") for venue_id in sorted(tally.ids & things.keys())
            }
            self._see_venues()
        await self._note()

    async def _stations(self, venue_id: int, grant: Granted) -> None:
        state = self._book.found.venues[venue_id]
        now_ms = self._book.now_ms()

        async def look(reader: Reader, tally: Tally) -> Pass:
            rules = self._rules(state.stations)
            return await look_at_all(reader, state.stations, rules, tally=tally, now_ms=now_ms, grant=grant)

        await self._look(STATIONS, venue_id, state.stations, Tally(), look, purpose=Purpose.REST, began_ms=now_ms)
        await self._note(venues=[venue_id])

    def next_errand(self, now_ms: int) -> Errand | None:
        """What is due next beside the orders; what is overdue most, for its kind, comes first."""
        errands = list(self._errands())
        if not errands:
            return None
        due = [errand for errand in errands if errand.due_ms <= now_ms]
        if due:
            return max(due, key=lambda errand: (now_ms - errand.due_ms) / errand.every_ms)
        return min(errands, key=lambda errand: errand.due_ms)

    def _errands(self) -> list[Errand]:
        brand = self._book.brand
        errands = []
        if self.brand.poll_venues or self.brand.venues is None:
            errands.append(self._errand(Chore.LIST, None, brand.listed, LIST_EVERY_MS))
        if self.brand.poll_stations:
            errands += [
                self._errand(Chore.STATIONS, venue_id, self._book.found.venues[venue_id].stations, STATIONS_EVERY_MS)
                for venue_id in self.outlooks
            ]
        return errands

    def _errand(self, chore: Chore, venue_id: int | None, state: FeedState, every_ms: int) -> Errand:
        due_ms = 0 if (chore, venue_id) in self._at_once else state.looked_ms + every_ms
        return Errand(chore, venue_id, max(due_ms, state.retry_ms), every_ms)

    def rest_now(self) -> None:
        """Have every chore done as soon as the quota lets it."""
        self._at_once |= {(errand.chore, errand.venue_id) for errand in self._errands()}

    async def run(self, errand: Errand, grant: Granted) -> None:
        """Run one errand."""
        self._at_once.discard((errand.chore, errand.venue_id))
        if errand.chore is Chore.LIST:
            await self.list_venues(Purpose.REST, grant)
        elif errand.chore is Chore.STATIONS and errand.venue_id is not None:
            await self._stations(errand.venue_id, grant)

    async def _look(
        self,
        source: FeedSource,
        venue_id: int | None,
        state: FeedState,
        tally: Tally,
        look: Callable[[Reader, Tally], Awaitable[Pass]],
        *,
        purpose: Purpose,
        began_ms: int,
    ) -> Pass | None:
        """Take one look and take in how it ended; None when it failed. Nothing but a lost brand goes further."""
        self.count += 1
        scope = Scope(self._claim.brand, venue_id, source.feed.value)
        reader = Reader(
            client=self._ctx.client,
            snapshots=self._ctx.snapshots,
            committer=self._ctx.committer,
            commands=self._ctx.commands,
            access=self.access,
            source=source,
            scope=scope,
            fence=self._claim.fence,
            origin="poll",
            purpose=purpose,
        )
        error: CloposError | None = None
        try:
            done = await look(reader, tally)
        except StaleError:
            self.lost = True
            return None
        except CloposError as failure:
            error = failure
            turn = failed(self._book.brand, state, failure, now_ms=self._book.now_ms(), draw=self._ctx.draw())
        except RedisError as failure:
            logs.event("look not committed", level="warning", brand=scope.brand, venue_id=venue_id, exc=failure)
            state.retry_ms = self._book.now_ms() + 1_000
            return None
        except Exception as failure:  # noqa: BLE001  the outer edge of one venue
            logs.event("look failed", level="error", brand=scope.brand, venue_id=venue_id, feed=scope.feed, exc=failure)
            state.retry_ms = self._book.now_ms() + 30_000
            return None
        else:
            turn = went_well(self._book.brand, state)
            state.looked_ms = began_ms
            state.still = state.still or tally.silent_changes > 0
            state.strangers = tally.strangers > 0
            if tally.events:
                state.changed_ms = began_ms
        self._take_in(scope, tally)
        self._log(scope, tally, error, began_ms)
        if turn is not None:
            await self._tell(turn)
        return None if error is not None else done

    def _take_in(self, scope: Scope, tally: Tally) -> None:
        fresh = self._book.set_aside(scope.feed, scope.venue_id, tally.bad)
        self._book.readable(scope.feed, scope.venue_id, tally.ids - {row.id for row in tally.bad})
        self._ctx.requests.count(f"poll_rows_set_aside|{scope.brand}|{scope.feed}", fresh)
        self._ctx.requests.count(f"poll_conflicts|{scope.brand}|{scope.feed}", tally.conflicts)

    def _log(self, scope: Scope, tally: Tally, error: CloposError | None, began_ms: int) -> None:
        quiet = error is None and not (tally.events or tally.silent or tally.conflicts or tally.bad)
        logs.event(
            "poll",
            level="debug" if quiet else "info" if error is None else "warning",
            brand=scope.brand,
            venue_id=scope.venue_id,
            feed=scope.feed,
            outcome="ok" if error is None else error.reason,
            requests=tally.requests,
            rows=tally.rows,
            known=tally.known,
            events=len(tally.events),
            silent=tally.silent,
            conflicts=tally.conflicts,
            set_aside=len(tally.bad),
            duration_ms=self._book.now_ms() - began_ms,
        )

    async def _tell(self, turn: Turn) -> None:
        change = (brand_failing if turn.failing else brand_recovered)(error=turn.error, since_ms=turn.since_ms)
        brand = self._claim.brand
        logs.event(change.type, level="error" if turn.failing else "info", brand=brand, error=turn.error)
        await self._ctx.committer.operational(
            OperationalEvent(
                type=change.type,
                subject=brand_subject(brand),
                brand=brand,
                data=change.data,
                nonce=f"{turn.failing}/{turn.since_ms}",
            )
        )

    def unusable(self, error: CorruptStateError) -> None:
        """The brand's secret cannot be opened."""
        brand = self._book.brand
        brand.reason, brand.message = error.reason, f"{error.message[:1].upper()}{error.message[1:]}."
        brand.failing_ms = brand.failing_ms or self._book.now_ms()

    def _rules(self, state: FeedState) -> Rules:
        since = moment(self.brand.backfill)
        only = None if self.brand.venues is None else frozenset(self.brand.venues)
        return Rules(
            currency=self.brand.currency,
            memory_id=state.memory_id,
            announce_since=since,
            only=only if state is self._book.brand.listed else None,
            silent=state is self._book.brand.listed and not self.brand.poll_venues,
        )

    async def _note(self, *, venues: list[int] | None = None, orders: list[int] | None = None) -> None:
        if self.lost:
            return
        try:
            noted = await self._book.write(venues=venues or [], orders=orders or [])
        except RedisError as error:
            logs.event("look not noted", level="warning", brand=self._claim.brand, exc=error)
            return
        if noted is None:
            self.lost = True
        else:
            self.last_note = noted


def taken_with(brand: Brand) -> str:
    """What snapshots are made with beside their rows; another text, and they are to be made anew."""
    return f"{NORMALIZER_VERSION}|{brand.currency or ''}"


__all__ = ["Chore", "Errand", "Looks", "OpenOrder", "taken_with"]
