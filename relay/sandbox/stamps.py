"""How Clopos writes time: whole seconds with six zeros and a ``Z``, whether or not it is UTC."""

from datetime import UTC, datetime

BAKU_OFFSET_S = 4 * 3600


def stamp(epoch_s: float) -> str:
    """Write a moment the way order and station rows carry it, to the second: ``2026-02-02T13:45:53.000000Z``."""
    return datetime.fromtimestamp(int(epoch_s), UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def local_time(epoch_s: float) -> str:
    """Write a moment the way receipts carry it: venue-local (+04), without a zone."""
    return datetime.fromtimestamp(int(epoch_s) + BAKU_OFFSET_S, UTC).strftime("%Y-%m-%d %H:%M:%S")


def epoch_s(text: str) -> float:
    """Read a row's timestamp back, taking its ``Z`` at its word.

    Raises:
        ValueError: the text is not a timestamp.
    """
    return datetime.fromisoformat(text).timestamp()
