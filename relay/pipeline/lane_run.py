"""What does the worker that owns a lane know of it, and how much may it send now?

In memory only: what must survive is noted with the next settlement (circuit, hold) or stands in Redis anyway.
"""

from dataclasses import dataclass

from relay.core import breaker
from relay.core.breaker import Circuit, Concurrency, Flow, Probe, Wait
from relay.core.outcomes import Outcome
from relay.core.rates import take
from relay.pipeline.endpoints import Endpoint
from relay.store.lanes import LaneNote

RECHECK_MS = 1000
"""A lane that looked empty while attempts are under way is looked at again after so long: a retry may be due."""

PROBE_GRACE_MS = 5000
LATE_SHARE = 4
"""One in so many places goes to late retries while first tries wait."""


@dataclass(slots=True, eq=False)
class LaneRun:
    """One lane, owned.

    Attributes:
        fence: number of the lease.
        in_flight: attempts under way.
        hungry: it may have heads to hand out.
        recheck_ms: when it is looked at again though it seemed empty; Redis' time.
        dirty: the circuit changed since it was last noted.
        lost: another worker owns it; what is in flight ends, nothing more begins.
        shut: paused, disabled or gone.
    """

    subscription_id: str
    fence: int
    circuit: Circuit
    concurrency: Concurrency
    in_flight: int = 0
    hungry: bool = True
    recheck_ms: int = 0
    tat_ms: float = 0.0
    dirty: bool = False
    release_waiting: bool = False
    lost: bool = False
    shut: bool = False
    turns: int = 0

    def room(self, endpoint: Endpoint, *, now_ms: int, process_room: int) -> int:
        """How many attempts may begin now; also says when to look again where the answer is none.

        Args:
            process_room: places left in this process; one lane gets at most half of them, so that no one's endpoints
                keep everybody else's waiting.
        """
        if self.lost or self.shut:
            return 0
        places = min(self.concurrency.limit - self.in_flight, max(1, process_room // 2), process_room)
        if places <= 0:
            return 0
        match breaker.admit(self.circuit, now_ms=now_ms):
            case Wait(until_ms=until_ms):
                self.recheck_ms = until_ms
                self.hungry = False
                return 0
            case Probe():
                if self.in_flight:
                    return 0
                places = 1
            case Flow():
                pass
        if endpoint.rate is not None:
            granted = take(endpoint.rate, tat_ms=self.tat_ms, now_ms=now_ms, wanted=places)
            if granted.granted == 0:
                self.recheck_ms = int(granted.next_ms) + 1
                self.hungry = False
            places = granted.granted
        return places

    def split(self, places: int) -> tuple[int, int]:
        """How many first tries to ask for, and how many heads in all: late retries get a share, never all."""
        self.turns += 1
        late = places // LATE_SHARE if places >= LATE_SHARE else int(self.turns % LATE_SHARE == 0)
        return places - late, places

    def begin(self, endpoint: Endpoint, *, now_ms: int, timeout_ms: int) -> bool:
        """Take note of an attempt that begins; True when it is the probe."""
        self.in_flight += 1
        if endpoint.rate is not None:
            self.tat_ms = take(endpoint.rate, tat_ms=self.tat_ms, now_ms=now_ms, wanted=1).tat_ms
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
        """Take note of how an attempt ended."""
        self.in_flight -= 1
        self.hungry = True
        before = self.circuit
        if outcome.success:
            if breaker.releases(before):
                self.release_waiting = True
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
        if self.circuit != before:
            self.dirty = True

    def note(self, *, now_ms: int) -> LaneNote:
        """What to remember of it; call only when it is sent."""
        admitted = breaker.admit(self.circuit, now_ms=now_ms)
        release, self.release_waiting, self.dirty = self.release_waiting, False, False
        return LaneNote(
            subscription_id=self.subscription_id,
            fence=self.fence,
            circuit=breaker.dump(self.circuit),
            failing_since_ms=self.circuit.failing_since_ms,
            hold_until_ms=admitted.until_ms if isinstance(admitted, Wait) else None,
            release_waiting=release,
        )
