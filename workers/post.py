"""What is a worker's process told by its parent, and how long may it take to end?"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from typing import Any, Final

from relay.settings import Settings

WRONG_SETTINGS: Final = 2
"""Exit code of a process that no restart will help."""
DRAIN_S: Final = 18.0
"""How long a shift may end what is in flight once the process is asked to stop: longer than an attempt's default."""
CUT_S: Final = 5.0
"""How long a shift that was cut off has to give its leases back."""
END_S: Final = DRAIN_S + CUT_S + 2.0
"""How long the process may take to end, all in; then it ends itself."""
KILL_S: Final = END_S + 2.0
"""How long its parent waits for that. It fits into the thirty seconds that Kubernetes gives a pod."""
TWICE_S: Final = 1.0
"""A second request to stop within that time is the first one, come by another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What one worker process is for.

    Attributes:
        kind: of its shifts.
        concurrency: given to them.
        parent: file descriptor that ends when the parent is gone; None where there is none to watch.
    """

    settings: Settings
    kind: str
    concurrency: int
    parent: int | None = None


def pack_post(post: Post) -> bytes:
    """Write a post for a child's stdin; not for its arguments or environment, as it holds secrets."""
    data = pickle.dumps(post)
    return len(data).to_bytes(8, "big") + data


def read_post(fd: int) -> Post:
    """Read what ``pack_post`` wrote; what comes after is left unread."""
    post: Any = pickle.loads(_read(fd, int.from_bytes(_read(fd, 8), "big")))  # noqa: S301  written by our own parent, into a pipe nobody else has
    if not isinstance(post, Post):
        raise TypeError("a worker's process is started by `relay worker`")
    return post


def _read(fd: int, size_bytes: int) -> bytes:
    data = b""
    while len(data) < size_bytes:
        more = os.read(fd, size_bytes - len(data))
        if not more:
            raise EOFError("the parent ended while it told what to do")
        data += more
    return data
