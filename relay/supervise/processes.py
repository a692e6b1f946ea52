"""How are processes started, watched, restarted when they end, and stopped, without leaving one behind?"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from relay import logs

FIRST_RESTART_S: Final = 0.5
SLOWEST_RESTART_S: Final = 30.0
STEADY_S: Final = 60.0
"""A process that lived that long starts again with the first delay."""

TWICE_S: Final = 1.0
"""A second request to stop within that time is the first one, come by another way: `timeout` sends each twice."""

WRONG_SETTINGS: Final = 2
"""The exit code of a process that no restart will help."""

_LONGEST_LINE_BYTES: Final = 65_536
_READY_EVERY_S: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Child:
    """A process to be kept running.

    Attributes:
        name: for people, as ``worker-poll-1``.
        command: program and arguments.
        environ: its whole environment.
        keep_fds: file descriptors that it inherits.
        with_parent: the signal it gets when the supervisor itself is killed.
        grace_s: how long it has from SIGTERM to a second one, which asks to be quick, and from there to SIGKILL.
        stage: stages are stopped from the highest to the lowest, one after the other.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    keep_fds: tuple[int, ...] = ()
    with_parent: signal.Signals = signal.SIGKILL
    grace_s: tuple[float, float] = (5.0, 2.0)
    stage: int = 1


def restart_delay_s(deaths: int) -> float:
    """Decide how long to wait before a process is started again.

    Args:
        deaths: how often in a row it ended without having been steady; the first is 1.
    """
    return min(FIRST_RESTART_S * 2.0 ** (deaths - 1), SLOWEST_RESTART_S)


class Supervisor:
    """Keeps children running until it is told to stop.

    Args:
        show: is given each line that a child writes: its name, ``"out"`` or ``"err"``, the line.
    """

    def __init__(self, *, show: Callable[[str, str, str], None]) -> None:
        self._show = show
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, Child] = {}
        self._stopping: set[str] = set()
        self._asked_s: float | None = None
        self.asked_to_stop = asyncio.Event()
        self.exit_code = 0

    def stop_on_signals(self) -> None:
        """Have Ctrl-C, SIGTERM and the end of the terminal ask to stop; a second one kills what is left at once."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        now_s = time.monotonic()
        self._asked_s = self._asked_s or now_s
        if now_s - self._asked_s >= TWICE_S:
            for process in self._running.values():
                _signal_group(process, signal.SIGKILL)
        self.asked_to_stop.set()

    def start(self, *children: Child) -> None:
        """Start children and keep them running."""
        for child in children:
            self._children[child.name] = child
            self._keepers[child.name] = asyncio.create_task(self._keep(child), name=child.name)

    async def until(self, condition: Callable[[], Awaitable[bool]], *, timeout_s: float) -> bool:
        """Wait for something the children bring about.

        Returns:
            Whether it came about before the deadline, and before the supervisor was asked to stop.
        """
        deadline = time.monotonic() + timeout_s
        while not self.asked_to_stop.is_set() and time.monotonic() < deadline:
            if await condition():
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_READY_EVERY_S):
                    await self.asked_to_stop.wait()
        return False

    async def stop(self) -> None:
        """End all children, stage by stage: SIGTERM, a grace, SIGKILL. None is left when this returns."""
        self.asked_to_stop.set()
        for stage in sorted({child.stage for child in self._children.values()}, reverse=True):
            names = [child.name for child in self._children.values() if child.stage == stage]
            await asyncio.gather(*(self._end(name) for name in names))

    async def _end(self, name: str) -> None:
        self._stopping.add(name)
        process = self._running.get(name)
        if process is None:  # waiting to be started again
            self._keepers[name].cancel()
        else:
            for grace_s in self._children[name].grace_s:
                _signal_group(process, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await process.wait()
                    break
            else:
                logs.event("process killed", level="warning", process=name)
            _signal_group(process, signal.SIGKILL)  # and whatever it may have started
        with contextlib.suppress(asyncio.CancelledError):
            await self._keepers[name]

    async def _keep(self, child: Child) -> None:
        deaths = 0
        while child.name not in self._stopping:
            started = time.monotonic()
            code = await self._run(child)
            if child.name in self._stopping:
                return
            if code == WRONG_SETTINGS:
                logs.event("process gave up", level="error", process=child.name, exit_code=code)
                self.exit_code = WRONG_SETTINGS
                self.asked_to_stop.set()
                return
            deaths = 1 if time.monotonic() - started >= STEADY_S else deaths + 1
            delay_s = restart_delay_s(deaths)
            ended = {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
            logs.event("process ended", level="warning", process=child.name, **ended, restart_in_s=delay_s)
            await asyncio.sleep(delay_s)

    async def _run(self, child: Child) -> int:
        """Run it once, to its end."""
        process = await asyncio.create_subprocess_exec(
            *child.command,
            env=dict(child.environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=child.keep_fds,
            process_group=0,  # Ctrl-C is for the supervisor, which ends the others in order
            preexec_fn=dies_with_parent(child.with_parent),
        )
        self._running[child.name] = process
        assert process.stdout is not None  # noqa: S101 - asked for above
        assert process.stderr is not None  # noqa: S101
        readers = [
            asyncio.create_task(self._pass_on(child.name, channel, stream))
            for channel, stream in (("out", process.stdout), ("err", process.stderr))
        ]
        try:
            code = await process.wait()
            # What it wrote last says why it ended; a grandchild may hold the pipe open, which must hold nobody up.
            await asyncio.wait(readers, timeout=1.0)
        finally:
            for reader in readers:
                reader.cancel()
            del self._running[child.name]
        return code

    async def _pass_on(self, name: str, channel: str, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            self._show(name, channel, line)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Read lines; one that is too long comes in pieces, where asyncio's own reader would give up."""
    held = b""
    while chunk := await stream.read(_LONGEST_LINE_BYTES):
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
        if len(held) >= _LONGEST_LINE_BYTES:
            yield held.decode(errors="replace")
            held = b""
    if held:
        yield held.decode(errors="replace")


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone already; macOS says so with EPERM
        os.killpg(process.pid, number)


def dies_with_parent(signal_number: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """Make a ``preexec_fn`` that has the kernel signal the child when this thread's process is gone (Linux).

    So `kill -9` of a supervisor leaves no orphan behind. Call it, and start the child, from the main thread: the kernel
    counts the death of the starting thread. Elsewhere there is no such thing, and it is None.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # loaded before the fork: loading after it may deadlock
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
        if os.getppid() != parent:  # it died between the fork and the call
            os._exit(1)

    return ask
