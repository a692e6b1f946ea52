"""How is one brand watched?  Which venue next, and when; two loops, one for orders, one for what may take its time."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from relay import logs
from relay.core.cadence import choose
from relay.core.errors import CorruptStateError
from relay.pipeline.failing import FAILING_AFTER, try_again
from relay.pipeline.looks import Looks
from relay.pipeline.notebook import Notebook
from relay.pipeline.poll_context import PollContext, access_of
from relay.pipeline.stop import Stop, end_if_cancelled
from relay.store.brands import Brand
from relay.store.connection import RedisError
from relay.store.documents import Stored
from relay.store.quota import Account, Granted, Purpose
from relay.store.venues import LEASE_MS, Claim, Noted

MOST_LOOKS_AT_ONCE: Final = 8
"""Of one brand. Fewer than the quota's share of commands: so many may arrive later than they were counted."""

RENEW_MS: Final = LEASE_MS // 4
CHECK_MS: Final = 60_000
"""Where one list covers all venues, how often each is looked at by itself all the same."""

GRACE_S: Final = 3.0
"""What is on its way when the watch ends may take that long; a page is committed whole or not at all."""

STARTED_MS: Final = 60_000
"""A process that meets a brand for the first time has it compared, unless it was just before."""

LEAVE_FROM_MS: Final = 5_000
"""A brand that cannot be looked at for longer is given back until then."""

_LONGEST_PAUSE_MS: Final = 1_000
_AFTER_REDIS_FAILED_MS: Final = 500


@dataclass(frozen=True, slots=True)
class Watched:
    """How a watch ended.

    Attributes:
        due_in_ms: when the brand is to be watched again; None: it is not.
        lost: another worker owns it by now.
        asked: somebody wants a look now, and has not got it.
    """

    due_in_ms: int | None = 0
    lost: bool = False
    asked: bool = False


class BrandWatch:
    """Watches one brand as long as its worker owns it."""

    def __init__(self, ctx: PollContext, claim: Claim, stop: Stop, *, now_ms: int) -> None:
        self._ctx = ctx
        self._claim = claim
        self._stop = stop
        self._began_ms = now_ms
        self._pokes = (asyncio.Event(), asyncio.Event())
        self._flying: set[asyncio.Task[None]] = set()
        self._end: Watched | None = None
        self._epoch: int | None = None
        self._asked = claim.asked
        self.looks = 0

    def poke(self) -> None:
        """Have both loops look whether something changed."""
        for event in self._pokes:
            event.set()

    def look_now(self) -> None:
        """Look at all venues as soon as may be."""
        self._asked = True
        self.poke()

    def leave(self, due_in_ms: int) -> None:
        """Give the brand back, to be watched again by then."""
        self._end = self._end or Watched(due_in_ms)
        self.poke()

    async def run(self) -> Watched:
        """Watch until stopped, until the brand is another's, or until there is nothing to do for a while."""
        stored = await self._ctx.brands.get(self._claim.brand)
        if stored is None or not stored.value.enabled:
            return Watched(None)
        found = await self._ctx.polls.found(self._claim.brand, generation=stored.value.generation)
        self._book = Notebook(self._ctx.polls, self._ctx.requests, self._claim, found, now_ms=self._began_ms)
        self._looks = Looks(self._ctx, self._claim, self._book)
        self._take(stored)
        loops = [asyncio.create_task(self._loop(0, self._poll)), asyncio.create_task(self._loop(1, self._rest))]
        try:
            await self._see_through(loops)
        finally:
            for task in (*loops, *self._flying):
                task.cancel()
            await asyncio.gather(*loops, *self._flying, return_exceptions=True)
            self.looks = self._looks.observer.count
        end = self._end or Watched()
        return end if end.lost else await self._give_back(end)

    async def _give_back(self, end: Watched) -> Watched:
        """Write down the last of it, with what is left undone; whoever asks for a look meanwhile is not forgotten."""
        told = self._looks.observer.take_note()
        try:
            noted = await self._book.write(venues=self._looks.errands.leave(self._book.found))
            if noted is None:
                return Watched(lost=True)
            told = noted.after(told)
            if told.went_back:
                self._looks.compare_again()
                self._looks.errands.leave(self._book.found)
                await self._book.write_all()
        except RedisError as error:
            logs.event("look not noted", level="warning", brand=self._claim.brand, exc=error)
        return replace(end, asked=self._asked or (told is not None and told.asked))

    async def _see_through(self, loops: list[asyncio.Task[None]]) -> None:
        """Wait until the watch is over; what is on its way then has a little time to get done, or is repeated."""
        while not self._over and not any(loop.done() for loop in loops):
            await asyncio.wait(loops, timeout=_LONGEST_PAUSE_MS / 1000, return_when=asyncio.FIRST_COMPLETED)
        self.poke()
        await asyncio.wait([*loops, *self._flying], timeout=GRACE_S)
        for loop in loops:
            if loop.done() and not loop.cancelled() and (error := loop.exception()) is not None:
                raise error

    def _take(self, stored: Stored[Brand]) -> None:
        """Go by a brand's document from now on."""
        try:
            self._looks.observer.access = access_of(stored, vault=self._ctx.vault, clopos_url=self._ctx.clopos_url)
        except CorruptStateError as error:
            self._looks.unusable(error)
            self._end = Watched(60_000)
            self._asked = False  # who asked is told why not; asked for again, it would be claimed again at once
        self._looks.use(stored.value)

    @property
    def _over(self) -> bool:
        return self._stop.asked or self._end is not None or self._looks.observer.lost

    async def _loop(self, number: int, step: Any) -> None:
        poke = self._pokes[number]
        while not self._over:
            poke.clear()
            try:
                if number == 0:
                    await self._keep()
                pause_ms = await step()
            except RedisError as error:
                end_if_cancelled(error)
                logs.event("poll interrupted", level="warning", brand=self._claim.brand, exc=error)
                pause_ms = _AFTER_REDIS_FAILED_MS
            if pause_ms > 0 and not self._over:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(pause_ms, _LONGEST_PAUSE_MS) / 1000):
                        await poke.wait()
        if self._looks.observer.lost:
            self._end = Watched(lost=True)
        self.poke()

    async def _keep(self) -> None:
        """Renew the lease when no look has done so, and hear what others want."""
        if self._asked:
            self._asked = False
            try:
                if await self._still_ours():
                    self._go_on()
            except RedisError:
                self._asked = True
                raise
        if self._book.now_ms() - self._book.noted_ms >= RENEW_MS:
            await self._noted(await self._book.write())
        await self._noted(self._looks.observer.take_note())

    async def _noted(self, noted: Noted | None) -> None:
        if noted is None:
            return
        changed = self._epoch is not None and noted.brands_epoch != self._epoch
        self._epoch = noted.brands_epoch
        if noted.first:
            # A process has just started: whatever ended the one before may have cost something.
            self._looks.compare_again(older_than_ms=STARTED_MS)
        if noted.went_back:
            logs.event("redis went back in time", level="warning", brand=self._claim.brand)
            self._looks.look_again()
            self._looks.compare_again()
            await self._book.write_all()
        if (changed or noted.asked) and await self._still_ours() and noted.asked:
            self._go_on()

    async def _still_ours(self) -> bool:
        """Go by the brand's document as it is now; False when there is nothing to watch any more."""
        stored = await self._ctx.brands.get(self._claim.brand)
        if stored is None or not stored.value.enabled:
            self._end = Watched(None)
            return False
        if stored.value.generation != self._book.brand.generation:
            self._end = Watched(0)
            return False
        changed = self._looks.brand != stored.value
        self._take(stored)
        if changed:
            self._go_on()
        return True

    def _go_on(self) -> None:
        try_again(self._book.brand, self._looks.feeds())
        for outlook in self._looks.outlooks.values():
            outlook.not_before_ms = 0
            outlook.last_ms = min(outlook.last_ms, self._book.now_ms() - self._ctx.interval_ms)
        self._looks.look_again()
        self.poke()

    def _held_ms(self, now_ms: int) -> int:
        """How long the whole brand waits; gives it back when that is long."""
        held_ms = self._book.brand.retry_ms - now_ms
        if held_ms > LEAVE_FROM_MS and not self._flying:
            self._end = Watched(held_ms)
        return held_ms

    async def _poll(self) -> int:
        """Begin one look at orders, if one may begin; milliseconds to wait otherwise."""
        now_ms = self._book.now_ms()
        if (held_ms := self._held_ms(now_ms)) > 0:
            return held_ms
        if self._looks.must_list:
            await self._looks.list_venues(Purpose.POLL)
            return 0
        probing = self._book.brand.failures >= FAILING_AFTER
        if len(self._flying) >= (1 if probing else MOST_LOOKS_AT_ONCE):
            await asyncio.wait(self._flying, timeout=_LONGEST_PAUSE_MS / 1000, return_when=asyncio.FIRST_COMPLETED)
            return 0
        venue_id, pause_ms = self._choose(now_ms)
        due_ms = self._looks.whole_due_ms(now_ms)
        if due_ms is not None:
            pause_ms = min(pause_ms, due_ms - now_ms)
        return pause_ms if venue_id is None and pause_ms > 0 else await self._begin()

    async def _begin(self) -> int:
        """Begin the look that is worth most, as soon as the quota lets it."""
        account = Account(self._looks.observer.access.integrator_id, self._claim.brand)
        asked = await self._ctx.quota.acquire(account, Purpose.POLL)
        if not isinstance(asked, Granted):
            if asked.wait_ms > LEAVE_FROM_MS and not self._flying:
                self._end = Watched(asked.wait_ms)
            return max(asked.wait_ms, 1)
        now_ms = self._book.now_ms()
        due_ms = self._looks.whole_due_ms(now_ms)
        if due_ms is not None and due_ms <= now_ms:
            self._looks.whole_looking = True
            self._fly(self._looks.whole(asked))
            return 0
        # What is worth most may have changed while the quota was asked.
        venue_id, _ = self._choose(self._book.now_ms())
        if venue_id is not None:
            self._looks.outlooks[venue_id].looking = True
            self._fly(self._looks.orders(venue_id, asked))
        return 0

    def _choose(self, now_ms: int) -> tuple[int | None, int]:
        if not self._looks.brand.poll_orders:
            return None, _LONGEST_PAUSE_MS
        whole = bool(self._book.brand.whole)
        choice = choose(
            self._looks.outlooks,
            self._book.found.habits,
            now_ms=now_ms,
            interval_ms=max(self._ctx.interval_ms, CHECK_MS) if whole else self._ctx.interval_ms,
            looks_per_s=self._ctx.quota.polls_per_s,
        )
        if choice.venue_id is None:
            return None, _LONGEST_PAUSE_MS
        return (choice.venue_id, 0) if choice.at_ms <= now_ms else (None, choice.at_ms - now_ms)

    def _fly(self, look: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(look)
        self._flying.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self.poke()

    async def _rest(self) -> int:
        """Do one thing that may take its time, if one is due; milliseconds to wait otherwise."""
        now_ms = self._book.now_ms()
        if self._book.brand.retry_ms > now_ms or self._looks.must_list:
            return _LONGEST_PAUSE_MS
        errand = self._looks.next_errand(now_ms)
        if errand is None or errand.due_ms > now_ms:
            return _LONGEST_PAUSE_MS if errand is None else errand.due_ms - now_ms
        account = Account(self._looks.observer.access.integrator_id, self._claim.brand)
        asked = await self._ctx.quota.acquire(account, Purpose.REST)
        if not isinstance(asked, Granted):
            return max(asked.wait_ms, 1)
        await self._looks.run(errand, asked)
        return 0
