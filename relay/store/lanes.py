"""How does a worker own lanes, take what is due, and settle what it tried?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from relay.store import keys
from relay.store.scripts import Call, Scripts

LEASE_MS: Final = 18_000
"""How long a lane is one worker's without renewal; what a killed worker held goes on within 30 s."""

CORRUPT_MS: Final = 60_000
"""After how long a lane whose keys hold something else is looked at again: somebody may have mended it."""

MOST_AT_ONCE: Final = 500
"""Heads taken of one lane, or settled of it, at once: what a script can unpack is limited."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A lane that is ours now.

    Attributes:
        circuit: as it was noted, "" for none.
        rate_tat_ms: state of its rate limit.
    """

    subscription_id: str
    fence: int
    circuit: str
    rate_tat_ms: float


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim brought.

    Attributes:
        now_ms: Redis' time.
        next_due_ms: when the next lane is due, None for never.
        corrupt: subscriptions that are due and whose lanes cannot be read.
    """

    now_ms: int
    next_due_ms: int | None
    lanes: tuple[Claimed, ...]
    corrupt: tuple[str, ...]


class Wanted(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How many heads of a lane to hand out: at most so many that were never tried, and so many in all."""

    subscription_id: str
    fence: int
    fresh: int
    total: int


class TakenHead(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The first event of a queue, marked as in hand.

    Attributes:
        event: its number among the takings' events, the first being 1.
        attempts: how many were made; ``UNREADABLE`` or ``ENDED`` where its record does not say so.
        opened: a replay, or somebody by hand, made it pending again.
    """

    queue: str
    event: int
    position: int
    attempts: int
    opened: bool


UNREADABLE: Final = -1
ENDED: Final = -2


class Taken(msgspec.Struct, array_like=True, frozen=True):
    """What one lane gave.

    Attributes:
        state: ``ok``, ``lost``, ``shut`` or ``corrupt``.
        next_ms: when the next one that waits is due; 0 when none is known.
    """

    state: str
    next_ms: int
    heads: list[TakenHead]


_CORRUPT: Final = Taken("corrupt", 0, [])


@dataclass(frozen=True, slots=True)
class Takings:
    """What all lanes gave, in the order they were asked for; the epochs tell whether documents have changed.

    Attributes:
        events: static part (None: the log has it no more), sequence, sequence before, of each event that heads name.
    """

    now_ms: int
    subscriptions_epoch: int
    brands_epoch: int
    lanes: tuple[Taken, ...]
    events: tuple[tuple[bytes | None, bytes, bytes], ...]


class Settlement(msgspec.Struct, array_like=True, frozen=True, gc=False, kw_only=True):
    """How one delivery moves on.

    Attributes:
        position: of its event.
        number: of the attempt this records; of the next one where none was made.
        verdict: letter of settle.lua.
        due_ms: when to try again; 0 where that does not apply.
        attempt: the record's line, "" for none.
        status_class: "" when no attempt was made.
        duration_bucket: index into the buckets of durations.
        latency_bucket: likewise of latencies, -1 where the event is not delivered or was replayed.
        announcement: JSON of an operational event, "" for none.
    """

    queue: str
    position: str
    number: int
    verdict: str
    due_ms: int = 0
    attempt: str = ""
    status_class: str = ""
    duration_bucket: int = 0
    duration_ms: int = 0
    latency_bucket: int = -1
    latency_ms: int = 0
    announcement: str = ""


class LaneNote(msgspec.Struct, array_like=True, frozen=True, gc=False, kw_only=True):
    """What the owner wants remembered of a lane.

    Attributes:
        failing_since_ms: 0 when it does not fail.
        hold_until_ms: nothing is sent before; 0 for no such time.
        rate_tat_ms: state of its rate limit.
        release_waiting: make all that waits for a later try due now.
    """

    circuit: str
    failing_since_ms: int
    hold_until_ms: int
    rate_tat_ms: str
    release_waiting: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be written of one lane."""

    subscription_id: str
    fence: int
    settlements: Sequence[Settlement]
    note: LaneNote | None


class LaneStore:
    """Calls the scripts of lanes. Methods that end in ``_call`` give the call itself, to be sent with others."""

    def __init__(self, scripts: Scripts, *, subscriptions_epoch_key: str, brands_epoch_key: str) -> None:
        self._scripts = scripts
        self._take_keys = (keys.LOG, subscriptions_epoch_key, brands_epoch_key)
        self._stem = keys.lane("")
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Taken).decode

    def claim_call(self, owner: str, *, most: int) -> Call:
        """Own up to ``most`` lanes that are due."""
        return "claim_lanes", [keys.LANES_DUE], [owner, most, LEASE_MS, self._stem, CORRUPT_MS]

    @staticmethod
    def claims(reply: list[Any]) -> Claims:
        """Read the reply to :meth:`claim_call`."""
        now_ms, later_ms, lanes, corrupt = reply
        return Claims(
            now_ms,
            None if later_ms < 0 else later_ms,
            tuple(Claimed(_text(sub), fence, _text(circuit), _number(rate)) for sub, fence, circuit, rate in lanes),
            tuple(_text(sub) for sub in corrupt),
        )

    def take_call(self, wanted: Sequence[Wanted]) -> Call:
        """Hand out heads of lanes that are ours, at most ``MOST_AT_ONCE`` of each."""
        # As text, since the MessagePack of Redis' Lua knows no binary type.
        return "take", self._take_keys, [self._stem, self._encode(wanted)]

    def takings(self, reply: list[Any]) -> Takings:
        """Read the reply to :meth:`take_call`."""
        now_ms, subscriptions_epoch, brands_epoch, lanes, events = reply
        parts = iter(events)
        return Takings(
            now_ms,
            int(subscriptions_epoch),
            int(brands_epoch),
            tuple(self._taken(lane) for lane in lanes),
            tuple(zip(parts, parts, parts, strict=True)),
        )

    def _taken(self, packed: bytes) -> Taken:
        try:
            return self._decode(packed)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _CORRUPT

    def settle_call(self, lanes: Sequence[Settled]) -> Call:
        """Record how attempts ended; :meth:`outcomes` reads the reply."""
        return (
            "settle",
            [keys.COUNTERS, keys.ANNOUNCEMENTS],
            [self._stem, self._encode([part for lane in lanes for part in _parts(lane)])],
        )

    @staticmethod
    def outcomes(lanes: Sequence[Settled], reply: list[list[int]]) -> list[list[int]]:
        """What became of each lane's settlements: 1 recorded, 0 stale, 2 already, 3 the lane cannot be read."""
        parts = iter(reply)
        return [[outcome for _ in _parts(lane) for outcome in next(parts)] for lane in lanes]

    def keep_call(self, renewed: Sequence[tuple[str, int]], given_back: Sequence[tuple[str, int]]) -> Call:
        """Renew and give back leases of ``(subscription, fence)``; the reply is that of keep_lanes.lua."""
        lanes = [*((*lane, True) for lane in renewed), *((*lane, False) for lane in given_back)]
        return (
            "keep_lanes",
            [keys.LANES_DUE, keys.SCHEDULER_NEXT, keys.wake("scheduler")],
            [self._stem, LEASE_MS, CORRUPT_MS, self._encode(lanes)],
        )

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Send calls in one round trip."""
        return await self._scripts.run_all(calls)


def _parts(lane: Settled) -> Iterator[tuple[str, int, Sequence[Settlement], LaneNote | None]]:
    """Split what is too much for one go."""
    first = lane.settlements if len(lane.settlements) <= MOST_AT_ONCE else lane.settlements[:MOST_AT_ONCE]
    yield lane.subscription_id, lane.fence, first, lane.note
    for start in range(MOST_AT_ONCE, len(lane.settlements), MOST_AT_ONCE):
        yield lane.subscription_id, lane.fence, lane.settlements[start : start + MOST_AT_ONCE], None


def _text(found: bytes) -> str:
    return found.decode(errors="replace")


def _number(found: bytes) -> float:
    try:
        return float(found or 0)
    except ValueError:
        return 0.0
