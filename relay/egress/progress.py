"""How far has an attempt come? The one under way in this task notes it, so a deadline can say what it cut short."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol


class Stage(Enum):
    """What an attempt waits for."""

    QUEUED = "waiting for a free socket of this process"
    RESOLVING = "looking up the host name"
    CONNECTING = "connecting"
    ANSWERING = "waiting for the answer"


class Observed(Protocol):
    """A connection that sees what comes in on it.

    Attributes:
        exchanges: how many it has had.
        status_code: of the present one's final status line, once it is in.
        overrun: whether the peer was cut off for sending too much before that.
        received: whether anything came in at all.
    """

    exchanges: int
    status_code: int | None
    overrun: bool
    received: bool


@dataclass(slots=True)
class Progress:
    """The attempt under way.

    Attributes:
        stage: what it waits for.
        protocol: its connection, once it has one.
        number: which exchange of that connection it is; from the second on, the connection is a reused one.
    """

    stage: Stage = Stage.QUEUED
    protocol: Observed | None = None
    number: int = 0

    @property
    def status_code(self) -> int | None:
        """Of the final status line, if it came in on the connection."""
        return self.protocol.status_code if self.protocol is not None else None

    @property
    def overrun(self) -> bool:
        """Whether the peer was cut off for sending too much before the final status line."""
        return self.protocol is not None and self.protocol.overrun

    @property
    def was_stale(self) -> bool:
        """Whether a reused connection brought nothing at all: closed by the peer while it was idle."""
        return self.number > 1 and self.protocol is not None and not self.protocol.received

    def connected(self, protocol: Observed) -> None:
        """Go on over a connection; call before the exchange begins."""
        self.stage, self.protocol, self.number = Stage.ANSWERING, protocol, protocol.exchanges + 1

    def restart(self) -> None:
        """Begin again on another connection."""
        self.stage, self.protocol, self.number = Stage.QUEUED, None, 0


PROGRESS: Final[ContextVar[Progress]] = ContextVar("progress")


def note(stage: Stage) -> None:
    """Take note of a stage, where an attempt is under way."""
    progress = PROGRESS.get(None)
    if progress is not None:
        progress.stage = stage
