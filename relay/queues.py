"""Which RQ queues are there, and how is somebody woken to look for work? Jobs are named, so no worker is imported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from redis import Redis as SyncRedis
from rq import Queue
from rq.serializers import JSONSerializer

from relay import logs

SHIFT: Final = "workers.jobs.shift"
"""The one job there is; its arguments are a kind and a slot."""

JOB_TTL_S: Final = 60
"""A job that nobody has begun by then is gone, and so is what RQ keeps of one that failed."""


def queue_name(kind: str) -> str:
    """Name the RQ queue whose workers run shifts of a kind."""
    return f"relay-{kind}"


class Wake:
    """Sees to it that somebody looks for work of a kind: called when something becomes due.

    A wake is a hint. If it is lost, the scheduler's next sweep gives it again; so it never raises.
    """

    def __init__(
        self,
        connection: SyncRedis,
        *,
        take: Callable[[str, str], Awaitable[bool]],
        give_back: Callable[[str, str], Awaitable[object]],
        new_slot: Callable[[], str],
    ) -> None:
        """Use what was opened.

        Args:
            connection: RQ's; without asyncio, used by one thread of this object's own.
            take: takes a slot (kind, slot) and says whether to enqueue a shift with it.
            give_back: gives it back, where enqueueing failed.
            new_slot: makes a name that no slot has had before: letters, digits, underscores, dashes.
        """
        self._connection = connection
        self._take = take
        self._give_back = give_back
        self._new_slot = new_slot
        self._queues: dict[str, Queue] = {}
        # Not the loop's own executor: that one also resolves host names, which can take long.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wake")

    async def __call__(self, kind: str) -> None:
        """Wake somebody for work of this kind."""
        slot = self._new_slot()
        try:
            if await self._take(kind, slot):
                try:
                    await asyncio.get_running_loop().run_in_executor(self._thread, self._enqueue, kind, slot)
                except Exception:
                    await self._give_back(kind, slot)
                    raise
        except Exception as error:  # noqa: BLE001  what was committed is committed; the sweep wakes again
            logs.event("wake failed", level="warning", kind=kind, exc=error)

    def close(self) -> None:
        """End the thread and its connections; waits for an enqueueing that is under way."""
        self._thread.shutdown()
        self._connection.close()

    def _enqueue(self, kind: str, slot: str) -> None:
        if kind not in self._queues:
            self._queues[kind] = Queue(queue_name(kind), connection=self._connection, serializer=JSONSerializer)
        self._queues[kind].enqueue_call(
            SHIFT,
            args=[kind, slot],
            job_id=slot,
            timeout=-1,  # a shift has deadlines of its own
            ttl=JOB_TTL_S,
            result_ttl=0,
            failure_ttl=JOB_TTL_S,
            description=kind,
        )
