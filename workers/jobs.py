"""Which job may RQ run, and what is let through of what lies in its queues?

Whoever can write to Redis can put anything into a queue. Of a job only a kind and a slot are taken, and both checked;
everything else RQ would believe of a stored job (function, callbacks, webhooks, retries) is made anew here.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rq.job import Job

from relay.queues import JOB_TTL_S, SHIFT

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LARGEST_BYTES: Final = 4_096
_RUNNING_TTL_S: Final = 3_600

_runner: Callable[[str, str], None] | None = None


def bind(runner: Callable[[str, str], None]) -> None:
    """Give this process what its jobs run: a function of kind and slot, which returns when the shift has ended."""
    global _runner  # noqa: PLW0603  RQ calls a job by its dotted name, with nothing but its arguments
    _runner = runner


def shift(kind: str, slot: str) -> None:
    """Run one shift; RQ's entry point."""
    if _runner is None:
        raise RuntimeError("jobs run in the relay's own workers only: start one with `relay worker`")
    _runner(kind, slot)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that may run."""

    kind: str
    slot: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A job that must not run; ``reason`` is for the log and the metric."""

    reason: str


def examine(job_id: bytes, stored: Mapping[bytes, bytes], *, kind: str) -> Accepted | Refused:
    """Say whether what lies in a queue is a shift of this kind.

    Args:
        job_id: what was popped.
        stored: the job's hash; empty where it has expired.
        kind: of the queue it was popped from.
    """
    if not _NAME.fullmatch(job_id.decode(errors="replace")):
        return Refused("id")
    if not stored:
        return Refused("expired")
    match _content(stored.get(b"data", b"")):
        case Refused() as refused:
            return refused
        case [str(function), *_] if function != SHIFT:
            return Refused("function")
        case [_, None, [str(job_kind), str(slot)], _] if job_kind == kind and _NAME.fullmatch(slot):
            return Accepted(kind, slot)
    return Refused("arguments")


def _content(data: bytes) -> Any:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, _LARGEST_BYTES)
        return Refused("oversize") if unpacker.unconsumed_tail else json.loads(text)
    except (zlib.error, ValueError, RecursionError):
        return Refused("unreadable")


class ShiftJob(Job):
    """A job that cannot do anything but run a shift, and leaves nothing behind."""

    @property
    def func(self) -> Any:
        """The one function there is."""
        return shift

    def perform(self) -> Any:
        """Run it. RQ would make the job's key immortal first; killed workers would leave theirs behind for ever."""
        self.connection.expire(self.key, _RUNNING_TTL_S)
        return self._execute()

    def execute_success_callback(self, *_args: Any, **_kwargs: Any) -> None:
        """There are no callbacks: RQ would import and call whatever a stored job names."""

    def execute_failure_callback(self, *_args: Any, **_kwargs: Any) -> None:
        """There are no callbacks."""

    def execute_stopped_callback(self, *_args: Any, **_kwargs: Any) -> None:
        """There are no callbacks."""

    def send_webhooks(self, *_args: Any, **_kwargs: Any) -> None:
        """There are none: RQ would call whatever address a stored job names."""


def make(accepted: Accepted, job_id: bytes, **of_queue: Any) -> ShiftJob:
    """Make the job to run of what was accepted.

    Args:
        accepted: what ``examine`` said.
        job_id: as popped.
        of_queue: ``connection``, ``serializer``, ``origin``.
    """
    job = ShiftJob.create(
        SHIFT,
        args=[accepted.kind, accepted.slot],
        id=job_id.decode(),
        timeout=-1,
        result_ttl=0,
        failure_ttl=JOB_TTL_S,
        **of_queue,
    )
    assert isinstance(job, ShiftJob)  # noqa: S101  create is typed as making its base
    return job
