"""How do events reach partners?  One shift owns lanes that are due, sends their heads at once, and settles.

All that a shift asks of Redis goes in *turns*: what ended is settled, what may begin is taken, what is due is claimed,
leases are renewed or given back, in one round trip for all lanes together. Between turns it only waits: for an attempt
to end, for a wake, for the next time something is due.
"""

import asyncio
from typing import Final

from relay import logs
from relay.pipeline.ahead import AHEAD_S
from relay.pipeline.deliver_context import LINGER_S, DeliverContext
from relay.pipeline.in_hand import InHand
from relay.pipeline.lane_book import LaneBook, RedisClock
from relay.pipeline.stop import ShiftReport, Stop, end_if_cancelled
from relay.pipeline.turns import SWEEP_S, Turns
from relay.store import keys
from relay.store.connection import RedisError

__all__ = ["DeliverContext", "deliver_shift"]

BACKOFF_S: Final = 0.5
NAMES_MOST: Final = 1000
EASE_S: Final = 5.0
"""So long after its time is up a shift waits for a moment in which nothing is under way, unless it is told to stop."""


async def deliver_shift(ctx: DeliverContext, *, owner: str, stop: Stop, concurrency: int) -> ShiftReport:
    """Deliver until nothing is due and nothing in flight, or until stopped.

    Args:
        owner: name of this worker, unique among all.
        concurrency: attempts at once in this process.
    """
    return await _Shift(ctx, owner, stop, concurrency).run()


class _Shift:
    def __init__(self, ctx: DeliverContext, owner: str, stop: Stop, places: int) -> None:
        self._ctx = ctx
        self._owner = owner
        self._stop = stop
        self._now_s = asyncio.get_running_loop().time
        self._turn_due = asyncio.Event()
        self._book = LaneBook(RedisClock(self._now_s))
        self._hand = InHand(
            ctx, places=places, now_ms=self._book.clock.now_ms, turn_due=self._turn_due, moved=self._book.moved
        )
        self._turns = Turns(ctx, self._book, self._hand, owner=owner)
        self._idle_since_s: float | None = None
        self._eased_s: float | None = None

    async def run(self) -> ShiftReport:
        listener = asyncio.create_task(self._listen())
        try:
            while await self._go_on():
                pass
            await self._turns.end()
        finally:
            listener.cancel()
            await self._hand.cut_off()
            await self._turns.leave()
            await asyncio.gather(listener, return_exceptions=True)
        return ShiftReport(self._turns.settled, self._turns.next_due_ms)

    async def _go_on(self) -> bool:
        """Take a turn, and wait where it brought nothing; False when the shift has ended."""
        self._turn_due.clear()
        self._look_at_stop()
        closing = self._book.closing
        self._hand.give_up_late(closing=closing)
        try:
            worked = await self._turns.take_one(0 if closing else self._hand.demand())
        except RedisError as error:
            end_if_cancelled(error)
            logs.event("deliver turn failed", level="warning", exc=error, lanes=len(self._book.lanes))
            if closing and self._hand.empty:
                return False
            await asyncio.sleep(BACKOFF_S)
            return True
        if worked:
            self._idle_since_s = None
            return True
        if not self._book.lanes and self._hand.empty:
            now_s = self._now_s()
            self._idle_since_s = self._idle_since_s or now_s
            if closing or now_s - self._idle_since_s >= self._ctx.linger_s:
                return False
        await self._wait()
        return True

    def _look_at_stop(self) -> None:
        """Stop at once when told to; when the time is up, at a good moment: nobody shall wait for the slowest."""
        if self._book.closing or not self._stop.asked:
            return
        now_s = self._now_s()
        self._eased_s = self._eased_s or now_s
        if self._stop.told or self._hand.empty or now_s - self._eased_s >= EASE_S:
            self._book.close()

    async def _wait(self) -> None:
        """Wait for something to happen, no longer than until it is time to look again."""
        try:
            async with asyncio.timeout(self._patience_s()):
                await self._turn_due.wait()
        except TimeoutError:
            pass

    def _patience_s(self) -> float:
        now_ms = self._book.clock.now_ms()
        waits = [SWEEP_S]
        if self._idle_since_s is not None:
            waits = [self._idle_since_s + self._ctx.linger_s - self._now_s()]
        # Where there is no room, an attempt that ends makes some: what is due can wait for that.
        due_ms = self._turns.next_due_ms if self._hand.room() > 0 else None
        if self._hand.has_ahead:
            waits.append(AHEAD_S)
        waits += [(at_ms - now_ms) / 1000 for at_ms in (due_ms, self._book.next_timer_ms) if at_ms is not None]
        return max(0.001, min(waits))

    async def _listen(self) -> None:
        """Wait for wakes: of lanes that are ours by name, of lanes that are nobody's by any word."""
        own, shared = keys.wake("deliver", self._owner), keys.wake("deliver")
        while True:
            try:
                popped = await self._ctx.pop.blpop([own, shared], timeout=int(LINGER_S * 4))
                if popped is None:
                    continue
                key, name = popped
                if key.decode() == own:
                    names = {name, *(await self._ctx.redis.lpop(own, NAMES_MOST) or [])}
                    # Where the list was full, some name may be missing.
                    full = len(names) >= NAMES_MOST
                    for woken in list(self._book.lanes) if full else [each.decode() for each in names]:
                        self._book.wake(woken)
                else:
                    self._turns.claim_due = True
                self._turn_due.set()
            except RedisError as error:
                end_if_cancelled(error)
                await asyncio.sleep(BACKOFF_S)
