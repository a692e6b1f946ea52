"""Who looks for work of a kind: how many shifts run or are about to, and is one more needed?

An RQ job is only a wake: "look for work of this kind". Its slot is ours, and short-lived: RQ's own ways to keep a job
from being there twice outlive a worker that was killed.

A running shift, however busy, looks whenever ``keys.wake(kind)`` holds something, and claims what it has room for. So
where one runs it is told, and another is enqueued only if something stays due all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from relay import logs
from relay.store import keys
from relay.store.scripts import Argument, Scripts

KINDS: Final = ("poll", "deliver", "maintain")
DUE: Final = {"poll": keys.POLLS_DUE, "deliver": keys.LANES_DUE, "maintain": keys.MAINTAIN_DUE}
"""Of each kind, the sorted set of what is due: thing -> ms."""

QUEUED_MS: Final = 10_000
"""A slot whose shift has not begun by then lapses: its job was lost, or there is nobody to run it."""
RUNNING_MS: Final = 12_000
"""A slot whose shift has not kept it by then lapses: its worker was killed. Shifts keep theirs every ``KEEP_S``."""
KEEP_S: Final = 4.0
LATE_MS: Final = 500
"""What has been due for longer shows that the shifts that run do not keep up."""
LEASE_MS: Final = 20_000
"""How long nobody else becomes the scheduler after the last sweep of the one that is."""

_TYPES: Final = (
    (":slots:", "zset"),
    (":workers:", "set"),
    (":wake:", "list"),
    (":scheduler", "string"),
)
"""Part of a key's name -> its type, the first that fits: of the keys of this file."""


class Taken(StrEnum):
    """What became of a wake."""

    NOTHING = "nothing"
    """Nothing of the kind is due: somebody has seen to it."""
    ENQUEUE = "enqueue"
    """The slot is taken: enqueue a shift with it."""
    PUSHED = "pushed"
    """A running shift was told."""
    COVERED = "covered"
    """A shift that was woken or told has yet to look."""
    FULL = "full"
    """There are as many shifts as workers; the running ones were told."""
    NOBODY = "nobody"
    """No worker of the kind lives; the first that comes looks for itself."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What the scheduler learns of one look.

    Attributes:
        mine: this scheduler is the one that wakes the others.
        sleep_ms: until the next thing becomes due, or the lease of the other ends.
        due: kinds of which something is due.
    """

    mine: bool
    sleep_ms: int
    due: tuple[str, ...]


class Slots:
    """The slots of all kinds, in Redis."""

    def __init__(self, redis: Redis, blocking: Redis, scripts: Scripts) -> None:
        """Use opened clients.

        Args:
            redis: for commands.
            blocking: for pops that wait; its replies may take longer than the longest wait.
            scripts: those of ``redis``.
        """
        self._redis = redis
        self._blocking = blocking
        self._scripts = scripts

    async def take(self, kind: str, slot: str) -> Taken:
        """Answer a wake: take ``slot`` (a new name) for a shift to be enqueued, or say why there is no need."""
        reply = await self._run(
            "slot_take",
            [*_slot_keys(kind), keys.workers(kind), keys.wake(kind), DUE[kind]],
            [slot, QUEUED_MS, f"{keys.workers(kind)}:", LATE_MS],
        )
        return Taken(reply.decode())

    async def start(self, kind: str, slot: str) -> bool:
        """Begin the shift that has this slot; False says that it must not: it runs already, or enough others do."""
        reply = await self._run(
            "slot_start",
            [*_slot_keys(kind), keys.workers(kind)],
            [slot, RUNNING_MS, f"{keys.workers(kind)}:"],
        )
        return bool(reply)

    async def keep(self, kind: str, slot: str) -> None:
        """Renew the slot of a running shift; to be called every ``KEEP_S``."""
        await self._run("slot_keep", _slot_keys(kind)[1:], [slot, RUNNING_MS])

    async def release(self, kind: str, slot: str) -> tuple[bool, int | None]:
        """Give the slot back, and look once more.

        Returns:
            whether something is due now, and when the next thing is due (ms, Redis' clock; None: nothing is).
        """
        due, next_ms = await self._run(
            "slot_release",
            [*_slot_keys(kind), DUE[kind], keys.SCHEDULER_NEXT, keys.wake("scheduler")],
            [slot],
        )
        return bool(due), (None if next_ms < 0 else int(next_ms))

    async def is_due(self, kind: str) -> bool:
        """Say whether something of the kind is due.

        Background tasks are never all done: where none is known, Redis has lost them, and a shift puts them back.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zrange(DUE[kind], 0, 0, withscores=True)
            (seconds, micros), head = await pipe.execute()
        if not head:
            return kind == "maintain"
        due_ms: float = head[0][1]
        return bool(due_ms <= seconds * 1000 + micros / 1000)

    async def is_unattended(self, kind: str) -> bool:
        """Say whether an idle worker should look for itself: something is due, and no scheduler lives.

        Mostly one command. A scheduler does not know of background tasks that Redis has lost, so for those it is asked
        whether they are there.
        """
        if kind != "maintain" and await self._redis.exists(keys.SCHEDULER_LEASE):
            return False
        return await self.is_due(kind)

    async def sweep(self, owner: str, *, sleep_s: float) -> Sweep:
        """Take or keep the scheduler's lease, and look at what is due; ``sleep_s`` is the longest sleep."""
        mine, sleep_ms, *due = await self._run(
            "sweep",
            [keys.SCHEDULER_LEASE, keys.SCHEDULER_NEXT, *(DUE[kind] for kind in KINDS)],
            [owner, LEASE_MS, round(sleep_s * 1000)],
        )
        return Sweep(bool(mine), int(sleep_ms), tuple(kind for kind, is_due in zip(KINDS, due, strict=False) if is_due))

    async def nudged(self, *, timeout_s: float) -> bool:
        """Sleep as the scheduler does, until something becomes due earlier than it meant to wake."""
        return await self._blocking.blpop([keys.wake("scheduler")], timeout=timeout_s) is not None

    async def leave(self, owner: str) -> None:
        """Give the scheduler's lease back, if it is this owner's."""
        await self._run("scheduler_leave", [keys.SCHEDULER_LEASE, keys.SCHEDULER_NEXT], [owner])

    async def _run(self, name: str, names: list[str], args: list[Argument]) -> Any:
        try:
            return await self._scripts.run(name, names, args)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            await self._discard_garbage(names)
            return await self._scripts.run(name, names, args)

    async def _discard_garbage(self, names: list[str]) -> None:
        """Delete what somebody put in the place of slots or wakes: they are made anew. What is due is left alone."""
        for name in names:
            wanted = next((kind for part, kind in _TYPES if part in name), None)
            answer = await self._redis.type(name)
            found = answer.decode() if isinstance(answer, bytes) else answer
            if wanted is not None and found not in (wanted, "none"):
                await self._redis.delete(name)
                logs.event("state discarded", level="error", reason="corrupt_state", key=name, found=found)


def _slot_keys(kind: str) -> list[str]:
    return [f"{keys.slots(kind)}:queued", f"{keys.slots(kind)}:running"]
