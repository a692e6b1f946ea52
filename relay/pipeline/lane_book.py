"""Which lanes does a shift own, and what does each need?"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from relay import logs
from relay.core import breaker
from relay.core.breaker import start_concurrency
from relay.pipeline.endpoints import Endpoint
from relay.pipeline.lane_run import RECHECK_MS, LaneRun
from relay.store.lanes import Claimed

FRUITLESS_MOST: Final = 5
FRUITLESS_WAIT_MS: Final = 1000
FRUITLESS_KEPT: Final = 10_000


@dataclass(slots=True)
class RedisClock:
    """Redis' time, as of the last reply that told it and our own clock since.

    Attributes:
        monotonic_s: our own clock.
    """

    monotonic_s: Callable[[], float]
    told_ms: int = 0
    at_s: float = 0.0

    def tell(self, now_ms: int) -> None:
        """It is that late now."""
        self.told_ms, self.at_s = now_ms, self.monotonic_s()

    def now_ms(self) -> int:
        """How late it is."""
        return self.told_ms + int((self.monotonic_s() - self.at_s) * 1000)


@dataclass(slots=True, eq=False)
class LaneBook:
    """Lanes, and sets of them by what they need; ``moved`` puts them there.

    Attributes:
        hungry: may have heads to hand out; in the order in which they wait for places.
        noted: of which something is to be remembered.
        resting: nothing under way, and not hungry.
        timers: when to look at a lane again: ms, a number that makes it unique, the lane.
        fruitless: how often a lane was claimed, in a row, and nothing came of it.
        closing: nothing more begins.
    """

    clock: RedisClock
    lanes: dict[str, LaneRun] = field(default_factory=dict)
    hungry: dict[LaneRun, None] = field(default_factory=dict)
    noted: dict[LaneRun, None] = field(default_factory=dict)
    resting: dict[LaneRun, None] = field(default_factory=dict)
    timers: list[tuple[int, int, LaneRun]] = field(default_factory=list)
    timers_made: int = 0
    fruitless: dict[str, int] = field(default_factory=dict)
    closing: bool = False

    def own(self, claimed: Claimed, endpoint: Endpoint | None) -> None:
        """Take a lane in that was claimed."""
        try:
            circuit = breaker.load(claimed.circuit)
        except ValueError:
            circuit = breaker.HEALTHY
        before = self.lanes.get(claimed.subscription_id)
        if before is not None:
            # Our own lease ran out while attempts were under way: they end, and cannot settle any more.
            before.lost = True
            self.forget(before)
        ceiling = 1 if endpoint is None else endpoint.subscription.max_concurrency
        lane = LaneRun(claimed.subscription_id, claimed.fence, circuit, start_concurrency(ceiling), claimed.rate_tat_ms)
        self.lanes[claimed.subscription_id] = lane
        if self.fruitless.get(claimed.subscription_id, 0) >= FRUITLESS_MOST:
            # Whatever makes it due all the time, it must not keep everybody busy.
            del self.fruitless[claimed.subscription_id]
            lane.set_aside(self.clock.now_ms() + FRUITLESS_WAIT_MS)
            logs.event("lane claimed in vain", level="warning", subscription=claimed.subscription_id)
        self.moved(lane)

    def give_back(self, lane: LaneRun) -> None:
        """It was given back, and is ours no more."""
        if lane.fruitful:
            self.fruitless.pop(lane.subscription_id, None)
        elif len(self.fruitless) < FRUITLESS_KEPT:
            self.fruitless[lane.subscription_id] = self.fruitless.get(lane.subscription_id, 0) + 1
        self.forget(lane)

    def forget(self, lane: LaneRun) -> None:
        """It is ours no more."""
        if self.lanes.get(lane.subscription_id) is lane:
            del self.lanes[lane.subscription_id]
            for each in (self.hungry, self.noted, self.resting):
                each.pop(lane, None)

    def moved(self, lane: LaneRun) -> None:
        """Put a lane where it belongs, after anything has happened to it."""
        if self.lanes.get(lane.subscription_id) is not lane:
            return
        if lane.dirty:
            self.noted[lane] = None
        self.resting.pop(lane, None)
        if lane.hungry and not (lane.lost or lane.shut or self.closing):
            self.hungry[lane] = None
            return
        self.hungry.pop(lane, None)
        if lane.recheck_ms != lane.timer_ms and 0 < lane.recheck_ms <= self.clock.now_ms() + RECHECK_MS:
            # One that is looked at later is given back, or busy: the end of an attempt makes it hungry.
            lane.timer_ms = lane.recheck_ms
            self.timers_made += 1
            heapq.heappush(self.timers, (lane.recheck_ms, self.timers_made, lane))
        if not lane.busy:
            self.resting[lane] = None

    def wake(self, subscription_id: str) -> None:
        """Something has come into a lane, if it is ours."""
        lane = self.lanes.get(subscription_id)
        if lane is not None:
            lane.hungry = True
            self.moved(lane)

    def look_at_timers(self) -> None:
        """Wake the lanes that were to be looked at again by now."""
        now_ms = self.clock.now_ms()
        while self.timers and self.timers[0][0] <= now_ms:
            at_ms, _, lane = heapq.heappop(self.timers)
            if lane.recheck_ms == at_ms:
                lane.recheck_ms = lane.timer_ms = 0
                lane.hungry = True
                self.moved(lane)

    def close(self) -> None:
        """Let nothing more begin."""
        self.closing = True
        for lane in self.lanes.values():
            lane.hungry = False
            self.moved(lane)

    def take_noted(self) -> Iterator[LaneRun]:
        """Lanes of which something is to be remembered; they are so no more."""
        noted, self.noted = self.noted, {}
        return (lane for lane in noted if lane.dirty)

    def take_leaving(self) -> list[LaneRun]:
        """Lanes to be given back; those that are another's are forgotten at once."""
        now_ms = self.clock.now_ms()
        leaving = [lane for lane in self.resting if lane.finished(now_ms, stopping=self.closing)]
        for lane in leaving:
            if lane.lost:
                self.forget(lane)
        return [lane for lane in leaving if not lane.lost]

    @property
    def next_timer_ms(self) -> int | None:
        """When the first of them is to be looked at again, None for never."""
        return self.timers[0][0] if self.timers else None
