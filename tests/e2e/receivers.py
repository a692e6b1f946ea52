"""Starts the receivers that the documents show, as a partner would, and reads what they print; no test."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from relay.supervise.processes import dies_with_parent
from tests.e2e.machines import free_port

FOLDER = Path(__file__).parents[2] / "docs" / "receivers"
PATIENCE_S = 20.0
LANGUAGES = ("python", "node", "php")


def commands(language: str, port: int) -> list[list[str]]:
    """What has to run; skips where the language is not installed."""
    if language == "python":
        return [[sys.executable, str(FOLDER / "python" / "receiver.py")]]
    program = shutil.which(language)
    if program is None:
        pytest.skip(f"{language} is not installed: apt-get install {'nodejs' if language == 'node' else 'php-cli'}")
    if language == "node":
        return [[program, str(FOLDER / "node" / "receiver.mjs")]]
    script = str(FOLDER / "php" / "receiver.php")
    return [[program, "-S", f"127.0.0.1:{port}", script], [program, script]]


@dataclass
class Receiver:
    """One receiver, that may be stopped and started again on the same folder and port."""

    language: str
    folder: Path
    environ: dict[str, str]
    port: int = field(default_factory=free_port)
    lines: list[str] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    _processes: list["subprocess.Popen[str]"] = field(default_factory=list)
    _readers: list[threading.Thread] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        environ = {**self.environ, "PATH": os.environ["PATH"], "PORT": str(self.port), "FOLDER": str(self.folder)}
        for command in commands(self.language, self.port):
            process = subprocess.Popen(
                command,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=dies_with_parent(),  # noqa: PLW1509  it asks the kernel for one thing
            )
            self._processes.append(process)
            for stream, lines in ((process.stdout, self.lines), (process.stderr, self.noise)):
                reader = threading.Thread(target=self._read, args=(stream, lines), daemon=True)
                reader.start()
                self._readers.append(reader)
        self.until(self._listens)

    def stop(self) -> None:
        """End it at once, as a crash would."""
        for process in self._processes:
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join(timeout=PATIENCE_S)
        self._processes.clear()
        self._readers.clear()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    lines.append(line.rstrip("\n"))
                    self._changed.notify_all()

    def until(self, condition: object) -> None:
        """Wait for a line, or for a condition."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while not (condition() if callable(condition) else condition in self.lines):
                assert time.monotonic() < deadline, "\n".join([f"not {condition}", *self.lines, *self.noise])
                self._changed.wait(0.05)

    def noted(self, event_id: str) -> bool:
        """Whether an event is taken and would not be taken again, not even after a crash."""
        return (self.folder / "done" / event_id).exists()

    def dropped(self, event_id: str) -> bool:
        """Whether it said that it had an event already."""
        return any(line.startswith(("again", "older")) and line.endswith(event_id) for line in self.lines)

    def taken(self) -> list[str]:
        """Ids of the events that were taken, in order."""
        return [line.split()[2] for line in self.lines if line.startswith("took ")]


@contextlib.contextmanager
def receiver(language: str, folder: Path, **environ: str) -> Iterator[Receiver]:
    """Run one as long as the block."""
    made = Receiver(language, folder / language, environ)
    try:
        made.start()
        yield made
    finally:
        made.stop()
