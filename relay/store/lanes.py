"""How does a worker own lanes, take what is due, and settle what it tried?"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from relay.store import keys
from relay.store.scripts import Argument, Call, Scripts

LEASE_MS = 18_000
"""How long a lane is one worker's without renewal; what a killed worker held goes on within 30 s."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A lane that is ours now."""

    subscription_id: str
    fence: int
    circuit: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim brought, at Redis' time ``now_ms``; when the next lane is due, None for never."""

    now_ms: int
    next_due_ms: int | None
    lanes: tuple[Claimed, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many heads of a lane to hand out: at most so many that were never tried, and so many in all."""

    subscription_id: str
    fence: int
    fresh: int
    total: int


@dataclass(frozen=True, slots=True)
class TakenHead:
    """The first event of a queue, marked as in hand.

    Attributes:
        record: as stored, b"" when never tried.
        static: the packed event, None when the log no longer has it.
    """

    queue: str
    position: int
    record: bytes
    static: bytes | None
    sequence: bytes
    previous: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What one lane gave: ``state`` is ``ok``, ``lost``, ``shut`` or ``corrupt``."""

    state: str
    hold_until_ms: int
    heads: tuple[TakenHead, ...]


@dataclass(frozen=True, slots=True)
class Takings:
    """What all lanes gave, in the order they were asked for; the epochs tell whether documents have changed."""

    now_ms: int
    subscriptions_epoch: int
    brands_epoch: int
    lanes: tuple[Taken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How one delivery moves on.

    Attributes:
        number: of the attempt this records; of the next one where none was made.
        verdict: letter of settle.lua.
        due_ms: when to try again; 0 where that does not apply.
        attempt: the record's line, b"" for none.
        status_class: "" when no attempt was made.
        duration_bucket: index into the buckets of durations.
        latency_bucket: likewise of latencies, -1 where the event is not delivered or was replayed.
        announcement: JSON of an operational event, b"" for none.
    """

    subscription_id: str
    fence: int
    queue: str
    position: int
    number: int
    verdict: str
    due_ms: int = 0
    attempt: bytes = b""
    status_class: str = ""
    duration_bucket: int = 0
    duration_ms: int = 0
    latency_bucket: int = -1
    latency_ms: int = 0
    announcement: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneNote:
    """What the owner wants remembered of a lane."""

    subscription_id: str
    fence: int
    circuit: str
    failing_since_ms: int | None
    hold_until_ms: int | None
    release_waiting: bool = False


class LaneStore:
    """Calls the scripts of lanes. Methods that end in ``_call`` give the call itself, to be sent with others."""

    def __init__(self, scripts: Scripts, *, subscriptions_epoch_key: str, brands_epoch_key: str) -> None:
        self._scripts = scripts
        self._epoch_keys = (subscriptions_epoch_key, brands_epoch_key)
        self._stem = keys.lane("")
        self._encoder = msgspec.msgpack.Encoder()

    def claim_call(self, owner: str, *, most: int) -> Call:
        """Own up to ``most`` lanes that are due."""
        return "claim_lanes", [keys.LANES_DUE], [owner, most, LEASE_MS, self._stem]

    @staticmethod
    def claims(reply: list[object]) -> Claims:
        """Read the reply to :meth:`claim_call`."""
        now_ms, later_ms, lanes = reply
        assert isinstance(now_ms, int)  # noqa: S101  (narrows a reply for the type checker)
        assert isinstance(later_ms, int)  # noqa: S101  (same)
        assert isinstance(lanes, list)  # noqa: S101  (same)
        claimed = tuple(Claimed(sub.decode(), fence, circuit.decode()) for sub, fence, circuit, _ in lanes)
        return Claims(now_ms, None if later_ms < 0 else later_ms, claimed)

    def take_call(self, wanted: Sequence[Wanted]) -> Call:
        """Hand out heads of lanes that are ours."""
        args: list[Argument] = [self._stem]
        for lane in wanted:
            args += [lane.subscription_id, lane.fence, lane.fresh, lane.total]
        return "take", [keys.LOG, *self._epoch_keys], args

    @staticmethod
    def takings(reply: list[object]) -> Takings:
        """Read the reply to :meth:`take_call`."""
        now_ms, subscriptions_epoch, brands_epoch, lanes = reply
        assert isinstance(now_ms, int)  # noqa: S101  (narrows a reply for the type checker)
        assert isinstance(subscriptions_epoch, bytes)  # noqa: S101  (same)
        assert isinstance(brands_epoch, bytes)  # noqa: S101  (same)
        assert isinstance(lanes, list)  # noqa: S101  (same)
        return Takings(
            now_ms,
            int(subscriptions_epoch),
            int(brands_epoch),
            tuple(
                Taken(
                    state.decode(),
                    hold_until_ms,
                    tuple(
                        TakenHead(queue.decode(), position, record, static, sequence, previous)
                        for queue, position, record, static, sequence, previous in heads
                    ),
                )
                for state, hold_until_ms, heads in lanes
            ),
        )

    def settle_call(self, settlements: Sequence[Settlement], notes: Sequence[LaneNote]) -> Call:
        """Record how attempts ended; the reply has one number a settlement: 1 recorded, 0 stale, 2 already."""
        # As text, since the MessagePack of Redis' Lua knows no binary type.
        work = (
            [
                (
                    s.subscription_id,
                    s.fence,
                    s.queue,
                    str(s.position),
                    s.number,
                    s.verdict,
                    s.due_ms,
                    s.attempt.decode(),
                    s.status_class,
                    s.duration_bucket,
                    s.duration_ms,
                    s.latency_bucket,
                    s.latency_ms,
                    s.announcement.decode(),
                )
                for s in settlements
            ],
            [
                (
                    n.subscription_id,
                    n.fence,
                    n.circuit,
                    n.failing_since_ms or 0,
                    n.hold_until_ms or 0,
                    n.release_waiting,
                )
                for n in notes
            ],
        )
        return "settle", [keys.COUNTERS, keys.ANNOUNCEMENTS], [self._stem, self._encoder.encode(work)]

    def keep_call(self, renewed: Sequence[tuple[str, int]], given_back: Sequence[tuple[str, int]]) -> Call:
        """Renew and give back leases of ``(subscription, fence)``; the reply is that of keep_lanes.lua."""
        args: list[Argument] = [self._stem, LEASE_MS]
        for lanes, flag in ((renewed, "1"), (given_back, "0")):
            for subscription_id, fence in lanes:
                args += [subscription_id, fence, flag]
        return "keep_lanes", [keys.LANES_DUE, keys.SCHEDULER_NEXT, keys.wake("scheduler")], args

    async def run(self, calls: Sequence[Call]) -> list[list[object]]:
        """Send calls in one round trip."""
        return await self._scripts.run_all(calls)
