"""Is what Redis should know still there?  Asked now and then, and remembered outside Redis.

An empty Redis is a fresh start, or a total loss. What tells them apart is memory elsewhere: this process' own, a file
in its data directory, and Prometheus', which is given the moment at which the installation began.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from relay import logs
from relay.store.installation import InstallationStore, Standing

SAY_EVERY_S: Final = 60.0
FILE: Final = "installation"
"""Name of the file in the data directory that remembers."""


class Installation:
    """Compares what Redis knows with what is remembered."""

    def __init__(self, store: InstallationStore, *, data_dir: Path, clock: Callable[[], float]) -> None:
        """Remember in a file where there is a data directory.

        Args:
            store: asks Redis.
            data_dir: may not exist; it is not made.
            clock: monotonic seconds.
        """
        self._store = store
        self._file = data_dir / FILE
        self._clock = clock
        self._known_ms = remembered_ms(self._file)
        self._said_s: float | None = None

    async def look(self) -> Standing:
        """Ask Redis, and say in the log what is wrong: at once, and again every minute.

        Raises:
            redis.exceptions.RedisError: it could not be asked: that says nothing.
        """
        since_ms = await self._store.since_ms()
        if since_ms:
            if self._known_ms not in (0, since_ms):
                logs.event(
                    "installation began anew", level="warning", before_ms=self._known_ms, since_ms=since_ms
                )  # whoever created a brand or a subscription in an empty Redis has decided
            if self._known_ms != since_ms:
                self._known_ms = since_ms
                _remember(self._file, since_ms)
            self._said_s = None
        missing = not since_ms and self._known_ms > 0
        if missing and (self._said_s is None or self._clock() - self._said_s >= SAY_EVERY_S):
            self._said_s = self._clock()
            logs.event(
                "state missing", level="error", reason="state_missing", message=MISSING, known_since_ms=self._known_ms
            )
        return Standing(since_ms, missing)


MISSING: Final = (
    "Redis is empty and should not be: put its data back, or begin anew with `relay apply`; "
    "nothing is announced until then"
)


def remembered_ms(file: Path) -> int:
    """When the installation began that a file remembers; 0 for none."""
    try:
        return int(file.read_bytes()[:20])
    except (OSError, ValueError):
        return 0


def _remember(file: Path, since_ms: int) -> None:
    """Write it down where that is possible: whole or not at all, for the owner only."""
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w") as new:
            new.write(f"{since_ms}\n")
        Path(name).replace(file)
