"""How are brands looked at?  A shift owns brands that are due, and watches each until it is asked to stop.

The unit of ownership is the brand: one worker holds its lease and looks at its venues itself, so that the quota, the
token and what is learnt of the venues are in one place. What a worker leaves behind is in Redis, whichever way it ends.
"""

import asyncio
from typing import Final

from relay import logs
from relay.pipeline.poll_context import PollContext
from relay.pipeline.stop import ShiftReport, Stop, end_if_cancelled
from relay.pipeline.watch import BrandWatch, Watched
from relay.store import keys
from relay.store.connection import RedisError
from relay.store.venues import FULL_WAIT_MS, Claim

LINGER_S: Final = 1.5
CLAIM_MOST: Final = 2
"""Brands claimed at once: few, so that workers who begin together share them."""

CLAIM_EVERY_S: Final = 1.0
_BACKOFF_S: Final = 0.5


async def poll_shift(ctx: PollContext, *, owner: str, stop: Stop, concurrency: int) -> ShiftReport:
    """Watch brands until there is none due, or until stopped.

    Args:
        ctx: what to work with.
        owner: name of this worker, unique among all.
        stop: ends the shift; every brand is given back.
        concurrency: brands at once in this process.
    """
    shift = _Shift(ctx, owner, stop, concurrency)
    return await shift.run()


class _Shift:
    def __init__(self, ctx: PollContext, owner: str, stop: Stop, places: int) -> None:
        self._ctx = ctx
        self._owner = owner
        self._stop = stop
        self._places = places
        self._watching: dict[asyncio.Task[None], tuple[Claim, BrandWatch]] = {}
        self._woken = asyncio.Event()
        self._looks = 0
        self._full = False
        self._next_due_ms: int | None = None

    async def run(self) -> ShiftReport:
        listener = asyncio.create_task(self._listen())
        idle_s = 0.0
        try:
            await self._see_to_all()
            while not self._stop.asked:
                claimed = await self._claim()
                if claimed or self._watching:
                    idle_s = 0.0
                if claimed:
                    continue
                if idle_s >= LINGER_S:
                    break
                wait_s = CLAIM_EVERY_S if self._watching else LINGER_S / 3
                idle_s += wait_s
                await self._wait(wait_s)
        finally:
            listener.cancel()
            self._stop.ask()
            for _, watch in self._watching.values():
                watch.poke()
            await asyncio.gather(listener, *self._watching, return_exceptions=True)
        return ShiftReport(self._looks, self._next_due_ms)

    async def _wait(self, timeout_s: float) -> None:
        """Until the stop, a wake, the end of a watch, or the time."""
        self._woken.clear()
        woken = asyncio.create_task(self._woken.wait())
        stopping = asyncio.create_task(self._stop.wait(timeout_s))
        try:
            await asyncio.wait({woken, stopping, *self._watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            stopping.cancel()
            await asyncio.gather(woken, stopping, return_exceptions=True)

    async def _see_to_all(self) -> None:
        """Put enabled brands on the list that have fallen off it, or were never on it."""
        try:
            stored = await self._ctx.brands.all()
            await self._ctx.polls.ensure_due([name for name, brand in stored.items() if brand.value.enabled])
        except RedisError as error:
            logs.event("brands unreadable", level="warning", exc=error)

    async def _claim(self) -> bool:
        """Take brands that are due, as many as there is room for; True when there may be more."""
        for task in [task for task in self._watching if task.done()]:
            del self._watching[task]
        room = max(0, min(CLAIM_MOST, self._places - len(self._watching)))
        try:
            claims = await self._ctx.polls.claim(self._owner, most=room)
        except RedisError as error:
            logs.event("poll claim failed", level="warning", exc=error)
            await asyncio.sleep(_BACKOFF_S)
            return False
        self._next_due_ms = claims.next_ms
        if claims.full != self._full:
            self._full = claims.full
            logs.event("polling stopped" if claims.full else "polling goes on", level="warning", reason="redis_full")
        if claims.full:
            for _, watch in self._watching.values():
                watch.leave(FULL_WAIT_MS)
        for claim in claims.taken:
            watch = BrandWatch(self._ctx, claim, self._stop, now_ms=claims.now_ms)
            self._watching[asyncio.create_task(self._watch(claim, watch))] = (claim, watch)
        return bool(claims.taken)

    async def _watch(self, claim: Claim, watch: BrandWatch) -> None:
        """Watch one brand, and give it back; whatever goes wrong in it stops no other."""
        watched = Watched(due_in_ms=round(_BACKOFF_S * 1000))
        try:
            watched = await watch.run()
        except RedisError as error:
            logs.event("poll interrupted", level="warning", brand=claim.brand, exc=error)
        except Exception as error:  # noqa: BLE001  the outer edge of one brand
            watched = Watched(due_in_ms=10_000)
            logs.event("poll failed", level="error", brand=claim.brand, exc=error)
        self._looks += watch.looks
        if watched.lost:
            return
        try:
            await self._ctx.polls.release(claim, due_in_ms=watched.due_in_ms, asked=watched.asked)
        except RedisError as error:
            # The lease ends by itself.
            logs.event("brand not given back", level="warning", brand=claim.brand, exc=error)

    async def _listen(self) -> None:
        """Wait for wakes: for brands that are ours by name, for brands that are nobody's by any word."""
        own, shared = keys.wake("poll", self._owner), keys.wake("poll")
        while True:
            try:
                popped = await self._ctx.pop.blpop([own, shared], timeout=5)
            except RedisError as error:
                end_if_cancelled(error)
                await asyncio.sleep(_BACKOFF_S)
                continue
            if popped is None:
                continue
            name = str(popped[1], "utf-8") if isinstance(popped[1], bytes) else popped[1]
            for claim, watch in self._watching.values():
                if claim.brand == name:
                    watch.look_now()
            self._woken.set()
