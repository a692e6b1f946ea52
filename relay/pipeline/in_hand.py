"""What has a shift in hand?  Attempts under way, heads that wait for a place, and ends that are to be settled."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from relay import logs, traces
from relay.core import breaker
from relay.core.outcomes import Failure, StatusClass, classify
from relay.egress.sender import Attempt
from relay.pipeline.ahead import Ahead
from relay.pipeline.attempt import BACK, Head, Tried, attempt, settlement, unsent
from relay.pipeline.deliver_context import DeliverContext
from relay.pipeline.endpoints import Endpoint
from relay.pipeline.lane_run import LaneRun
from relay.store.connection import RedisError
from relay.store.lanes import Settlement
from relay.store.positions import delivery_id

SLOW_S: Final = 1.0
"""An attempt that takes longer waits for its partner, and hardly costs this process anything."""

SLOW_SHARE: Final = 4
"""So many times the places there are may be taken, all in all, where the rest of them are slow."""

SMALL: Final = 8
BATCH_S: Final = 0.001
"""While more than a few attempts are under way, ends wait so long for others: a turn costs the same for many."""

MOST_BYTES: Final = 64 * 1_048_576
"""Bodies under way; a single one may be larger."""

_OURS: Final = classify(None, failure=Failure.INTERNAL)
_FAILED_INSIDE: Final = Attempt(
    None, Failure.INTERNAL, "internal: the relay failed; see its log", StatusClass.NETWORK, 0
)


@dataclass(slots=True, eq=False)
class _Flight:
    """One attempt under way."""

    lane: LaneRun
    endpoint: Endpoint
    head: Head
    probe: bool
    started_s: float
    started_ms: int
    slow: bool = False
    over: bool = False


class InHand:
    """Begins attempts, and collects their ends until a turn takes them.

    Attributes:
        waiting: ends that wait to be settled.
    """

    def __init__(
        self,
        ctx: DeliverContext,
        *,
        places: int,
        now_ms: Callable[[], int],
        turn_due: asyncio.Event,
        moved: Callable[[LaneRun], None],
    ) -> None:
        """Prepare, inside the running loop.

        Args:
            ctx: the parts.
            places: attempts at once.
            now_ms: Redis' time.
            turn_due: set when ends should be settled.
            moved: told of each lane of which something ended.
        """
        self._ctx = ctx
        self._places = places
        self._now_ms = now_ms
        self._turn_due = turn_due
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._oldest: deque[_Flight] = deque()
        self._ended: dict[LaneRun, list[Settlement]] = {}
        self._ahead = Ahead()
        self._landed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight = 0
        self._slow = 0
        self._bytes = 0
        self.waiting = 0

    @property
    def empty(self) -> bool:
        """Nothing under way, nothing that waits, nothing to settle."""
        return not self._tasks and not self.waiting and not self._ahead.count

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return self._in_flight

    @property
    def has_ahead(self) -> bool:
        """Whether heads wait for a place."""
        return self._ahead.count > 0

    def room(self) -> int:
        """How many more may begin; those that are slow take no place, up to a bound."""
        young_s = self._loop.time() - SLOW_S
        while self._oldest and (self._oldest[0].over or self._oldest[0].started_s < young_s):
            flight = self._oldest.popleft()
            if not flight.over:
                flight.slow = True
                self._slow += 1
        return min(self._places - (self._in_flight - self._slow), SLOW_SHARE * self._places - self._in_flight)

    def demand(self) -> int:
        """How many heads to ask for: places that are free, and those that will be by the time they come."""
        return max(self.room(), 0) + max(min(self._landed, self._places) - self._ahead.count, 0)

    def asked(self) -> None:
        """Heads were asked for: count anew how many places become free."""
        self._landed = 0

    def fits(self, size_bytes: int) -> bool:
        """Whether a body of that size may be added to those under way."""
        return not self._bytes or self._bytes + size_bytes <= MOST_BYTES

    def begin(self, lane: LaneRun, endpoint: Endpoint, head: Head) -> None:
        """Begin an attempt, now or as soon as there is a place for it."""
        self._bytes += len(head.body or b"")
        if lane.has_place and not lane.waiting and self.room() > 0:
            self._start(lane, endpoint, head)
        else:
            self._ahead.put(lane, head, now_s=self._loop.time())

    def begin_more(self) -> None:
        """Begin what waits, as far as there are places, each lane in its turn."""
        while (lane := self._ahead.next_lane()) is not None and self.room() > 0:
            endpoint = self._ctx.endpoints.get(lane.subscription_id)
            if endpoint is None or not lane.may_begin(self._now_ms()):
                self._give_up(lane)
            elif not lane.has_place:
                self._ahead.pass_over(lane)
            elif (head := self._ahead.take(lane, now_s=self._loop.time())) is not None:
                self._start(lane, endpoint, head)
            else:
                self._give_up(lane)

    def give_up_late(self, *, closing: bool) -> None:
        """Give back what has waited too long for a place, or all."""
        for lane in self._ahead.lanes() if closing else self._ahead.overdue(self._loop.time()):
            self._give_up(lane)

    def _give_up(self, lane: LaneRun) -> None:
        for head in self._ahead.give_up(lane):
            self._bytes -= len(head.body or b"")
            lane.hungry = True
            self.end(lane, unsent(head.queue, head.position, head.record, verdict=BACK))

    def _start(self, lane: LaneRun, endpoint: Endpoint, head: Head) -> None:
        now_ms = self._now_ms()
        probe = lane.begin(endpoint, now_ms=now_ms, timeout_ms=int(self._ctx.timeout_s * 1000))
        flight = _Flight(lane, endpoint, head, probe, self._loop.time(), now_ms)
        self._in_flight += 1
        self._oldest.append(flight)
        task = self._loop.create_task(self._attempt(flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self, lane: LaneRun, ended: Settlement) -> None:
        """Take note of how a delivery moves on."""
        known = self._ended.get(lane)
        if known is None:
            self._ended[lane] = [ended]
        else:
            known.append(ended)
        self.waiting += 1
        self._moved(lane)
        if self._in_flight < SMALL or self.waiting * 3 >= self._in_flight:
            self._turn_due.set()
        elif self._timer is None:
            self._timer = self._loop.call_later(BATCH_S, self._turn_due.set)

    def drain(self) -> dict[LaneRun, list[Settlement]]:
        """Give what has ended, by lane."""
        ended, self._ended, self.waiting = self._ended, {}, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return ended

    def put_back(self, ended: dict[LaneRun, list[Settlement]]) -> None:
        """Take back what nobody knows to be settled: to settle again is harmless, it says "already"."""
        for lane, later in self._ended.items():
            ended.setdefault(lane, []).extend(later)
        self._ended = ended
        self.waiting = sum(len(each) for each in ended.values())

    async def cut_off(self) -> None:
        """Cancel what is under way: whoever owns its lanes next sends it again."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(self, flight: _Flight) -> None:
        lane, head, ctx = flight.lane, flight.head, self._ctx
        started_at_s = ctx.wall_s()
        try:
            try:
                tried = await attempt(ctx.sender, flight.endpoint, head, wall_s=ctx.wall_s, timeout_s=ctx.timeout_s)
            except Exception as error:  # noqa: BLE001  (the outer edge of one delivery: the rest goes on)
                logs.event("attempt failed inside", level="error", exc=error, **_names(flight))
                tried = Tried(head, _FAILED_INSIDE, _OURS)
            finally:
                self._land(flight)
            self.end(lane, self._judged(flight, tried, started_at_s))
            self._ahead.look_again(lane)
            self.begin_more()
            _tell(flight, tried)
            if not tried.outcome.success:
                await self._disable_if_due(lane, tried)
        finally:
            lane.busy -= 1
            self._moved(lane)

    def _land(self, flight: _Flight) -> None:
        flight.over = True
        flight.lane.in_flight -= 1
        self._in_flight -= 1
        self._landed += 1
        self._slow -= flight.slow
        self._bytes -= len(flight.head.body or b"")

    def _judged(self, flight: _Flight, tried: Tried, started_at_s: float) -> Settlement:
        lane, ctx, now_ms = flight.lane, self._ctx, self._now_ms()
        try:
            lane.end(
                tried.outcome,
                subject=flight.head.queue,
                probe=flight.probe,
                started_ms=flight.started_ms,
                now_ms=now_ms,
                draw=ctx.draw(),
                max_wait_s=ctx.max_wait_s,
            )
            if tried.outcome.gone or _has_failed_too_long(lane, tried, now_ms):
                lane.shut = True
            return settlement(
                tried, endpoint=flight.endpoint, now_ms=now_ms, started_at_s=started_at_s, draw=ctx.draw()
            )
        except Exception as error:  # noqa: BLE001  (the outer edge of one delivery: the rest goes on)
            logs.event("attempt not judged", level="error", exc=error, **_names(flight))
            head = flight.head
            return unsent(head.queue, head.position, head.record, verdict=BACK, due_ms=now_ms + 5000)

    async def _disable_if_due(self, lane: LaneRun, tried: Tried) -> None:
        """Disable the subscription where its partner said so, or has not answered for five days."""
        if tried.outcome.gone:
            reason = "the endpoint answered 410 Gone"
        elif _has_failed_too_long(lane, tried, self._now_ms()):
            reason = "no success for five days"
        else:
            return
        try:
            await self._ctx.disable(lane.subscription_id, reason)
            self._turn_due.set()
        except RedisError as error:
            # The next attempt meets the same and tries again.
            logs.event("disable failed", level="warning", exc=error, subscription=lane.subscription_id)


def _has_failed_too_long(lane: LaneRun, tried: Tried, now_ms: int) -> bool:
    return not tried.outcome.success and breaker.disable_due(lane.circuit.failing_since_ms, now_ms)


def _names(flight: _Flight) -> dict[str, Any]:
    event = flight.head.event
    return {
        "subscription": flight.lane.subscription_id,
        "delivery": delivery_id(flight.lane.subscription_id, flight.head.position),
        "event_id": event.id,
        "type": event.type,
        "brand": event.brand,
        "venue_id": event.venue_id,
        "subject": event.subject,
        "number": flight.head.number,
    }


def _tell(flight: _Flight, tried: Tried) -> None:
    """Write the attempt's line and its span."""
    names, made, event = _names(flight), tried.attempt, flight.head.event
    logs.event(
        "attempt",
        level="debug" if tried.outcome.success else "info",
        **names,
        status_class=tried.outcome.status_class.value,
        status_code=made.status_code,
        error=made.error,
        duration_ms=made.duration_ms,
    )
    if traces.on():
        traces.attempted(
            event.id,
            began_ms=flight.started_ms,
            ended_ms=flight.started_ms + made.duration_ms,
            attributes={
                **{f"relay.{name}": value for name, value in names.items()},
                "http.response.status_code": made.status_code,
                "relay.waited_ms": flight.started_ms - event.timestamp_ms,
            },
            error=None if tried.outcome.success else tried.outcome.status_class.value,
        )
