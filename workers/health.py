"""Does the worker or scheduler on this machine live? Each process says so in a small file; a probe reads them all.

The file is written from the process' event loop, so that one that stands still falls silent, and it does not depend on
Redis, so that Redis' absence restarts nobody. It holds the machine's monotonic clock: the wall clock may jump.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay import logs

BEAT_S: Final = 5.0
FRESH_S: Final = 30.0
"""A process that has said nothing for longer is not well."""

_NAME: Final = re.compile(r"(worker|scheduler)-(\d{1,10})\.beat")
_SIZE_BYTES: Final = 20


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe finds.

    Attributes:
        fresh: there is at least one process of the role, and none of them has fallen silent.
        reason: a sentence for people.
    """

    fresh: bool
    reason: str


class Heartbeat:
    """One process' file. Opened once: a process that has run out of file descriptors still says that it lives."""

    def __init__(self, role: str, *, data_dir: Path, clock: Callable[[], float]) -> None:
        """Prepare.

        Args:
            role: ``worker`` or ``scheduler``.
            data_dir: used if it is there; else a directory for temporary files is.
            clock: monotonic seconds of this machine.
        """
        self._name = f"{role}-{os.getpid()}.beat"
        self._data_dir = data_dir
        self._clock = clock
        self._file: int | None = None
        self._path: Path | None = None

    def beat(self) -> bool:
        """Say that the process lives; False where no file can be written."""
        try:
            if self._file is None or os.fstat(self._file).st_nlink == 0:  # somebody cleaned up
                self._open()
            if self._file is not None:
                os.pwrite(self._file, f"{self._clock():0{_SIZE_BYTES}.3f}".encode(), 0)
        except OSError:
            return False
        return self._file is not None

    def end(self) -> None:
        """Take the file away: the process ends."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def keep_beating(self, alive: Callable[[], bool] = lambda: True) -> None:
        """Beat until cancelled, as long as the other threads are ``alive`` too."""
        said = False
        while True:
            if alive() and not self.beat() and not said:
                said = True
                logs.event("no heartbeat file", level="warning", reason="no directory to write to: mount one at /tmp")
            await asyncio.sleep(BEAT_S)

    def _open(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        for folder in _folders(self._data_dir):
            with contextlib.suppress(OSError):
                folder.mkdir(mode=0o700, exist_ok=True)
                if not _ours(folder):
                    continue
                for path, _, pid in _files(folder):
                    if not _lives(pid):
                        path.unlink(missing_ok=True)
                path = folder / self._name
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                self._path = path
                return


def check(role: str, *, data_dir: Path, now_s: float) -> Health:
    """Say whether the worker or the scheduler on this machine lives.

    Args:
        role: ``worker`` or ``scheduler``; several processes of one role must all be well.
        data_dir: as the processes were given it.
        now_s: monotonic clock of this machine.
    """
    living = 0
    for folder in _folders(data_dir):
        for path, found, pid in _files(folder):
            if found != role or not _lives(pid):
                continue
            age_s = now_s - _last_beat_s(path)
            if age_s < 0:
                continue  # from before this machine started
            living += 1
            if age_s > FRESH_S:
                return Health(False, f"process {pid} has not beaten for {age_s:.0f} s")
    if not living:
        return Health(False, f"no {role} runs on this machine")
    return Health(True, f"{living} process{'es' if living > 1 else ''} of the {role} beat")


def _folders(data_dir: Path) -> Iterator[Path]:
    """Where a file may be, in the order of preference; a read-only root leaves the last ones."""
    if data_dir.is_dir():
        yield data_dir / "run"
    temporary = []
    with contextlib.suppress(OSError):
        temporary.append(tempfile.gettempdir())
    temporary.append("/dev/shm")  # noqa: S108  a directory of our own in it, whose owner is checked
    for folder in dict.fromkeys(temporary):
        yield Path(folder) / f"clopos-relay-{os.getuid()}"


def _ours(folder: Path) -> bool:
    """True where nobody else put a directory, or a link, in our place."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _files(folder: Path) -> list[tuple[Path, str, int]]:
    """Files of heartbeats: path, role, process."""
    with contextlib.suppress(OSError):
        if _ours(folder):
            return [
                (path, match[1], int(match[2])) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
            ]
    return []


def _last_beat_s(path: Path) -> float:
    try:
        return float(path.read_bytes()[:_SIZE_BYTES])
    except (OSError, ValueError):
        return float("inf")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is there, and not ours
    return True
