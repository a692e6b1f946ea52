"""What runs where the relay is one machine's? An embedded Redis, the API, the scheduler, and workers for each queue."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from relay import logs
from relay.client import Client
from relay.core.errors import OursError
from relay.settings import ALREADY_WARNED, Settings
from relay.supervise.data_dir import DataDir, DataDirError, RedisDir
from relay.supervise.emptied import refuse_emptied
from relay.supervise.processes import Child, Supervisor
from relay.supervise.redis_server import find_redis_server, redis_answers, redis_command
from workers.post import CUT_S, drain_s

LASTING: Final = "redis"
DEMO: Final = "demo"
"""Names of the embedded Redis' places in the data directory."""

READY_WITHIN_S: Final = 60.0
_REDIS_WITHIN_S: Final = 120.0  # it reads its whole append-only file first
_LOCK_WITHIN_S: Final = 10.0
_GRACE_S: Final = (9.0, 5.5)
_REDIS_GRACE_S: Final = (4.0, 1.0)  # all of it is stopped within 20 s
_SMALLEST_MEMORY_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Crew:
    """How many worker processes there are.

    Attributes:
        queues: those that get workers.
        processes: for each queue.
        concurrency: in each process.
    """

    queues: tuple[str, ...]
    processes: int
    concurrency: int


def role_command(*words: str) -> tuple[str, ...]:
    """Build the command line of one of the relay's own processes."""
    return (sys.executable, "-P", "-m", "relay.cli", *words)


def worker_children(
    crew: Crew, *, environ: Mapping[str, str], grace_s: Callable[[str], tuple[float, float]]
) -> list[Child]:
    """List the worker processes: each has one queue, as RQ can lose a job between two.

    Args:
        crew: how many.
        environ: theirs.
        grace_s: of each queue.
    """
    how = ("--processes", "1", "--concurrency", str(crew.concurrency))
    return [
        Child(
            name=f"worker-{queue}-{number}",
            command=role_command("worker", "--queues", queue, *how),
            environ=environ,
            grace_s=grace_s(queue),
        )
        for queue in crew.queues
        for number in range(1, crew.processes + 1)
    ]


def up_children(crew: Crew, *, environ: Mapping[str, str]) -> list[Child]:
    """List every process of a relay but its Redis."""
    return [
        Child(name="api", command=role_command("api"), environ=environ, grace_s=_GRACE_S),
        Child(name="scheduler", command=role_command("scheduler"), environ=environ, grace_s=_GRACE_S),
        *worker_children(crew, environ=environ, grace_s=lambda _queue: _GRACE_S),
    ]


def with_keys(settings: Settings) -> Settings:
    """Fill in the token and the keys from the data directory, where they are made if need be.

    Raises:
        DataDirError: the directory cannot be used.
    """
    data_dir = DataDir(settings.data_dir)
    return replace(
        settings,
        admin_token=settings.admin_token or data_dir.admin_token(),
        secret_keys=settings.secret_keys or tuple(data_dir.secret_keys().split(",")),
    )


class PortTakenError(OursError):
    """Nothing can listen there; the message says what to do."""

    default_reason = "port_taken"

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"cannot listen on {host} port {port} ({why}): free it, or choose another with RELAY_PORT")


def why_not_free(host: str, port: int) -> str | None:
    """Say why nothing can listen there, None if it can."""
    try:
        listen(host, port).close()
    except OSError as wrong:
        return wrong.strerror or str(wrong)
    return None


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


async def start_redis(place: RedisDir, supervisor: Supervisor, *, environ: Mapping[str, str]) -> str | None:
    """Start a Redis of our own and wait until it has read its data; the supervisor keeps it running and ends it last.

    Returns:
        Its URL; None if the supervisor was asked to stop meanwhile.

    Raises:
        DataDirError: another relay runs on the same directory, or the directory cannot be used.
        NoRedisServerError: there is none to run.
    """
    binary = find_redis_server()
    locks: list[int] = []

    async def locked() -> bool:
        locks.extend(lock for lock in (place.lock(),) if lock is not None)
        return bool(locks)

    await supervisor.until(locked, timeout_s=_LOCK_WITHIN_S)
    if supervisor.asked_to_stop.is_set():
        return None
    if not locks:
        raise DataDirError(f"another relay runs on {place.path}: stop it, or set RELAY_DATA_DIR to another directory")
    supervisor.start(
        Child(
            name="redis",
            command=tuple(
                redis_command(
                    binary, folder=place.path, unix_socket=place.socket, max_memory_bytes=_half_of_memory_bytes()
                )
            ),
            environ=environ,
            keep_fds=tuple(locks),
            with_parent=signal.SIGTERM,
            grace_s=_REDIS_GRACE_S,
            stage=0,
        )
    )
    answers = partial(asyncio.to_thread, redis_answers, place.socket)
    return place.url if await supervisor.until(answers, timeout_s=_REDIS_WITHIN_S) else None


def _half_of_memory_bytes() -> int:
    """Half of the machine: above that polling stops and the rest goes on, where otherwise the kernel would kill."""
    return max(_SMALLEST_MEMORY_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)


async def start_up(
    settings: Settings, crew: Crew, supervisor: Supervisor, *, place: RedisDir, environ: Mapping[str, str]
) -> bool:
    """Start all of a relay and wait until its API is ready.

    Args:
        settings: with their keys; without a Redis URL, Redis is embedded.
        crew: the workers.
        supervisor: keeps them running.
        place: of the embedded Redis.
        environ: of this process.

    Returns:
        Whether the API is ready; not so if something is in the way, or it was told to stop meanwhile.

    Raises:
        DataDirError, NoRedisServerErrorError: as ``start_redis``.
        PortTakenError: something else listens there.
        SettingsError: Redis has lost what the data directory remembers.
    """
    wrong = why_not_free(settings.host, settings.port)
    if wrong is not None:
        raise PortTakenError(settings.host, settings.port, wrong)
    values = {
        "RELAY_ADMIN_TOKEN": settings.admin_token,
        "RELAY_SECRET_KEYS": ",".join(settings.secret_keys),
        "RELAY_LOG_FORMAT": logs.chosen_format(settings.log_format),
    }
    redis_url = settings.redis_url or await start_redis(place, supervisor, environ=environ)
    if redis_url is None:
        return False
    if place.lasting:
        await refuse_emptied(redis_url, DataDir(settings.data_dir))
    environ = child_environ(environ, {**values, "RELAY_REDIS_URL": redis_url})
    supervisor.start(*up_children(crew, environ=environ))
    async with Client(reachable_url(settings.host, settings.port), "") as client:
        return await supervisor.until(client.is_ready, timeout_s=READY_WITHIN_S)


async def run_up(settings: Settings, crew: Crew, *, environ: Mapping[str, str]) -> int:
    """Run a relay on this machine until told to stop.

    Returns:
        The exit code.
    """
    supervisor = Supervisor(show=show_logs)
    supervisor.stop_on_signals()
    data_dir = DataDir(settings.data_dir)
    try:
        place = data_dir.redis(LASTING)
        ready = await start_up(with_keys(settings), crew, supervisor, place=place, environ=environ)
        if ready:
            url = reachable_url(settings.host, settings.port)
            where = "RELAY_ADMIN_TOKEN" if settings.admin_token else str(data_dir.admin_token_file)
            logs.event("ready", api=url, ui=f"{url}/ui", sign_in_with=where)
        elif not supervisor.asked_to_stop.is_set():
            logs.event("not ready yet", level="warning")
        await supervisor.asked_to_stop.wait()
        logs.event("stopping")
    finally:
        await supervisor.stop()
    logs.event("stopped")
    return supervisor.exit_code


async def run_workers(settings: Settings, crew: Crew, *, environ: Mapping[str, str]) -> int:
    """Run worker processes alone until told to stop.

    Returns:
        The exit code.
    """
    supervisor = Supervisor(show=show_logs)
    supervisor.stop_on_signals()
    log_format = logs.chosen_format(settings.log_format)
    environ = child_environ(environ, {"RELAY_LOG_FORMAT": log_format})

    def grace_s(queue: str) -> tuple[float, float]:
        return drain_s(queue, attempt_timeout_s=settings.attempt_timeout_s) + 1.0, CUT_S + 1.0

    supervisor.start(*worker_children(crew, environ=environ, grace_s=grace_s))
    try:
        await supervisor.asked_to_stop.wait()
    finally:
        await supervisor.stop()
    return supervisor.exit_code


@asynccontextmanager
async def redis_at_hand(settings: Settings, *, environ: Mapping[str, str]) -> AsyncIterator[str]:
    """Reach the Redis of a relay on this machine, whether that runs or not; one that does not is started meanwhile.

    Yields:
        Its URL.

    Raises:
        DataDirError: there is none.
        NoRedisServerError: it cannot be started.
    """
    data_dir = DataDir(settings.data_dir)
    places = [data_dir.redis(name) for name in (LASTING, DEMO)]
    running = [place.url for place in places if place.path.exists() and redis_answers(place.socket)]
    if settings.redis_url or running:
        yield settings.redis_url or running[0]
        return
    if not places[0].path.exists():
        raise DataDirError(
            f"no relay has run in {data_dir.path}: set RELAY_REDIS_URL, or RELAY_DATA_DIR to where it does"
        )
    supervisor = Supervisor(show=show_logs)
    try:
        url = await start_redis(places[0], supervisor, environ=environ)
        if url is None:
            raise DataDirError(f"the Redis in {places[0].path} does not answer")
        yield url
    finally:
        await supervisor.stop()


def show_logs(name: str, _channel: str, line: str) -> None:
    """Show what a process wrote: these write logs only."""
    logs.pass_on(name, line)


def child_environ(environ: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Make the environment of a child: ours, with some settings given, and a word that warnings were shown already."""
    replaced = {*values, *(f"{name}_FILE" for name in values)}
    kept = {name: value for name, value in environ.items() if name not in replaced}
    return {**kept, **values, ALREADY_WARNED: "1"}


def reachable_url(host: str, port: int) -> str:
    """Say where this machine reaches what listens there."""
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{near}]' if ':' in near else near}:{port}"
