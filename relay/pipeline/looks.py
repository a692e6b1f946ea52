"""What is looked at, and what becomes of what was found: a venue's orders, its stations, the list of venues."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from relay.clopos.feeds import ORDERS, STATIONS, VENUES
from relay.core.cadence import Outlook
from relay.core.errors import CorruptStateError
from relay.pipeline.errands import LIST_EVERY_MS, Chore, Errand, Errands, taken_with
from relay.pipeline.judge import Rules, moment
from relay.pipeline.lists import look_at_list
from relay.pipeline.look import (
    FIRST_PAGES,
    FIRST_PAGES_OF_BRAND,
    OVERLAP,
    Pass,
    look_at_latest,
    look_by_date,
    look_first,
)
from relay.pipeline.notebook import Notebook
from relay.pipeline.one_look import Observer, Target
from relay.pipeline.poll_context import PollContext
from relay.pipeline.reading import Reader, Tally
from relay.pipeline.reconcile import MISSING_AGAIN_MS, compare_recent, look_at_open
from relay.pipeline.whole import cover_all, see_venues, tells_all
from relay.store.brands import Brand
from relay.store.findings import FeedState, VenueState
from relay.store.quota import Granted, Purpose
from relay.store.snapshots import Scope
from relay.store.venues import Claim

GAP_MS: Final = 120_000
"""Whoever has not looked for that long compares everything recent, too."""

STILL_FOR_MS: Final = 86_400_000
"""After a change whose ``updated_at`` did not move, how long open orders are read with every look."""

MOST_AGAINS: Final = 3
"""Looks in a row that follow at once because something moved under them."""

SORT_AGAIN_MS: Final = 600_000
"""After rows came in another order than asked for, how long until that is tried again."""


class Looks:
    """Looks at one brand, and keeps what is known of its venues."""

    def __init__(self, ctx: PollContext, claim: Claim, book: Notebook) -> None:
        self._ctx = ctx
        self._claim = claim
        self._book = book
        self.observer = Observer(ctx, claim, book)
        self.brand: Brand
        self.outlooks: dict[int, Outlook] = {}
        self.errands = Errands(ctx.reconcile_ms)
        self.whole_looking = False
        self._whole_last_ms = 0
        self._agains: dict[int, int] = {}

    def use(self, brand: Brand) -> None:
        """Go by this document from now on."""
        self.brand = brand
        self._see_venues()
        now_ms = self._book.now_ms()
        if self._book.brand.whole:
            for _, orders in self._orders_states():
                orders.looked_ms = max(orders.looked_ms, self._book.brand.whole_orders.looked_ms)
        self.errands.hurry(
            Chore.COMPARE,
            (
                venue_id
                for venue_id, orders in self._orders_states()
                if orders.first_ms and now_ms - orders.looked_ms > GAP_MS
            ),
        )

    def unusable(self, error: CorruptStateError) -> None:
        """Take in that the brand's secret cannot be opened."""
        brand = self._book.brand
        brand.reason, brand.message = error.reason, f"{error.message[:1].upper()}{error.message[1:]}."
        brand.failing_ms = brand.failing_ms or self._book.now_ms()

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

    def _orders_states(self) -> Iterable[tuple[int, FeedState]]:
        return ((venue_id, self._book.found.venues[venue_id].orders) for venue_id in self.outlooks)

    def feeds(self) -> list[FeedState]:
        """Everything that has a state of its own."""
        venues = [self._book.found.venues[venue_id] for venue_id in self.outlooks]
        return [self._book.brand.listed, *(feed for venue in venues for feed in (venue.orders, venue.stations))]

    def look_again(self) -> None:
        """Have everything beside the orders looked at as soon as the quota lets it."""
        self.errands.hurry(Chore.LIST, [None])
        self.errands.hurry(Chore.STATIONS, self.outlooks)

    def compare_again(self, *, older_than_ms: int = 0) -> None:
        """Have all venues compared as soon as the quota lets it, but those compared later than so long ago."""
        before_ms = self._book.now_ms() - older_than_ms
        self.errands.hurry(
            Chore.COMPARE,
            (venue_id for venue_id, orders in self._orders_states() if orders.compared_ms <= before_ms),
        )

    @property
    def must_list(self) -> bool:
        """Whether no venue is known, and Clopos has not just been asked for them."""
        listed = self._book.brand.listed
        waits = max(listed.looked_ms + LIST_EVERY_MS // 6, listed.retry_ms)
        return self.brand.venues is None and not self._book.brand.venues and waits <= self._book.now_ms()

    def next_errand(self, now_ms: int) -> Errand | None:
        """What is due next beside the orders."""
        return self.errands.next(self.brand, self._book.found, self.outlooks, now_ms=now_ms)

    async def run(self, errand: Errand, grant: Granted) -> None:
        """Run one errand."""
        hurried = self.errands.begin(errand)
        if errand.venue_id is not None and errand.venue_id not in self.outlooks:
            return
        match errand.chore, errand.venue_id:
            case Chore.LIST, _:
                await self.list_venues(Purpose.REST, grant)
            case Chore.WHOLE, _:
                await self._probe(grant)
            case Chore.STATIONS, int(venue_id):
                await self._stations(venue_id, grant)
            case Chore.COMPARE, int(venue_id):
                compared = False
                try:
                    compared = await self._compare(venue_id, grant)
                finally:
                    if hurried and not compared:  # the reason for it stands, for whoever comes next, too
                        self.errands.hurry(Chore.COMPARE, [venue_id])

    async def orders(self, venue_id: int, grant: Granted) -> None:
        """Look at a venue's orders."""
        outlook, state = self.outlooks[venue_id], self._book.found.venues[venue_id]
        now_ms = self._book.now_ms()
        foreseen = {order_id: order.status for order_id, order in outlook.orders.items()}
        first = not state.orders.first_ms
        tally = Tally()

        async def look(reader: Reader) -> Pass:
            rules = self._rules(state.orders)
            if first:
                most = max(3, min(FIRST_PAGES, FIRST_PAGES_OF_BRAND // len(self.outlooks)))
                return await look_first(reader, state.orders, rules, tally=tally, now_ms=now_ms, most_pages=most)
            by_date = state.orders.unsorted_ms and now_ms - state.orders.unsorted_ms < SORT_AGAIN_MS
            read = look_by_date if by_date else look_at_latest
            done = await read(reader, state.orders, rules, tally=tally, now_ms=now_ms, grant=grant)
            if not by_date and not done.again:
                state.orders.unsorted_ms = 0
            if state.orders.still_ms and now_ms - state.orders.still_ms < STILL_FOR_MS:
                await look_at_open(reader, rules, tally=tally, open_ids=set(foreseen), state=state.orders)
            return done

        target = Target(source=ORDERS, venue_id=venue_id, state=state.orders, purpose=Purpose.POLL)
        try:
            done = await self.observer.take(target, tally, look, began_ms=now_ms)
        finally:
            outlook.looking = False
            outlook.last_ms = now_ms
        outlook.not_before_ms = state.orders.retry_ms
        if done is not None:
            state.orders.looked_ms = now_ms
            if first:
                state.orders.compared_ms, state.orders.taken_with = now_ms, taken_with(self.brand)
            elif self._book.brand.whole and tally.late:
                # A look at all venues should have seen this.
                self._book.brand.whole = False
            unforeseen = (
                0
                if first
                else sum(
                    not (kind.endswith("status_changed") and order_id in foreseen)
                    for order_id, kind, *_ in tally.events
                )
            )
            outlook.looked(
                self._book.found.habits,
                now_ms=now_ms,
                unforeseen=unforeseen,
                statuses={order_id: None for order_id in tally.closed if order_id in foreseen} | tally.statuses,
            )
            self._look_on(venue_id, done)
        await self._note_orders(venue_id, foreseen, now_ms)

    def _look_on(self, venue_id: int, done: Pass) -> None:
        """Look again at once where something moved under the look, and compare where it did not reach what is known."""
        self._agains[venue_id] = self._agains.get(venue_id, 0) + 1 if done.again else 0
        if 0 < self._agains[venue_id] <= MOST_AGAINS and venue_id in self.outlooks:
            self.outlooks[venue_id].last_ms = 0
        if done.deeper:
            self.errands.hurry(Chore.COMPARE, [venue_id])

    async def _note_orders(self, venue_id: int, before: dict[int, str], now_ms: int) -> None:
        outlook, state = self.outlooks.get(venue_id), self._book.found.venues[venue_id]
        changed = False
        if outlook is not None:
            state.rate, state.open_orders = outlook.rate, len(outlook.orders)
            state.next_ms = max(now_ms + self._ctx.interval_ms, state.orders.retry_ms)
            changed = {order_id: order.status for order_id, order in outlook.orders.items()} != before
            self._book.found.open_orders[venue_id] = outlook.orders
        await self.observer.note(venues=[venue_id], orders=[venue_id] if changed else [])

    async def whole(self, grant: Granted) -> None:
        """Look at the orders of all venues with one list."""
        state, now_ms = self._book.brand.whole_orders, self._book.now_ms()
        venues = self._book.found.venues
        before = {
            venue_id: {order_id: order.status for order_id, order in outlook.orders.items()}
            for venue_id, outlook in self.outlooks.items()
        }
        tally = Tally()

        async def look(reader: Reader) -> Pass:
            return await look_at_latest(reader, state, self._rules(state), tally=tally, now_ms=now_ms, grant=grant)

        memories = {venue_id: orders.memory_id for venue_id, orders in self._orders_states() if orders.first_ms}
        target = Target(source=ORDERS, venue_id=None, state=state, purpose=Purpose.POLL, memories=memories)
        try:
            done = await self.observer.take(target, tally, look, began_ms=now_ms)
        finally:
            self.whole_looking, self._whole_last_ms = False, now_ms
        if done is None:
            await self.observer.note()
            return
        cover_all({venue_id: venues[venue_id] for venue_id in memories}, tally, now_ms=now_ms)
        for venue_id, part in tally.venues.items():
            if venue_id in self.outlooks:
                closed = dict.fromkeys(part.closed & before[venue_id].keys())
                self.outlooks[venue_id].learn_of(closed | part.statuses, now_ms=now_ms)
                venues[venue_id].open_orders = len(self.outlooks[venue_id].orders)
                self._book.found.open_orders[venue_id] = self.outlooks[venue_id].orders
        if done.again and state.unsorted_ms:
            self._book.brand.whole = False
        state.looked_ms = now_ms
        await self.observer.note(
            venues=[venue_id for venue_id, part in tally.venues.items() if part.events or part.silent],
            orders=[
                venue_id
                for venue_id in tally.venues
                if venue_id in self.outlooks
                and {key: order.status for key, order in self.outlooks[venue_id].orders.items()} != before[venue_id]
            ],
        )

    def whole_due_ms(self, now_ms: int) -> int | None:
        """When all venues are to be looked at with one list; None when that cannot be."""
        if not self._book.brand.whole or self.whole_looking or not self.brand.poll_orders:
            return None
        if any(not orders.first_ms for _, orders in self._orders_states()):
            return None
        return max(self._whole_last_ms + self._ctx.interval_ms, self._book.brand.whole_orders.retry_ms, now_ms)

    async def _probe(self, grant: Granted) -> None:
        """Find out whether a list without a venue covers all of them."""
        brand, now_ms = self._book.brand, self._book.now_ms()
        tally = Tally()
        told: list[bool | None] = []

        async def look(reader: Reader) -> Pass:
            seen = await see_venues(reader, brand.whole_orders, grant=grant)
            told.append(tells_all(seen, dict(self._orders_states())))
            return Pass()

        target = Target(source=ORDERS, venue_id=None, state=brand.whole_orders, purpose=Purpose.REST, memories={})
        done = await self.observer.take(target, tally, look, began_ms=now_ms)
        if done is not None:
            brand.whole, brand.whole_ms = told[0], now_ms
        await self.observer.note()

    async def list_venues(self, purpose: Purpose, grant: Granted | None = None) -> None:
        """Read which venues there are; new ones join by themselves when the brand names none."""
        listed, now_ms = self._book.brand.listed, self._book.now_ms()
        tally = Tally()
        target = Target(source=VENUES, venue_id=None, state=listed, purpose=purpose)
        rules = self._rules(listed)
        if await look_at_list(self.observer, target, rules, tally=tally, grant=grant, now_ms=now_ms):
            things = await self._ctx.snapshots.all_objects(Scope(self._claim.brand, None, VENUES.feed.value))
            self._book.brand.venues = {
                venue_id: things[venue_id].object.get("name") for venue_id in sorted(tally.ids & things.keys())
            }
            self._see_venues()
        await self.observer.note()

    async def _stations(self, venue_id: int, grant: Granted) -> None:
        state = self._book.found.venues[venue_id].stations
        target = Target(source=STATIONS, venue_id=venue_id, state=state, purpose=Purpose.REST)
        now_ms = self._book.now_ms()
        await look_at_list(self.observer, target, self._rules(state), tally=Tally(), grant=grant, now_ms=now_ms)
        await self.observer.note(venues=[venue_id])

    async def _compare(self, venue_id: int, grant: Granted) -> bool:
        """Compare a venue's recent orders with Clopos'; False when that failed."""
        outlook, orders = self.outlooks[venue_id], self._book.found.venues[venue_id].orders
        before = {order_id: order.status for order_id, order in outlook.orders.items()}
        now_ms = self._book.now_ms()
        gap = timedelta(milliseconds=max(0, now_ms - max(orders.compared_ms, orders.looked_ms)))
        rules = replace(self._rules(orders), retake=orders.taken_with != taken_with(self.brand))
        tally = Tally()

        async def look(reader: Reader) -> Pass:
            await compare_recent(reader, orders, rules, tally=tally, gap=gap, grant=grant)
            return Pass()

        target = Target(source=ORDERS, venue_id=venue_id, state=orders, purpose=Purpose.REST)
        done = await self.observer.take(target, tally, look, began_ms=now_ms)
        self._ctx.requests.count(f"poll_reconcile_found|{self._claim.brand}", tally.late)
        if done is not None:
            orders.taken_with, orders.compared_ms = taken_with(self.brand), now_ms
            if orders.missing:
                # What is missing is looked for again soon.
                orders.compared_ms = min(now_ms, now_ms + MISSING_AGAIN_MS - self._ctx.reconcile_ms)
            closed = dict.fromkeys(tally.closed & outlook.orders.keys())
            outlook.learn_of(closed | tally.statuses, now_ms=now_ms)
        await self._note_orders(venue_id, before, max(now_ms, orders.looked_ms))
        return done is not None

    def _rules(self, state: FeedState) -> Rules:
        of_list = state is self._book.brand.listed
        only = None if self.brand.venues is None else frozenset(self.brand.venues)
        mark = moment(self._book.brand.whole_orders.mark) if self._book.brand.whole else None
        return Rules(
            currency=self.brand.currency,
            memory_id=state.memory_id,
            announce_since=moment(self.brand.backfill),
            only=only if of_list else None,
            silent=of_list and not self.brand.poll_venues,
            late_before=None if mark is None or state is self._book.brand.whole_orders else mark - OVERLAP,
        )
