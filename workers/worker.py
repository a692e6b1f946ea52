"""How is `relay worker` run? One process for each queue and number, kept running until asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from relay import logs
from relay.settings import Settings
from workers.post import KILL_S, TWICE_S, WRONG_SETTINGS, Post, pack_post

FIRST_RESTART_S: Final = 0.2
SLOWEST_RESTART_S: Final = 10.0
STEADY_S: Final = 60.0
"""A child that lived that long starts again with the first delay."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process to be kept running.

    Attributes:
        name: for the log.
        command: program and arguments.
        stdin: what it is given to read first; then its stdin stays open as long as this process lives.
    """

    name: str
    command: tuple[str, ...]
    stdin: bytes


def run(settings: Settings, *, queues: Sequence[str], processes: int, concurrency: int) -> int:
    """Run workers until SIGTERM or Ctrl-C; to be called in the main thread.

    Args:
        settings: of role worker.
        queues: kinds of shift: ``poll``, ``deliver``, ``maintain``.
        processes: for each queue.
        concurrency: at once in each process: attempts, looks.

    Returns:
        exit code: 0 asked to stop, 2 this Redis cannot be used.
    """
    command = (sys.executable, "-P", "-m", "workers")
    children = [
        Child(
            f"worker-{kind}-{number}", command, pack_post(Post(settings=settings, kind=kind, concurrency=concurrency))
        )
        for kind in dict.fromkeys(queues)
        for number in range(1, processes + 1)
    ]
    return asyncio.run(keep_running(children))


async def keep_running(children: Sequence[Child]) -> int:
    """Start children, start those again that end, and stop all when asked to.

    Returns:
        exit code: 0 asked to stop, 2 if a child found that its settings are wrong.
    """
    keeper = _Keeper()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, keeper.ask_to_stop)
    await asyncio.gather(*(keeper.keep(child) for child in children))
    return keeper.exit_code


class _Keeper:
    def __init__(self) -> None:
        self.exit_code = 0
        self._asked_s: float | None = None
        self._stop = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}

    def ask_to_stop(self) -> None:
        """Pass a request to stop on to all; a second one makes them quick."""
        now_s = time.monotonic()
        if self._asked_s is None or now_s - self._asked_s >= TWICE_S:
            self._asked_s = self._asked_s or now_s
            self._send(signal.SIGTERM)
        if not self._stop.is_set():
            self._stop.set()
            asyncio.get_running_loop().call_later(KILL_S, self._send, signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for name, process in self._running.items():
            if number is signal.SIGKILL:
                logs.event("process killed", level="warning", process=name, after_s=KILL_S)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    async def keep(self, child: Child) -> None:
        """Keep one child running until asked to stop."""
        ended = 0
        while not self._stop.is_set():
            started_s = time.monotonic()
            code = await self._run(child)
            if self._stop.is_set():
                return
            if code == WRONG_SETTINGS:
                self.exit_code = code
                self.ask_to_stop()
                return
            ended = 1 if time.monotonic() - started_s >= STEADY_S else ended + 1
            delay_s = min(FIRST_RESTART_S * 2.0 ** (ended - 1), SLOWEST_RESTART_S)
            logs.event("process ended", level="warning", process=child.name, exit_code=code, restart_in_s=delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay_s)

    async def _run(self, child: Child) -> int:
        """Run it once, to its end; a negative exit code is a signal's number."""
        process = await asyncio.create_subprocess_exec(*child.command, stdin=asyncio.subprocess.PIPE)
        assert process.stdin is not None  # noqa: S101  asked for in the line before
        self._running[child.name] = process
        if self._stop.is_set():  # asked while it was started
            process.terminate()
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(child.stdin)
                await process.stdin.drain()
            return await process.wait()
        finally:
            del self._running[child.name]
            process.stdin.close()
