"""The processes of a soak: who they are, how much memory they take, and a Redis that may lose its last second."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from relay.supervise.processes import dies_with_parent
from relay.supervise.redis_server import find_redis_server, redis_answers, redis_command


def children_of(pid: int) -> dict[int, str]:
    """Roles of a supervisor's processes, by process id."""
    found: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                words = (stat.parent / "cmdline").read_bytes().decode().split("\0")
                role = words[words.index("--queues") + 1] if "--queues" in words else words[4]
                found[int(stat.parent.name)] = role
    return found


def resident_mib(pid: int) -> float:
    """Memory of a process, without what it shares with files."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


@dataclass
class Redis:
    """A server that can be killed, and lose what it wrote last."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    sizes: list[tuple[float, Path, int]] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        """Its address."""
        return self.folder / "redis.sock"

    async def start(self) -> None:
        """Start it, and wait until it has read its file."""
        self._spawn()
        for _ in range(600):
            if await asyncio.to_thread(redis_answers, self.socket):
                return
            await asyncio.sleep(0.05)
        raise SystemExit("Redis does not start")

    def _spawn(self) -> None:
        self.process = subprocess.Popen(
            redis_command(find_redis_server(), folder=self.folder, unix_socket=self.socket),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=dies_with_parent(),  # noqa: PLW1509  no threads that hold locks are running
        )

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def look(self) -> None:
        """Remember how long the file is, to be able to go back to that."""
        with contextlib.suppress(ValueError, OSError):
            newest = max((self.folder / "appendonlydir").glob("*.incr.aof"))
            self.sizes = [*self.sizes[-20:], (time.time(), newest, newest.stat().st_size)]

    def cut(self, random: Random) -> int:
        """Let the file lose up to its last second; how many bytes."""
        past = [(path, size) for at_s, path, size in self.sizes if time.time() - at_s <= 1.0]
        if not past:
            return 0
        path, size = random.choice(past)
        lost = path.stat().st_size - size
        if lost > 0:
            os.truncate(path, size)
        return max(0, lost)
