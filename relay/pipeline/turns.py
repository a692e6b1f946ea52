"""What does a shift ask of Redis, and what does it make of the replies?  Four calls, one round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from relay import logs
from relay.pipeline.deliver_context import DeliverContext
from relay.pipeline.handing_out import HandingOut
from relay.pipeline.in_hand import InHand
from relay.pipeline.lane_book import LaneBook
from relay.pipeline.lane_run import RECHECK_MS, UNSENDABLE_MS, LaneRun
from relay.store.connection import RedisError
from relay.store.lanes import LEASE_MS, Settled, Settlement, Taken, Wanted
from relay.store.scripts import Call

RENEW_S: Final = LEASE_MS / 3000
STALE_S: Final = LEASE_MS / 2000
"""What was taken longer ago, as this process was held up, may be another's by now: it is not begun."""

CLAIM_MOST: Final = 64
SWEEP_S: Final = 0.5
LEAVE_S: Final = 3.0
"""How long giving lanes back may take; they are free without it when their leases end."""

STALE_FENCE, UNREADABLE_LANE = 0, 3
"""Answers of settle.lua."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One call of a turn, and what to do with its reply; ``undo`` when nobody knows whether it was executed."""

    call: Call
    done: Callable[[list[Any]], Awaitable[bool]]
    undo: Callable[[], None] = lambda: None


class Turns:
    """Settles, takes, claims, keeps.

    Attributes:
        settled: how many deliveries moved on.
        claim_due: somebody said that lanes are due.
        next_due_ms: when the next lane is due that nobody owns, None for never.
    """

    def __init__(self, ctx: DeliverContext, book: LaneBook, hand: InHand, *, owner: str) -> None:
        self._ctx = ctx
        self._book = book
        self._hand = hand
        self._out = HandingOut(ctx, hand, now_ms=book.clock.now_ms)
        self._owner = owner
        self._now_s = asyncio.get_running_loop().time
        self._renewed_s = self._now_s()
        self._claimed_s = 0.0
        self._announcing: asyncio.Task[None] | None = None
        self.settled = 0
        self.claim_due = True
        self.next_due_ms: int | None = None

    async def take_one(self, room: int) -> bool:
        """Take a turn; True when it brought or moved anything.

        Args:
            room: how many heads to ask for.

        Raises:
            redis.exceptions.RedisError: what was executed is unknown; what was to be settled is settled next time.
        """
        self._book.look_at_timers()
        steps = [step for step in (self._settle(), self._take(room), self._claim(room), self._keep()) if step]
        if not steps:
            return False
        try:
            replies = await self._ctx.lanes.run([step.call for step in steps])
        except BaseException:
            for step in steps:
                step.undo()
            raise
        moved = False
        broken: RedisError | None = None
        for step, reply in zip(steps, replies, strict=True):
            try:
                moved = await step.done(reply) or moved
            except RedisError as error:  # more had to be read, and could not be: the other replies hold all the same
                step.undo()
                broken = error
        if broken is not None:
            raise broken
        return moved

    async def end(self) -> None:
        """Wait for what goes on beside the turns."""
        if self._announcing is not None:
            await self._announcing

    async def leave(self) -> None:
        """Cut off, in the midst of whatever: settle what had ended, give lanes back with what was in hand."""
        if self._announcing is not None:
            self._announcing.cancel()
            await asyncio.gather(self._announcing, return_exceptions=True)
        settled = self._settle()
        kept = [(lane.subscription_id, lane.fence) for lane in self._book.lanes.values() if not lane.lost]
        calls = [settled.call] if settled is not None else []
        if kept:
            calls.append(self._ctx.lanes.keep_call([], kept))
        if not calls:
            return
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._ctx.lanes.run(calls)
        except (RedisError, TimeoutError) as error:
            logs.event("lanes not given back", level="warning", exc=error, lanes=len(kept))

    def _settle(self) -> _Step | None:
        """Record what has ended, and note what has become of circuits."""
        now_ms = self._book.clock.now_ms()
        ended = self._hand.drain()
        notes = {lane: lane.note(now_ms=now_ms) for lane in self._book.take_noted()}
        if not ended and not notes:
            return None
        lanes = list({**ended, **notes})
        rows = [Settled(lane.subscription_id, lane.fence, ended.get(lane, ()), notes.get(lane)) for lane in lanes]

        def undo() -> None:
            self._hand.put_back(ended)
            for lane, note in notes.items():
                lane.unnote(note)
                self._book.moved(lane)

        async def done(reply: list[Any]) -> bool:
            outcomes = self._ctx.lanes.outcomes(rows, reply)
            for lane, row, answers in zip(lanes, rows, outcomes, strict=True):
                self._has_settled(lane, row.settlements, answers)
            return True

        return _Step(self._ctx.lanes.settle_call(rows), done, undo)

    def _has_settled(self, lane: LaneRun, settlements: Sequence[Settlement], answers: list[int]) -> None:
        self.settled += len(answers)
        if STALE_FENCE in answers:
            lane.lost = True
            refused = answers.count(STALE_FENCE)
            logs.event("settle refused", level="warning", subscription=lane.subscription_id, count=refused)
        if UNREADABLE_LANE in answers:
            self._set_aside(lane)
        if any(each.announcement for each in settlements):
            self._announce()
        self._book.moved(lane)

    def _set_aside(self, lane: LaneRun) -> None:
        lane.set_aside(self._book.clock.now_ms() + UNSENDABLE_MS)
        logs.event("lane unreadable", level="error", subscription=lane.subscription_id)

    def _announce(self) -> None:
        """Commit the operational events that scripts have listed, beside what goes on."""
        if self._announcing is None or self._announcing.done():
            self._announcing = asyncio.create_task(self._drain_announcements())

    async def _drain_announcements(self) -> None:
        try:
            await self._ctx.committer.drain_announcements()
        except Exception as error:  # noqa: BLE001  (they stay listed: a background task commits them)
            logs.event("announcements not made", level="warning", exc=error)

    def _take(self, room: int) -> _Step | None:
        """Ask for heads of every lane that may have some and may send."""
        wanted = self._wanted(room)
        if not wanted:
            return None
        asked_s = self._now_s()
        self._hand.asked()

        def undo() -> None:
            # Nobody knows what was handed out: giving the lane back makes all of it wait again.
            for lane, _ in wanted:
                lane.shut = True
                self._book.moved(lane)

        async def done(reply: list[Any]) -> bool:
            takings = self._ctx.lanes.takings(reply)
            self._book.clock.tell(takings.now_ms)
            await self._out.refresh(takings)
            if self._now_s() - asked_s > STALE_S:
                undo()
                return True
            self._out.open(takings)
            for (lane, want), taken in zip(wanted, takings.lanes, strict=True):
                self._begin(lane, want, taken)
            self._hand.begin_more()
            return True

        return _Step(self._ctx.lanes.take_call([want for _, want in wanted]), done, undo)

    def _wanted(self, room: int) -> list[tuple[LaneRun, Wanted]]:
        wanted: list[tuple[LaneRun, Wanted]] = []
        now_ms, book = self._book.clock.now_ms(), self._book
        for lane in list(book.hungry) if room > 0 else ():
            if room <= 0:
                break
            del book.hungry[lane]  # it goes to the end of those that wait
            endpoint = self._ctx.endpoints.get(lane.subscription_id)
            if endpoint is None:
                # Gone, or newer than what was read of subscriptions: asking for nothing tells which.
                wanted.append((lane, Wanted(lane.subscription_id, lane.fence, 0, 0)))
                continue
            places = lane.room(endpoint, now_ms=now_ms, process_room=room)
            if places > 0:
                fresh, total = lane.split(places)
                wanted.append((lane, Wanted(lane.subscription_id, lane.fence, fresh, total)))
                room -= places
            else:
                book.moved(lane)
        return wanted

    def _begin(self, lane: LaneRun, want: Wanted, taken: Taken) -> None:
        """Begin what a lane gave."""
        match taken.state:
            case "ok":
                now_ms = self._book.clock.now_ms()
                lane.hungry = len(taken.heads) >= want.total
                lane.recheck_ms = 0 if lane.hungry else taken.next_ms
                self._out.begin(lane, taken.heads)
                if lane.busy and not lane.hungry:
                    lane.recheck_ms = min(lane.recheck_ms or now_ms + RECHECK_MS, now_ms + RECHECK_MS)
            case "corrupt":
                self._set_aside(lane)
            case state:
                lane.lost = state == "lost"
                lane.shut = True
        self._book.moved(lane)

    def _claim(self, room: int) -> _Step | None:
        """Ask for lanes that are due."""
        now_s = self._now_s()
        due = self.next_due_ms is not None and self.next_due_ms <= self._book.clock.now_ms()
        if room <= 0 or not (self.claim_due or due or now_s - self._claimed_s >= SWEEP_S):
            return None
        most = min(CLAIM_MOST, room)

        async def done(reply: list[Any]) -> bool:
            claims = self._ctx.lanes.claims(reply)
            self._book.clock.tell(claims.now_ms)
            self._claimed_s = now_s
            self.next_due_ms = claims.next_due_ms
            self.claim_due = len(claims.lanes) + len(claims.corrupt) >= most
            for name in claims.corrupt:
                logs.event("lane unreadable", level="error", subscription=name)
            for claimed in claims.lanes:
                self._book.own(claimed, self._ctx.endpoints.get(claimed.subscription_id))
            return bool(claims.lanes)

        return _Step(self._ctx.lanes.claim_call(self._owner, most=most), done)

    def _keep(self) -> _Step | None:
        """Renew leases now and then; give back lanes that have nothing to do."""
        given_back = self._book.take_leaving()
        leaving = set(given_back)
        kept = [lane for lane in self._renewed() if lane not in leaving]
        if not kept and not given_back:
            return None

        async def done(reply: list[Any]) -> bool:
            soonest_ms, outcomes = reply
            if soonest_ms >= 0:
                self.next_due_ms = soonest_ms if self.next_due_ms is None else min(self.next_due_ms, soonest_ms)
            for lane, outcome in zip([*kept, *given_back], outcomes, strict=True):
                if outcome == -1:
                    lane.lost = True
                    self._book.moved(lane)
            for lane in given_back:
                self._book.give_back(lane)
            return False

        def undo() -> None:
            self._renewed_s = 0.0

        call = self._ctx.lanes.keep_call(
            [(lane.subscription_id, lane.fence) for lane in kept],
            [(lane.subscription_id, lane.fence) for lane in given_back],
        )
        return _Step(call, done, undo)

    def _renewed(self) -> list[LaneRun]:
        now_s = self._now_s()
        if now_s - self._renewed_s < RENEW_S:
            return []
        self._renewed_s = now_s
        return [lane for lane in self._book.lanes.values() if not lane.lost]
