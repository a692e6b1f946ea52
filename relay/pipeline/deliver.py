"""How do events reach partners?  One shift owns lanes that are due, sends their heads at once, and settles.

All that a shift asks of Redis goes in *turns*: what ended is settled, what may begin is taken, what is due is claimed,
leases are renewed or given back, in one round trip for all lanes together. Between turns it only waits: for an attempt
to end, for a wake, for the next time something is due.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from relay import logs
from relay.core import breaker
from relay.core.breaker import start_concurrency
from relay.core.deliveries import FRESH, Record, parse_record
from relay.core.errors import CorruptStateError
from relay.core.outcomes import Failure, StatusClass, classify
from relay.egress.sender import Attempt, Sender
from relay.pipeline.attempt import BACK, DISCARDED, EXPIRED, Head, Tried, attempt, settlement, unsent
from relay.pipeline.commit import Committer
from relay.pipeline.endpoints import Endpoint, Endpoints
from relay.pipeline.lane_run import RECHECK_MS, LaneRun
from relay.pipeline.stop import ShiftReport, Stop
from relay.store import keys
from relay.store.brands import BrandStore
from relay.store.connection import RedisError
from relay.store.lanes import LEASE_MS, Claimed, LaneStore, Settlement, Taken, TakenHead, Wanted
from relay.store.log import stored_event
from relay.store.scripts import Call

LINGER_S = 1.5
RENEW_S = LEASE_MS / 3000
CLAIM_MOST = 64
SWEEP_S = 0.5
BACKOFF_S = 0.5
LEAVE_S = 3.0
"""How long giving lanes back may take; they are free without it when their leases end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverContext:
    """What a deliver shift works with.

    Attributes:
        redis: a client whose replies are bytes.
        pop: another one, for blocking pops.
        disable: shuts a subscription: id, reason.
        wall_s: Unix time.
        draw: a number in [0, 1), for jitter.
        timeout_s: of one attempt.
        max_wait_s: longest Retry-After honoured.
        linger_s: how long a shift waits for more work before it ends.
    """

    redis: Any
    pop: Any
    lanes: LaneStore
    endpoints: Endpoints
    brands: BrandStore
    sender: Sender
    committer: Committer
    disable: Callable[[str, str], Awaitable[None]]
    wall_s: Callable[[], float]
    draw: Callable[[], float]
    timeout_s: float
    max_wait_s: float
    linger_s: float = LINGER_S


@dataclass(frozen=True, slots=True)
class _Step:
    """One call of a turn, and what to do with its reply; ``undo`` when nobody knows whether it was executed."""

    name: str
    call: Call
    done: Callable[[list[Any]], Awaitable[bool]]
    undo: Callable[[], None] = lambda: None


def _finished(lane: LaneRun, now_ms: int, *, stopping: bool) -> bool:
    """Whether a lane is given back: nothing under way, and nothing to take before long."""
    if lane.in_flight or lane.dirty or lane.release_waiting:
        return False
    if lane.lost or lane.shut or stopping:
        return True
    return not lane.hungry and not now_ms < lane.recheck_ms < now_ms + RECHECK_MS


@dataclass(slots=True)
class _Ended:
    """An attempt that has ended, as the next turn needs it."""

    lane: LaneRun
    settlement: Settlement


async def deliver_shift(ctx: DeliverContext, *, owner: str, stop: Stop, concurrency: int) -> ShiftReport:
    """Deliver until nothing is due and nothing in flight, or until stopped.

    Args:
        owner: name of this worker, unique among all.
        concurrency: attempts at once in this process.
    """
    shift = _Shift(ctx, owner, stop, concurrency)
    return await shift.run()


@dataclass(slots=True)
class _Shift:
    ctx: DeliverContext
    owner: str
    stop: Stop
    places: int
    lanes: dict[str, LaneRun] = field(default_factory=dict)
    ended: list[_Ended] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    turn_due: asyncio.Event = field(default_factory=asyncio.Event)
    claim_due: bool = True
    in_flight: int = 0
    settled: int = 0
    redis_ms: int = 0
    redis_at_s: float = 0.0
    renewed_at_s: float = 0.0
    claimed_at_s: float = 0.0
    next_due_ms: int | None = None
    announced: bool = False
    brands: frozenset[str] = frozenset()
    brands_epoch: int = -1

    def now_ms(self) -> int:
        """Redis' time, as of the last turn and our own clock since."""
        return self.redis_ms + int((asyncio.get_running_loop().time() - self.redis_at_s) * 1000)

    async def run(self) -> ShiftReport:
        listener = asyncio.create_task(self._listen())
        idle_since_s: float | None = None
        try:
            while True:
                self.turn_due.clear()
                stopping = self.stop.asked
                try:
                    worked = await self._turn(stopping=stopping)
                except RedisError as error:
                    logs.event("deliver turn failed", level="warning", exc=error, lanes=len(self.lanes))
                    if stopping and not self.tasks:
                        break
                    await asyncio.sleep(BACKOFF_S)
                    continue
                if worked:
                    idle_since_s = None
                    continue
                idle = not self.lanes and not self.tasks and not self.ended
                if idle:
                    idle_since_s = idle_since_s or asyncio.get_running_loop().time()
                    if stopping or asyncio.get_running_loop().time() - idle_since_s >= self.ctx.linger_s:
                        break
                await self._wait(self._patience_s(idle_since_s))
        finally:
            listener.cancel()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(listener, *self.tasks, return_exceptions=True)
            await self._leave()
        return ShiftReport(self.settled, self.next_due_ms)

    async def _leave(self) -> None:
        """Where the shift was cut off: settle what had ended, give lanes back with what was in hand, for the next."""
        settled = self._settle() if self.ended else None
        kept = [(lane.subscription_id, lane.fence) for lane in self.lanes.values() if not lane.lost]
        calls = [
            *([settled.call] if settled is not None else []),
            *([self.ctx.lanes.keep_call([], kept)] if kept else []),
        ]
        if not calls:
            return
        try:
            async with asyncio.timeout(LEAVE_S):
                await self.ctx.lanes.run(calls)
        except (RedisError, TimeoutError) as error:
            logs.event("lanes not given back", level="warning", exc=error, lanes=len(kept))

    def _patience_s(self, idle_since_s: float | None) -> float:
        """How long to wait for something to happen before looking again."""
        now_ms = self.now_ms()
        waits = [SWEEP_S if self.in_flight or idle_since_s is None else self.ctx.linger_s]
        if idle_since_s is not None:
            waits.append(idle_since_s + self.ctx.linger_s - asyncio.get_running_loop().time())
        if self.next_due_ms is not None:
            waits.append((self.next_due_ms - now_ms) / 1000)
        waits += [(lane.recheck_ms - now_ms) / 1000 for lane in self.lanes.values() if lane.recheck_ms > now_ms]
        return max(0.001, min(waits))

    async def _wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self.turn_due.wait()
        except TimeoutError:
            pass

    async def _listen(self) -> None:
        """Wait for wakes: of lanes that are ours by name, of lanes that are nobody's by any word."""
        own, shared = keys.wake("deliver", self.owner), keys.wake("deliver")
        while True:
            try:
                popped = await self.ctx.pop.blpop([own, shared], timeout=int(LINGER_S * 4))
                if popped is None:
                    continue
                key, name = popped
                if key.decode() == own:
                    names = {name, *(await self.ctx.redis.lpop(own, 1000) or [])}
                    for waiting in names:
                        lane = self.lanes.get(waiting.decode())
                        if lane is not None:
                            lane.hungry = True
                    if len(names) >= 1000:  # noqa: PLR2004  (the list was full: some name may be missing)
                        for lane in self.lanes.values():
                            lane.hungry = True
                else:
                    self.claim_due = True
                self.turn_due.set()
            except RedisError:
                await asyncio.sleep(BACKOFF_S)

    async def _turn(self, *, stopping: bool) -> bool:
        """One round trip; True when it brought or moved anything."""
        steps = [
            step
            for step in (self._settle(), self._take(stopping=stopping), self._claim(stopping=stopping))
            if step is not None
        ]
        steps += self._keep(stopping=stopping, taking=any(step.name == "take" for step in steps))
        if not steps:
            return False
        try:
            replies = await self.ctx.lanes.run([step.call for step in steps])
        except BaseException:
            # Nothing is known of what was executed: to settle again is harmless, it says "already".
            for step in steps:
                step.undo()
            raise
        moved = False
        for step, reply in zip(steps, replies, strict=True):
            moved = await step.done(reply) or moved
        if self.announced:
            self.announced = False
            await self.ctx.committer.drain_announcements()
        return moved

    def _settle(self) -> "_Step | None":
        """Record what has ended, and note what has become of circuits."""
        ended, self.ended = self.ended, []
        noted = [lane for lane in self.lanes.values() if lane.dirty or lane.release_waiting]
        if not ended and not noted:
            return None
        notes = [lane.note(now_ms=self.now_ms()) for lane in noted]

        def undo() -> None:
            self.ended = ended + self.ended
            for lane, note in zip(noted, notes, strict=True):
                lane.dirty = True
                lane.release_waiting = lane.release_waiting or note.release_waiting

        async def done(reply: list[Any]) -> bool:
            for each, outcome in zip(ended, reply, strict=True):
                self.settled += 1
                if outcome == 0:
                    each.lane.lost = True
                    logs.event("settle refused", level="warning", subscription=each.lane.subscription_id)
                if each.settlement.announcement:
                    self.announced = True
            return True

        return _Step("settle", self.ctx.lanes.settle_call([e.settlement for e in ended], notes), done, undo)

    def _take(self, *, stopping: bool) -> "_Step | None":
        """Ask for heads of every lane that may have some and may send."""
        wanted = [] if stopping else self._wanted(self.now_ms())
        if not wanted:
            return None

        async def done(reply: list[Any]) -> bool:
            takings = self.ctx.lanes.takings(reply)
            self._set_clock(takings.now_ms)
            if takings.subscriptions_epoch != self.ctx.endpoints.epoch:
                await self.ctx.endpoints.refresh()
            if takings.brands_epoch != self.brands_epoch:
                self.brands_epoch, stored = await self.ctx.brands.snapshot()
                self.brands = frozenset(stored)
            for (lane, want), taken in zip(wanted, takings.lanes, strict=True):
                self._begin(lane, want, taken)
            return True

        return _Step("take", self.ctx.lanes.take_call([want for _, want in wanted]), done)

    def _claim(self, *, stopping: bool) -> "_Step | None":
        """Ask for lanes that are due."""
        now_s = asyncio.get_running_loop().time()
        due = self.next_due_ms is not None and self.next_due_ms <= self.now_ms()
        if stopping or self.in_flight >= self.places:
            return None
        if not (self.claim_due or due or now_s - self.claimed_at_s >= SWEEP_S):
            return None
        most = min(CLAIM_MOST, self.places - self.in_flight)

        async def done(reply: list[Any]) -> bool:
            claims = self.ctx.lanes.claims(reply)
            self._set_clock(claims.now_ms)
            self.claimed_at_s = now_s
            self.next_due_ms = claims.next_due_ms
            self.claim_due = len(claims.lanes) >= most
            for claimed in claims.lanes:
                self._own(claimed)
            return bool(claims.lanes)

        return _Step("claim", self.ctx.lanes.claim_call(self.owner, most=most), done)

    def _keep(self, *, stopping: bool, taking: bool) -> "list[_Step]":
        """Renew leases now and then; give back lanes that have nothing to do."""
        now_ms = self.now_ms()
        given_back = [lane for lane in self.lanes.values() if _finished(lane, now_ms, stopping=stopping)]
        renewed: list[LaneRun] = []
        if asyncio.get_running_loop().time() - self.renewed_at_s >= RENEW_S:
            self.renewed_at_s = asyncio.get_running_loop().time()
            renewed = [lane for lane in self.lanes.values() if not lane.lost and lane not in given_back]
        if not renewed and not given_back:
            return []
        kept = [*renewed, *(lane for lane in given_back if not lane.lost)]

        async def done(reply: list[Any]) -> bool:
            soonest_ms, outcomes = reply
            if soonest_ms >= 0:
                self.next_due_ms = soonest_ms if self.next_due_ms is None else min(self.next_due_ms, soonest_ms)
            for lane, outcome in zip(kept, outcomes, strict=True):
                lane.lost = lane.lost or outcome == -1
            for lane in given_back:
                if self.lanes.get(lane.subscription_id) is lane:
                    del self.lanes[lane.subscription_id]
            return bool(given_back) and not taking

        call = self.ctx.lanes.keep_call(
            [(lane.subscription_id, lane.fence) for lane in renewed],
            [(lane.subscription_id, lane.fence) for lane in given_back if not lane.lost],
        )
        return [_Step("keep", call, done)]

    def _wanted(self, now_ms: int) -> list[tuple[LaneRun, Wanted]]:
        wanted: list[tuple[LaneRun, Wanted]] = []
        room = self.places - self.in_flight
        for lane in self.lanes.values():
            if room <= 0:
                break
            if not lane.hungry and lane.recheck_ms <= now_ms and (lane.in_flight or lane.recheck_ms):
                lane.hungry = True
                lane.recheck_ms = 0
            if not lane.hungry:
                continue
            endpoint = self.ctx.endpoints.get(lane.subscription_id)
            if endpoint is None:
                # Gone, or newer than what was read of subscriptions: asking for nothing tells which.
                wanted.append((lane, Wanted(lane.subscription_id, lane.fence, 0, 0)))
                continue
            places = lane.room(endpoint, now_ms=now_ms, process_room=room)
            if places > 0:
                fresh, total = lane.split(places)
                wanted.append((lane, Wanted(lane.subscription_id, lane.fence, fresh, total)))
                room -= places
        return wanted

    def _own(self, claimed: Claimed) -> None:
        endpoint = self.ctx.endpoints.get(claimed.subscription_id)
        try:
            circuit = breaker.load(claimed.circuit)
        except ValueError:
            circuit = breaker.HEALTHY
        before = self.lanes.get(claimed.subscription_id)
        if before is not None:
            # Our own lease ran out while attempts were under way: they end, and cannot settle any more.
            before.lost = True
        self.lanes[claimed.subscription_id] = LaneRun(
            claimed.subscription_id,
            claimed.fence,
            circuit,
            start_concurrency(1 if endpoint is None else endpoint.subscription.max_concurrency),
        )

    def _begin(self, lane: LaneRun, want: Wanted, taken: Taken) -> None:
        if taken.state != "ok":
            lane.lost = taken.state == "lost"
            lane.shut = taken.state != "lost"
            lane.hungry = False
            if taken.state == "corrupt":
                logs.event("lane unreadable", level="error", subscription=lane.subscription_id)
            return
        lane.hungry = bool(taken.heads) or not want.total
        if not lane.hungry:
            lane.recheck_ms = self.now_ms() + RECHECK_MS if lane.in_flight else 0
        endpoint = self.ctx.endpoints.get(lane.subscription_id)
        if endpoint is None:
            lane.shut = True
        elif lane.concurrency.ceiling != endpoint.subscription.max_concurrency:
            lane.concurrency = start_concurrency(endpoint.subscription.max_concurrency)
        for head in taken.heads:
            self._begin_one(lane, endpoint, head)

    def _begin_one(self, lane: LaneRun, endpoint: Endpoint | None, taken: TakenHead) -> None:
        try:
            record = parse_record(taken.record)
        except CorruptStateError as error:
            # Its history is lost, the event is not: it starts anew, and the settlement writes a sound record.
            logs.event("delivery unreadable", level="error", exc=error, subscription=lane.subscription_id)
            record = FRESH
        if endpoint is None:
            self._end_unsent(lane, taken, record, BACK)
        elif taken.static is None:
            self._end_unsent(lane, taken, record, EXPIRED)
        else:
            try:
                event = stored_event(taken.position, taken.static, taken.sequence, taken.previous)
            except (CorruptStateError, ValueError) as error:
                logs.event("event unreadable", level="error", exc=error, subscription=lane.subscription_id)
                self._end_unsent(lane, taken, record, DISCARDED)
                return
            max_age_s = endpoint.subscription.max_age_s
            if event.brand is not None and event.brand not in self.brands:
                self._end_unsent(lane, taken, record, DISCARDED)
            elif max_age_s is not None and not record.replay and self.now_ms() - event.timestamp_ms > max_age_s * 1000:
                self._end_unsent(lane, taken, record, EXPIRED)
            else:
                head = Head(taken.queue, taken.position, record, event)
                probe = lane.begin(endpoint, now_ms=self.now_ms(), timeout_ms=int(self.ctx.timeout_s * 1000))
                self.in_flight += 1
                task = asyncio.create_task(self._attempt(lane, endpoint, head, probe=probe))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    def _end_unsent(self, lane: LaneRun, taken: TakenHead, record: Record, verdict: str) -> None:
        self.ended.append(
            _Ended(
                lane,
                unsent(
                    taken.queue,
                    taken.position,
                    record,
                    subscription_id=lane.subscription_id,
                    fence=lane.fence,
                    verdict=verdict,
                ),
            )
        )
        lane.hungry = True
        self.turn_due.set()

    async def _attempt(self, lane: LaneRun, endpoint: Endpoint, head: Head, *, probe: bool) -> None:
        started_ms, started_at_s = self.now_ms(), self.ctx.wall_s()
        try:
            tried = await attempt(self.ctx.sender, endpoint, head, wall_s=self.ctx.wall_s, timeout_s=self.ctx.timeout_s)
        except Exception as error:  # noqa: BLE001  (the outer edge of one delivery: the rest goes on)
            logs.event("attempt failed inside", level="error", exc=error, subscription=lane.subscription_id)
            made = Attempt(None, Failure.INTERNAL, "internal: the relay failed; see its log", StatusClass.NETWORK, 0)
            tried = Tried(head, made, classify(None, failure=Failure.INTERNAL))
        finally:
            self.in_flight -= 1
        now_ms = self.now_ms()
        lane.end(
            tried.outcome,
            subject=head.queue,
            probe=probe,
            started_ms=started_ms,
            now_ms=now_ms,
            draw=self.ctx.draw(),
            max_wait_s=self.ctx.max_wait_s,
        )
        self.ended.append(
            _Ended(
                lane,
                settlement(
                    tried,
                    endpoint=endpoint,
                    fence=lane.fence,
                    now_ms=now_ms,
                    started_at_s=started_at_s,
                    draw=self.ctx.draw(),
                ),
            )
        )
        self.turn_due.set()
        self._log(lane, tried)
        await self._judge(lane, tried, now_ms)

    def _log(self, lane: LaneRun, tried: Tried) -> None:
        head, made = tried.head, tried.attempt
        logs.event(
            "attempt",
            level="debug" if tried.outcome.success else "info",
            subscription=lane.subscription_id,
            event_id=head.event.id,
            type=head.event.type,
            brand=head.event.brand,
            subject=head.event.subject,
            number=head.number,
            status_class=tried.outcome.status_class.value,
            status_code=made.status_code,
            error=made.error,
            duration_ms=made.duration_ms,
        )

    async def _judge(self, lane: LaneRun, tried: Tried, now_ms: int) -> None:
        """Disable the subscription where its partner said so, or has not answered for five days."""
        if tried.outcome.gone:
            await self._disable(lane, "the endpoint answered 410 Gone")
        elif not tried.outcome.success and breaker.disable_due(lane.circuit.failing_since_ms, now_ms):
            await self._disable(lane, "no success for five days")

    async def _disable(self, lane: LaneRun, reason: str) -> None:
        lane.shut = True
        try:
            await self.ctx.disable(lane.subscription_id, reason)
        except RedisError as error:
            # The next attempt meets the same and tries again.
            logs.event("disable failed", level="warning", exc=error, subscription=lane.subscription_id)

    def _set_clock(self, now_ms: int) -> None:
        self.redis_ms, self.redis_at_s = now_ms, asyncio.get_running_loop().time()
