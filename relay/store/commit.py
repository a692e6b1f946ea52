"""How does a change become true?  One call of commit.lua."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from relay.store import keys
from relay.store.scripts import Argument, Scripts
from relay.store.snapshots import Head, Scope

MOST_REFERENCES = 2000
"""References in one call: a script must not hold Redis up for long."""


class Committed(Enum):
    """What became of one change."""

    EVENT = "event"
    SILENT = "silent"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"


class Refused(Enum):
    """Why a whole call was refused; nothing was written."""

    FENCE = "another worker owns the brand"
    ROUTES = "subscriptions changed since the routing"


@dataclass(frozen=True, slots=True)
class Fence:
    """Proof of ownership: key of a lease and the number it had when it was taken."""

    lease_key: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """The event of a change: packed, with where it goes."""

    event_id: str
    static: bytes
    counter: str
    queue: str
    references: tuple[str, ...]
    taken_from_list: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change as the script takes it.

    Attributes:
        entity: id within the scope.
        head: as read, None when there was none.
        static_head: of the new snapshot.
        packed: the new object; b"" keeps the present one.
        settled: nothing is expected to happen to it: retention may take it away.
        announcement: its event; None for a silent write.
    """

    entity: str
    head: Head | None
    static_head: str
    packed: bytes
    settled: bool
    announcement: Announcement | None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an entry; position and sequence of its event, 0 without one."""

    outcome: Committed
    position: int = 0
    sequence: int = 0


_OUTCOMES = {1: Committed.EVENT, 2: Committed.SILENT, 0: Committed.UNCHANGED, -1: Committed.CONFLICT}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a call.

    Attributes:
        results: in the order of the entries.
        orphan_lanes: how many lanes that nobody owns have become due.
        corrupt_lanes: subscriptions whose lanes cannot be read: they were passed over.
    """

    results: tuple[Result, ...]
    orphan_lanes: int
    corrupt_lanes: tuple[str, ...] = ()


class CommitStore:
    """Calls commit.lua."""

    def __init__(self, scripts: Scripts, *, epoch_key: str) -> None:
        self._scripts = scripts
        self._epoch_key = epoch_key

    async def commit(
        self, scope: Scope, entries: Sequence[Entry], *, started: int, fence: Fence | None, epoch: int
    ) -> Answer | Refused:
        """Commit entries, each whole or not at all.

        Args:
            started: stamp taken before the state that the entries come from was read.
            fence: None for a caller that holds no lease (compare-and-set protects it all the same).
            epoch: of the subscriptions that the references were made from.
        """
        args: list[Argument] = [
            "" if fence is None else str(fence.number),
            started,
            epoch,
            keys.lane(""),
            keys.wake("deliver", ""),
            keys.wake("deliver"),
            scope.brand,
            len(entries),
        ]
        for entry in entries:
            event = entry.announcement
            args += [
                entry.entity,
                b"" if entry.head is None else entry.head.text,
                entry.static_head,
                entry.packed,
                "1" if entry.settled else "0",
            ]
            if event is None:
                args += ["", "", "", "", "", 0]
            else:
                args += [
                    event.event_id,
                    event.static,
                    event.counter,
                    event.queue,
                    event.taken_from_list,
                    len(event.references),
                    *event.references,
                ]
        stem = scope.stem
        refusal, results, orphans, corrupt = await self._scripts.run(
            "commit",
            [
                keys.CLOCK,
                keys.LOG,
                keys.LOG_IDS,
                stem + ":h",
                stem + ":o",
                stem + ":gone",
                "" if fence is None else fence.lease_key,
                self._epoch_key,
                keys.LANES_DUE,
                keys.COUNTERS,
                keys.ANNOUNCEMENTS,
                keys.LANES_CORRUPT,
            ],
            args,
        )
        if refusal == b"fence":
            return Refused.FENCE
        if refusal == b"routes":
            return Refused.ROUTES
        return Answer(
            tuple(Result(_OUTCOMES[r[0]], *r[1:]) for r in results), orphans, tuple(name.decode() for name in corrupt)
        )
