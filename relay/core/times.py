"""How are moments written?"""

from datetime import UTC, datetime


def rfc3339_ms(epoch_ms: int) -> str:
    """A moment as RFC 3339 in UTC with milliseconds: ``2026-02-02T13:46:05.120Z``."""
    whole_s, ms = divmod(epoch_ms, 1000)
    return f"{datetime.fromtimestamp(whole_s, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"
