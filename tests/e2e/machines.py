"""Starts `relay up` and `relay demo` as a user would, reads what they print, finds what they leave behind; no test."""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import httpx2 as httpx

from relay.supervise.processes import dies_with_parent

PATIENCE_S = 60.0


class Machine:
    """One relay on this machine, started by its command."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.out: list[str] = []
        self.err: list[str] = []
        self._mark = f"MACHINE={secrets.token_hex(16)}"
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []

    def popen(self, *words: str, folder: Path | None, **settings: str) -> "subprocess.Popen[str]":
        """Start a command with the settings of this machine."""
        name, _, value = self._mark.partition("=")
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "relay.cli", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            preexec_fn=dies_with_parent(),  # noqa: PLW1509  it asks the kernel for one thing
            env={
                "PATH": os.environ["PATH"],
                "RELAY_DATA_DIR": str(self.data_dir),
                "RELAY_PORT": str(self.port),
                "RELAY_URL": self.url,
                name: value,
                **settings,
            },
        )

    def run(self, *words: str, folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        with self.popen(*words, folder=folder, **settings) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def start(self, *words: str, **settings: str) -> None:
        """Start the command that is to stay; do not wait."""
        self.out, self.err = [], []
        self._process = self.popen(*words, folder=None, **settings)
        for stream, lines in ((self._process.stdout, self.out), (self._process.stderr, self.err)):
            reader = threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _read(self, stream: TextIO, lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    lines.append(line.rstrip("\n"))
                    self._changed.notify_all()

    def until(self, condition: Callable[[], object], *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until what was printed, or what can be asked, fulfils a condition."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                assert time.monotonic() < deadline, self.said()
                self._changed.wait(0.1)

    def until_ready(self) -> None:
        """Wait for `relay up` to say that it is ready."""
        self.until(lambda: any('"event":"ready"' in line for line in self.err))

    def said(self) -> str:
        """All that was printed."""
        return "\n".join(["--- stdout", *self.out, "--- stderr", *self.err])

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command, and to it alone."""
        assert self._process is not None
        self._process.send_signal(number)

    def ended(self, *, timeout_s: float = 20.0) -> int:
        """Wait for the command to end; its exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def processes(self) -> dict[int, str]:
        """Processes that the command started, itself included, that still run: process id → command line."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environ = (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                ours = self._mark.encode() in environ or str(self.data_dir) in command  # Redis writes over its environ
                if ours and state not in "ZX":
                    found[int(folder.name)] = command
        return found

    def pid_of(self, part: str) -> int | None:
        """Id of the process whose command line holds this; None if there is none, or it was not the only one."""
        found = [pid for pid, command in self.processes().items() if re.search(part, command)]
        return found[0] if len(found) == 1 else None

    @property
    def token(self) -> str:
        """The admin token that it made."""
        return (self.data_dir / "admin-token").read_text().strip()

    def api(self) -> httpx.Client:
        """A client of its API."""
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {self.token}"}, timeout=10)

    def close(self) -> None:
        """End what is left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.until(lambda: not self.processes(), timeout_s=20)
        for reader in self._readers:
            reader.join(timeout=20)


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """A machine that leaves no process behind. Its folder has a short name, as it is to hold a socket."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        made = Machine(Path(folder))
        try:
            yield made
        finally:
            made.close()
