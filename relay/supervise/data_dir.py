"""What does a relay on one machine keep in its data directory? Generated keys, its owner's only; and its own Redis."""

import base64
import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay.core.errors import OursError
from relay.pipeline.installation import FILE

APPEND_ONLY_FOLDER: Final = "appendonlydir"
_LONGEST_SOCKET_PATH: Final = 100  # sun_path holds 108 bytes on Linux and 104 on macOS


class DataDirError(OursError):
    """The data directory cannot be used; the message says why and what to do."""

    default_reason = "data_dir"


@dataclass(frozen=True, slots=True)
class DataDir:
    """The data directory.

    Attributes:
        path: made when first needed, mode 0700.
    """

    path: Path

    @property
    def admin_token_file(self) -> Path:
        """Where the generated admin token is kept."""
        return self.path / "admin-token"

    @property
    def secret_keys_file(self) -> Path:
        """Where the generated Fernet key is kept."""
        return self.path / "secret-keys"

    @property
    def installation_file(self) -> Path:
        """Where it is remembered that Redis is not empty."""
        return self.path / FILE

    def admin_token(self) -> str:
        """Return the token that has every right; made at the first call."""
        return self._kept(self.admin_token_file, lambda: secrets.token_urlsafe(32))

    def secret_keys(self) -> str:
        """Return the keys that encrypt what is stored; one is made at the first call."""
        return self._kept(self.secret_keys_file, lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    def known_admin_token(self) -> str | None:
        """Return the admin token if there is one."""
        return _text(self.admin_token_file)

    def known_secret_keys(self) -> str | None:
        """Return the keys if there are any."""
        return _text(self.secret_keys_file)

    def _kept(self, file: Path, make: Callable[[], str]) -> str:
        """Read a file, or make it: whole or not at all, and one only, whoever else is doing the same."""
        with explained(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self.path / "keys.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not file.exists():
                    handle, name = tempfile.mkstemp(dir=self.path)  # mode 0600
                    with os.fdopen(handle, "w") as new:
                        new.write(f"{make()}\n")
                    Path(name).replace(file)
            return file.read_text().strip()

    def redis(self, name: str, *, lasting: bool = True) -> "RedisDir":
        """Return the place of an embedded Redis."""
        return RedisDir(self.path / name, lasting)


@dataclass(frozen=True, slots=True)
class RedisDir:
    """The place of one embedded Redis.

    Attributes:
        path: holds its append-only file, mode 0700.
        lasting: whether the next one goes on from what the last one left; a demo begins anew.
    """

    path: Path
    lasting: bool = True

    @property
    def socket(self) -> Path:
        """Return the address of its socket: here, or where a path is short enough for one."""
        here = self.path / "redis.sock"
        if len(os.fsencode(here.absolute())) <= _LONGEST_SOCKET_PATH:
            return here.absolute()
        return Path(tempfile.gettempdir()) / f"relay-{os.getuid()}-{self.path.stat().st_ino:x}" / "redis.sock"

    @property
    def url(self) -> str:
        """Return it as RELAY_REDIS_URL."""
        return f"unix://{self.socket}"

    def lock(self) -> int | None:
        """Claim it for one Redis, and clear it if it is not lasting.

        Returns:
            The file descriptor that holds the lock, to be inherited by the Redis: so the lock lives exactly as long as
            it does, also when whoever started it is killed. None if another holds it.

        Raises:
            DataDirError: the directory cannot be used.
        """
        with explained(self.path):
            _make_private(self.path)
            _make_private(self.socket.parent)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            if not self.lasting:
                shutil.rmtree(self.path / APPEND_ONLY_FOLDER, ignore_errors=True)
            return descriptor


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except OSError:
        return None


def _make_private(path: Path) -> None:
    """Make a directory for its owner only, and see that an existing one is that."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.stat()
    if facts.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "it belongs to somebody else")
    if facts.st_mode & 0o077:
        path.chmod(0o700)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one that says what to do.

    Raises:
        DataDirError: whatever the system refused.
    """
    try:
        yield
    except OSError as wrong:
        advice = "make it writable, or set RELAY_DATA_DIR to a directory that is"
        if wrong.errno == errno.ENOSPC:
            advice = "make room"
        raise DataDirError(f"the data directory {path} cannot be used ({wrong.strerror}): {advice}") from wrong
