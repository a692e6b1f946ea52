"""What is different about our RQ workers? One queue, refused garbage, no alarms, a stop that loses nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from redis import Redis as SyncRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.utils import get_version, now
from rq.worker import WorkerStatus

from relay import logs
from relay.queues import queue_name
from workers import jobs

REPLY_S: Final = 10.0
"""How long Redis' reply may take, on top of a pop's wait."""
TTL_S: Final = 600
"""How long RQ believes in a worker that it has not heard of; the relay itself counts its workers by their presence."""
HEARTBEAT_S: Final = 240.0
SLOWEST_RECONNECT_S: Final = 5.0


class NoAlarm(BaseDeathPenalty):
    """Shifts have deadlines of their own; RQ's is an alarm signal, which a loop swallows."""

    def setup_death_penalty(self) -> None:
        """Set nothing."""

    def cancel_death_penalty(self) -> None:
        """Cancel nothing."""


class Stopping:
    """Whether this process has been asked to stop; asked by signal handlers, which run in the main thread."""

    def __init__(self) -> None:
        self._asked = False
        self._waiting = False

    def asked(self) -> bool:
        """Say whether it has been."""
        return self._asked

    def ask(self) -> None:
        """Ask. Where the main thread only waits, it stops waiting, by way of StopRequested."""
        self._asked = True
        if self._waiting:
            self._waiting = False
            raise StopRequested

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Surround what may be interrupted.

        Raises:
            StopRequested: the process has been, or is, asked to stop.
        """
        self._waiting = True
        try:
            if self._asked:
                raise StopRequested
            yield
        finally:
            self._waiting = False


class ShiftWorker(SimpleWorker):
    """Pops shifts of one kind and runs them, one at a time, in this process."""

    death_penalty_class = NoAlarm
    job_class = jobs.ShiftJob
    log_result_lifespan = False
    last_cleaned_at: Any

    def __init__(
        self,
        kind: str,
        *,
        name: str,
        connection: SyncRedis,
        pop_s: int,
        stopping: Stopping,
        idle: Callable[[], None],
        refused: Callable[[str], None],
        progressed: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            kind: of shift.
            name: this process'.
            connection: whose timeout is longer than ``pop_s``, by ``REPLY_S``.
            pop_s: how long to wait for a job.
            stopping: tells when to end.
            idle: called when nothing came for a while.
            refused: called with the reason, when what was popped must not run.
            progressed: called whenever the main thread gets on.
        """
        self.kind = kind
        self._job: Any = None
        self._progressed = progressed
        self._pop_s = pop_s
        self._stopping = stopping
        self._idle = idle
        self._refused = refused
        self._heartbeat_s = 0.0
        queue = Queue(
            queue_name(kind),
            connection=connection,
            job_class=self.job_class,
            serializer=JSONSerializer,
            death_penalty_class=NoAlarm,
        )
        super().__init__(
            [queue],
            name=name,
            connection=connection,
            worker_ttl=TTL_S,
            serializer=JSONSerializer,
            log_job_description=False,
        )

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:  # noqa: ARG002  RQ's signature
        """Wait for a shift; RQ's own loop ends the worker for what is garbage, or Redis away for a while."""
        self.set_state(WorkerStatus.IDLE)
        wait_s = 0.5
        while True:
            self._progressed()
            try:
                with self._stopping.waiting():
                    self.heartbeat()
                    if self.should_run_maintenance_tasks:
                        self.run_maintenance_tasks()
                job = self._pop()
            except (RedisConnectionError, RedisTimeoutError) as error:
                logs.event("redis away", level="warning", kind=self.kind, exc=error, again_in_s=wait_s)
                with self._stopping.waiting():
                    time.sleep(wait_s)
                wait_s = min(wait_s * 2, SLOWEST_RECONNECT_S)
            else:
                wait_s = 0.5
                if job is not None:
                    return job, self.queues[0]
                self._idle()

    def _pop(self) -> jobs.ShiftJob | None:
        """Wait for one job that may run; None when none came."""
        queue = self.queues[0]
        while True:
            try:
                with self._stopping.waiting():
                    job_id: Any = self.connection.blmove(queue.key, queue.intermediate_queue_key, self._pop_s)
            except ResponseError as error:
                if "WRONGTYPE" not in str(error):
                    raise
                self._discard_garbage(queue)
                return None
            if job_id is None:
                return None
            verdict = self._examine(job_id)
            if isinstance(verdict, jobs.Accepted):
                break
            self.connection.lrem(queue.intermediate_queue_key, 1, job_id)
            self._refused(verdict.reason)
        job = jobs.make(verdict, job_id, connection=self.connection, serializer=self.serializer, origin=queue.name)
        job.redis_server_version = get_version(self.connection)
        self._job = job
        return job

    def _examine(self, job_id: bytes) -> jobs.Accepted | jobs.Refused:
        try:
            stored: Any = self.connection.hgetall(b"rq:job:" + job_id)
        except ResponseError:
            return jobs.Refused("type")
        return jobs.examine(job_id, stored, kind=self.kind)

    def _discard_garbage(self, queue: Queue) -> None:
        for key in (queue.key, queue.intermediate_queue_key):
            if self.connection.type(key) not in (b"list", b"none"):
                self.connection.delete(key)
                logs.event("state discarded", level="error", reason="corrupt_state", key=key)

    def tick(self) -> None:
        """Keep RQ from believing that the running job is abandoned; called every few seconds while it runs."""
        now_s = time.monotonic()
        if self._job is not None and self.execution is not None and now_s - self._heartbeat_s >= HEARTBEAT_S:
            self._heartbeat_s = now_s
            with contextlib.suppress(RedisError):
                self.maintain_heartbeats(self._job)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Tell RQ that the worker lives; not with every pop, as an idle relay shall cost next to nothing."""
        if pipeline is not None or time.monotonic() - self._heartbeat_s >= HEARTBEAT_S:
            super().heartbeat(timeout, pipeline)
            self._heartbeat_s = time.monotonic()

    def execute_job(self, job: Any, queue: Queue) -> None:
        """Run a shift."""
        try:
            super().execute_job(job, queue)
        finally:
            self._job = None

    def run_maintenance_tasks(self) -> None:
        """Clean what killed workers left in RQ's registries; garbage there shall not end the worker."""
        try:
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]  # RQ has no types there
        except RedisConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  whatever lies there, it is not ours
            logs.event("rq maintenance failed", level="warning", kind=self.kind, exc=error)
            self.last_cleaned_at = now()

    def request_stop(self, signum: Any, frame: Any) -> None:
        """Leave signals to the process."""

    def _install_signal_handlers(self) -> None:
        """Leave signals to the process."""

    def check_for_suspension(self, burst: bool) -> None:  # noqa: FBT001  RQ's signature
        """Know no suspension: subscriptions are paused, and brands disabled, by the relay's own API."""

    def subscribe(self) -> None:
        """Take no commands from a channel: that would be one more connection and thread, for nothing we use."""

    def unsubscribe(self) -> None:
        """There is nothing to leave."""

    def _set_ip_address(self, connection: Any) -> None:  # noqa: ARG002
        """Ask for no list of all clients, only to print an address."""
        self.ip_address = "unknown"

    @property
    def dequeue_timeout(self) -> int:
        """How long a pop waits; RQ makes the connection's timeout longer than that."""
        return self._pop_s

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Every ten minutes, and not at the start: an idle installation that restarts has nothing to clean."""
        if self.last_cleaned_at is None:
            self.last_cleaned_at = now()
        return bool(now() - self.last_cleaned_at > timedelta(seconds=self.maintenance_interval))
