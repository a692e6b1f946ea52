"""What does the worker that owns a lane know of it, and how much may it send now?

In memory only: what must survive is noted with the next settlement (circuit, hold, rate) or stands in Redis anyway.
"""

from dataclasses import dataclass
from typing import Final

from relay.core import breaker
from relay.core.breaker import Circuit, Concurrency, Flow, Probe, Wait
from relay.core.outcomes import Outcome
from relay.core.rates import take
from relay.pipeline.endpoints import Endpoint
from relay.store.lanes import MOST_AT_ONCE, LaneNote

RECHECK_MS: Final = 1000
"""A lane that looked empty while attempts are under way is looked at again after so long: a wake may have been lost."""

UNSENDABLE_MS: Final = 60_000
"""How long a lane waits that cannot be sent from by our own fault: its secret cannot be opened, its keys hold junk."""

PROBE_GRACE_MS: Final = 5000
LATE_SHARE: Final = 4
"""One in so many places goes to late retries while first tries wait."""


@dataclass(slots=True, eq=False)
class LaneRun:
    """One lane, owned.

    Attributes:
        fence: number of the lease.
        rate_tat_ms: state of the rate limit.
        in_flight: attempts under way.
        waiting: heads that wait in this process for a place.
        lately: attempts that have ended well since heads were last asked for.
        busy: attempts under way, heads that wait for a place, and decisions on the subscription that ends have led to.
        fruitful: something of it was begun, or ended.
        hungry: it may have heads to hand out.
        recheck_ms: when it is looked at again though it seemed empty; Redis' time, 0 for never.
        hold_ms: nothing is sent before, whatever its circuit says; Redis' time.
        dirty: what is to be remembered of it has changed since it was last noted.
        release_waiting: what waits for a later try is to be made due now.
        lost: another worker owns it; what is in flight ends, nothing more begins.
        timer_ms: what of ``recheck_ms`` its shift has taken note of.
        shut: paused, disabled, gone, or not to be sent from; what is in flight ends, then it is given back.
    """

    subscription_id: str
    fence: int
    circuit: Circuit
    concurrency: Concurrency
    rate_tat_ms: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    lately: int = 0
    busy: int = 0
    fruitful: bool = False
    hungry: bool = True
    recheck_ms: int = 0
    hold_ms: int = 0
    dirty: bool = False
    release_waiting: bool = False
    lost: bool = False
    shut: bool = False
    turns: int = 0
    timer_ms: int = 0

    def fit(self, endpoint: Endpoint) -> None:
        """Heed a ceiling that has changed."""
        if self.concurrency.ceiling != endpoint.subscription.max_concurrency:
            self.concurrency = breaker.start_concurrency(endpoint.subscription.max_concurrency)

    @property
    def has_place(self) -> bool:
        """Whether one more attempt may be under way."""
        return self.in_flight < self.concurrency.limit

    def may_begin(self, now_ms: int) -> bool:
        """Whether what was handed out a moment ago may still be sent."""
        if self.lost or self.shut:
            return False
        if self.circuit is breaker.HEALTHY:
            return True
        match breaker.admit(self.circuit, now_ms=now_ms):
            case Probe():
                return not self.in_flight
            case admitted:
                return isinstance(admitted, Flow)

    def ahead(self, endpoint: Endpoint) -> int:
        """How many heads may wait here for a place: as many as ended since the last time, of a partner who is well."""
        if endpoint.rate is not None or self.circuit is not breaker.HEALTHY:
            return 0
        return min(self.lately, self.concurrency.limit)

    def room(self, endpoint: Endpoint, *, now_ms: int, process_room: int) -> int:
        """How many heads to ask for now; also says when to look again where the answer is none.

        Args:
            process_room: places left in this process, and those about to be; one lane gets at most half of them, so
                that no one's endpoint keeps everybody else's waiting.
        """
        if self.lost or self.shut:
            return 0
        wanted = self.concurrency.limit + self.ahead(endpoint) - self.in_flight - self.waiting
        places = min(wanted, max(1, process_room // 2), process_room, MOST_AT_ONCE)
        if places <= 0:
            self.hungry = False  # the end of an attempt makes it hungry again
            return 0
        match breaker.admit(self.circuit, now_ms=now_ms):
            case Wait(until_ms=until_ms):
                self.wait_until(until_ms)
                return 0
            case Probe():
                if self.in_flight or self.waiting:
                    self.hungry = False
                    return 0
                places = 1
            case Flow():
                pass
        if endpoint.rate is not None:
            granted = take(endpoint.rate, tat_ms=self.rate_tat_ms, now_ms=now_ms, wanted=places)
            if granted.granted == 0:
                self.hold_ms = int(granted.next_ms) + 1
                self.dirty = True
                self.wait_until(self.hold_ms)
            # What waits for a place was granted before, and is not counted before it begins.
            places = max(granted.granted - self.waiting, 0)
            if not places and granted.granted:
                self.hungry = False
        self.lately = 0
        return places

    def wait_until(self, at_ms: int) -> None:
        """Look at it again then, and not before unless something happens."""
        self.hungry = False
        self.recheck_ms = at_ms

    def set_aside(self, until_ms: int) -> None:
        """It cannot be sent from, by our own fault: give it back, and let nobody claim it before."""
        self.shut = True
        self.hungry = False
        self.hold_ms = until_ms
        self.dirty = True

    def split(self, places: int) -> tuple[int, int]:
        """How many first tries to ask for, and how many heads in all: late retries get a share, never all."""
        self.turns += 1
        late = places // LATE_SHARE if places >= LATE_SHARE else int(self.turns % LATE_SHARE == 0)
        return places - late, places

    def begin(self, endpoint: Endpoint, *, now_ms: int, timeout_ms: int) -> bool:
        """Take note of an attempt that begins; True when it is the probe."""
        self.in_flight += 1
        self.busy += 1
        if endpoint.rate is not None:
            self.rate_tat_ms = take(endpoint.rate, tat_ms=self.rate_tat_ms, now_ms=now_ms, wanted=1).tat_ms
            self.dirty = True
        if self.circuit.open_until_ms is None:
            return False
        self.circuit = breaker.probe_started(self.circuit, now_ms=now_ms, timeout_ms=timeout_ms + PROBE_GRACE_MS)
        self.dirty = True
        return True

    def end(
        self,
        outcome: Outcome,
        *,
        subject: str,
        probe: bool,
        started_ms: int,
        now_ms: int,
        draw: float,
        max_wait_s: float,
    ) -> None:
        """Take note of how an attempt ended; ``in_flight`` and ``busy`` are the caller's to lower."""
        self.hungry = True
        before = self.circuit
        if outcome.success:
            self.lately += 1
            if before is not breaker.HEALTHY:
                if breaker.releases(before):
                    self.release_waiting = True
                    self.dirty = True
                self.circuit = breaker.succeeded(before, subject=subject)
            self.concurrency = breaker.grown(self.concurrency)
        elif not outcome.ours:
            self.circuit = breaker.failed(before, subject=subject, now_ms=now_ms, probe=probe, draw=draw)
            if outcome.throttled and outcome.retry_after_s is not None:
                self.circuit = breaker.throttled(
                    self.circuit, retry_after_s=outcome.retry_after_s, now_ms=now_ms, max_wait_s=max_wait_s
                )
            if outcome.congested:
                self.concurrency = breaker.halved(self.concurrency, started_ms=started_ms, now_ms=now_ms)
        if self.circuit is not before and self.circuit != before:
            self.dirty = True
            if self.circuit == breaker.HEALTHY:
                self.circuit = breaker.HEALTHY

    def finished(self, now_ms: int, *, stopping: bool) -> bool:
        """Whether it is to be given back: nothing under way, and nothing to take before long."""
        if self.busy:
            return False
        if self.lost:
            return True
        if self.dirty:
            return False
        if self.shut or stopping:
            return True
        return not self.hungry and not now_ms < self.recheck_ms < now_ms + RECHECK_MS

    def note(self, *, now_ms: int) -> LaneNote:
        """What to remember of it; call only when it is sent."""
        admitted = breaker.admit(self.circuit, now_ms=now_ms)
        until_ms = admitted.until_ms if isinstance(admitted, Wait) else 0
        release, self.release_waiting, self.dirty = self.release_waiting, False, False
        return LaneNote(
            circuit=breaker.dump(self.circuit),
            failing_since_ms=self.circuit.failing_since_ms or 0,
            hold_until_ms=max(until_ms, self.hold_ms),
            rate_tat_ms=f"{self.rate_tat_ms:.3f}" if self.rate_tat_ms > now_ms else "",
            release_waiting=release,
        )

    def unnote(self, note: LaneNote) -> None:
        """Nobody knows whether a note was written: it is to be written again."""
        self.dirty = True
        self.release_waiting = self.release_waiting or note.release_waiting
