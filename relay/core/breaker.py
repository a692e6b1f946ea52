"""When may a lane send, and how much at once? Freely while it succeeds; after many failures, one probe at a time.

Two pure state machines, one for each half of the question. Neither knows Redis or a clock: whoever owns the lane keeps
``Circuit`` (``dump``/``load``) with it, and ``Concurrency`` in memory.

The circuit::

              FAILURES_TO_OPEN different subjects failed,
              no success in between                           open_until_ms reached
    ┌────────┐ ─────────────────────────────────▶ ┌──────┐ ─────────────────────▶ ┌───────┐
    │ closed │                                    │ open │      probe failed      │ probe │
    └────────┘ ◀───────────────────────────────── └──────┘ ◀───────────────────── └───────┘
        ▲            any success, at once           ▲   longer each time, ≤ 60 s      │
        └───────────────────────────────────────────┴─────────── probe succeeded ─────┘

A probe is an ordinary attempt of a delivery that is due: it spends that delivery's schedule, so attempts never exceed
it. The circuit therefore never makes a delivery due early; it only spaces out those that are, at most ``PROBE_CAP_MS``
apart, and each probe takes another subject, since the one that failed waits for its own next delay. A lane in which
much waits is so found healthy within a minute of the partner's recovery; a lane in which one delivery waits, at that
delivery's next attempt. Either way the first success closes the circuit, and the owner makes all that waits due.

Throttling (429, 503 with Retry-After) holds the whole lane too, but a success cannot end it early: the partner
named a time.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Final

FAILURES_TO_OPEN: Final = 5
"""So many different subjects in a row must fail. One subject that fails again and again never opens the circuit."""

PROBE_FIRST_MS: Final = 5_000
PROBE_CAP_MS: Final = 60_000
"""The wait before the first probe, doubled after each one that fails, up to the cap (jitter included)."""

JITTER: Final = 0.1

DISABLE_AFTER_MS: Final = 5 * 86_400_000
"""Five days without a success since the first failure."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """What a lane remembers of its partner's health. Times are epoch milliseconds.

    Attributes:
        failing_since_ms: the first failure since the last success; None while all is well.
        failures: attempts that failed since then, in a row.
        subjects: which subjects failed since then, as CRC-32; no more than it takes to open.
        open_until_ms: the circuit is open, and the next probe may start then; None while closed. While a probe is
            under way this is the moment at which it is given up for lost.
        probes_failed: in a row, since the circuit opened.
        held_until_ms: the partner asked to wait until then (Retry-After).
        released: which subjects were made due by a recovery and have not succeeded since, as CRC-32. Should nobody but
            they fail again, that is no outage.
    """

    failing_since_ms: int | None = None
    failures: int = 0
    subjects: tuple[int, ...] = ()
    open_until_ms: int | None = None
    probes_failed: int = 0
    held_until_ms: int | None = None
    released: tuple[int, ...] = ()


HEALTHY: Final = Circuit()


@dataclass(frozen=True, slots=True)
class Flow:
    """Send whatever is due."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Send one delivery that is due, oldest first, and tell ``probe_started``."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Send nothing before ``until_ms``.

    Attributes:
        until_ms: epoch milliseconds.
        reason: ``"circuit open"``, or ``"throttled"`` where the partner asked for it.
    """

    until_ms: int
    reason: str


def admit(circuit: Circuit, *, now_ms: int) -> Flow | Probe | Wait:
    """Say what the lane may send now."""
    if circuit.held_until_ms is not None and now_ms < circuit.held_until_ms:
        return Wait(circuit.held_until_ms, "throttled")
    if circuit.open_until_ms is None:
        return Flow()
    if now_ms < circuit.open_until_ms:
        return Wait(circuit.open_until_ms, "circuit open")
    return Probe()


def probe_started(circuit: Circuit, *, now_ms: int, timeout_ms: int) -> Circuit:
    """Let no second probe start while one is under way.

    Args:
        circuit: the state that admitted the probe.
        now_ms: when it starts.
        timeout_ms: after which it counts as lost, should nobody report its end: the attempt's timeout and some grace. A
            worker that dies with its probe costs the lane no more than that.
    """
    return replace(circuit, open_until_ms=now_ms + timeout_ms)


def succeeded(circuit: Circuit, *, subject: str) -> Circuit:
    """Take note of a success: forget every failure. Only a time the partner named stands, and who was released.

    Returns:
        The new state. Where ``releases`` said so of the old one, the owner makes everything that waits in the lane due.
    """
    released = circuit.subjects if releases(circuit) else circuit.released
    if released:
        mark = _mark(subject)
        released = tuple(each for each in released if each != mark)
    return Circuit(held_until_ms=circuit.held_until_ms, released=released)


def releases(circuit: Circuit) -> bool:
    """Whether a success in this state is the partner's recovery: all that waits in the lane becomes due at once.

    It is, unless only subjects have failed that the recovery before made due already: a partner that answers everybody
    but refuses one event again and again would otherwise see that event after every success, until its schedule is
    burnt in seconds.
    """
    if len(circuit.subjects) >= FAILURES_TO_OPEN:
        return True
    return any(mark not in circuit.released for mark in circuit.subjects)


def failed(circuit: Circuit, *, subject: str, now_ms: int, probe: bool, draw: float) -> Circuit:
    """Take note of a failure that is the partner's (not one that is ours).

    Args:
        circuit: the state before.
        subject: whose attempt failed.
        now_ms: when.
        probe: whether this attempt was admitted as the probe. The end of an attempt that began before the circuit
            opened does not lengthen the wait.
        draw: a number in [0, 1) that picks the jitter of the wait; 0.5 means none.
    """
    since_ms = now_ms if circuit.failing_since_ms is None else circuit.failing_since_ms
    circuit = replace(circuit, failing_since_ms=since_ms, failures=circuit.failures + 1)
    if circuit.open_until_ms is not None:
        if not probe:
            return circuit
        probes_failed = circuit.probes_failed + 1
        return replace(
            circuit, probes_failed=probes_failed, open_until_ms=now_ms + probe_wait_ms(probes_failed, draw=draw)
        )
    mark = _mark(subject)
    subjects = circuit.subjects if mark in circuit.subjects else (*circuit.subjects, mark)
    open_until_ms = now_ms + probe_wait_ms(0, draw=draw) if len(subjects) >= FAILURES_TO_OPEN else None
    return replace(circuit, subjects=subjects, open_until_ms=open_until_ms)


def throttled(circuit: Circuit, *, retry_after_s: float, now_ms: int, max_wait_s: float) -> Circuit:
    """Hold the whole lane for as long as the partner asked, at most ``max_wait_s``; never for less than before."""
    until_ms = now_ms + round(min(retry_after_s, max_wait_s) * 1_000)
    return replace(circuit, held_until_ms=max(until_ms, circuit.held_until_ms or 0))


def probe_wait_ms(probes_failed: int, *, draw: float) -> int:
    """Milliseconds before the next probe: 5 s, doubled for each one that failed, at most 60 s, jittered by ±10 %."""
    wait_ms = min(PROBE_FIRST_MS << min(probes_failed, 8), PROBE_CAP_MS)
    return min(round(wait_ms * (1 + JITTER * (2 * draw - 1))), PROBE_CAP_MS)


def disable_due(failing_since_ms: int | None, now_ms: int) -> bool:
    """Whether a subscription has gone five days without a success since its first failure.

    Ask when an attempt fails and, for lanes in which something is pending, now and then. A lane with nothing left to
    send is not failing.
    """
    return failing_since_ms is not None and now_ms - failing_since_ms >= DISABLE_AFTER_MS


def dump(circuit: Circuit) -> str:
    """Write the state as short text, ``""`` for a healthy lane."""
    if circuit == HEALTHY:
        return ""
    times = (circuit.failing_since_ms, circuit.open_until_ms, circuit.held_until_ms)
    marks = (",".join(f"{mark:x}" for mark in each) for each in (circuit.subjects, circuit.released))
    counts = (str(circuit.failures), str(circuit.probes_failed))
    return ";".join([*("" if time is None else str(time) for time in times), *counts, *marks])


def _mark(subject: str) -> int:
    return zlib.crc32(subject.encode("utf-8", "surrogatepass"))


def load(text: str) -> Circuit:
    """Read what ``dump`` wrote.

    Raises:
        ValueError: the text is something else; a healthy lane is the safe guess then.
    """
    if not text:
        return HEALTHY
    since, until, held, failures, probes_failed, subjects, released = text.split(";")
    return Circuit(
        failing_since_ms=int(since) if since else None,
        open_until_ms=int(until) if until else None,
        held_until_ms=int(held) if held else None,
        failures=int(failures),
        probes_failed=int(probes_failed),
        subjects=tuple(int(mark, 16) for mark in subjects.split(",")) if subjects else (),
        released=tuple(int(mark, 16) for mark in released.split(",")) if released else (),
    )


CONCURRENCY_START: Final = 4

_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many attempts a lane may have under way: one more for each round of successes, half after congestion.

    Attributes:
        ceiling: the subscription's ``max_concurrency``, at least 1.
        window: the present limit; its whole part counts.
        cut_ms: when it was last halved. Attempts that began before tell nothing new.
    """

    ceiling: int
    window: float
    cut_ms: int = 0

    @property
    def limit(self) -> int:
        """Attempts at a time, from 1 to ``ceiling``."""
        return int(self.window + _ROUNDING)


def start_concurrency(ceiling: int) -> Concurrency:
    """Begin small."""
    return Concurrency(ceiling=ceiling, window=float(min(CONCURRENCY_START, ceiling)))


def grown(concurrency: Concurrency, *, successes: int = 1) -> Concurrency:
    """Take note of attempts that the partner answered well: ``limit`` of them make one more place."""
    if concurrency.window >= concurrency.ceiling:
        return concurrency
    window = min(concurrency.window + successes / concurrency.limit, float(concurrency.ceiling))
    return replace(concurrency, window=window)


def halved(concurrency: Concurrency, *, started_ms: int, now_ms: int) -> Concurrency:
    """Take note of an attempt that timed out or was throttled.

    Args:
        concurrency: the state before.
        started_ms: when the attempt began. All those of one round that fail together halve the limit once.
        now_ms: when it ended.
    """
    if started_ms < concurrency.cut_ms:
        return concurrency
    return replace(concurrency, window=float(max(concurrency.limit // 2, 1)), cut_ms=now_ms)
