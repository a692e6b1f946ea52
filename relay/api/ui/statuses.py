"""How does a state look?  A level (colour and shape) and a word, so that none is told by colour alone.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

BY_THE_OPERATOR: Final = "by the operator"
"""The reason of a subscription that was disabled on purpose."""


class Level(StrEnum):
    """What a state means for whoever looks after the relay; each has a colour and a shape."""

    OK = "ok"
    BUSY = "busy"
    WARN = "warn"
    BAD = "bad"
    IDLE = "idle"

    @property
    def rank(self) -> int:
        """How much it matters; the most first."""
        return _RANKS.index(self)


_RANKS: Final = (Level.BAD, Level.WARN, Level.BUSY, Level.OK, Level.IDLE)


@dataclass(frozen=True, slots=True)
class Badge:
    """A state as it is shown."""

    level: Level
    text: str


_LEVELS: Final = {
    "brand": {"ok": Level.OK, "waiting": Level.BUSY, "failing": Level.BAD, "disabled": Level.IDLE},
    "subscription": {
        "active": Level.OK,
        "failing": Level.WARN,
        "paused": Level.IDLE,
        "disabled": Level.BAD,
    },
    "delivery": {
        "delivered": Level.OK,
        "pending": Level.BUSY,
        "retrying": Level.WARN,
        "dead": Level.BAD,
        "expired": Level.IDLE,
        "discarded": Level.IDLE,
    },
    "order": {
        "pending": Level.BUSY,
        "accepted": Level.OK,
        "delivered": Level.OK,
        "cancelled": Level.IDLE,
        "active": Level.OK,
        "inactive": Level.IDLE,
    },
    "replay": {"running": Level.BUSY, "done": Level.OK},
    "audit": {"done": Level.IDLE, "refused": Level.WARN},
}
"""Kind of thing -> its state -> how it looks."""


def badge(kind: str, state: str) -> Badge:
    """Show a state; one that is not known is shown as it is."""
    return Badge(_LEVELS[kind].get(state, Level.IDLE), state.replace("_", " "))


def delivery_badge(delivery: Mapping[str, Any]) -> Badge:
    """Show a delivery's state: one that is pending and was tried is being retried."""
    again = delivery["status"] == "pending" and delivery["attempt_count"]
    return badge("delivery", "retrying" if again else delivery["status"])


def subscription_badge(state: Mapping[str, Any]) -> Badge:
    """Show a subscription's state: an active one that fails is failing; one disabled on purpose is no trouble."""
    if state["status"] == "active" and state["failing_since"] is not None:
        return badge("subscription", "failing")
    if state["status"] == "disabled" and state["disabled_reason"] == BY_THE_OPERATOR:
        return Badge(Level.IDLE, "disabled")
    return badge("subscription", state["status"])


def attempt_badge(status_code: int | None) -> Badge:
    """Show how an attempt ended."""
    if status_code is None:
        return Badge(Level.BAD, "no answer")
    good = 200 <= status_code < 300  # noqa: PLR2004
    return Badge(Level.OK if good else Level.BAD, str(status_code))
