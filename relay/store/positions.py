"""How are places in the log named?

A position is a stamp of Redis' clock (see keys.py). Outside it is base 36, in cursors and delivery ids.
"""

from typing import Final

from relay.store.keys import STAMPS_PER_MS

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
LARGEST: Final = 2**53


def stream_id(position: int) -> str:
    """The id of a stream's entry at that position."""
    return f"{position // STAMPS_PER_MS}-{position % STAMPS_PER_MS}"


def from_stream_id(entry_id: bytes) -> int:
    """The position of a stream's entry."""
    ms, _, count = entry_id.partition(b"-")
    return int(ms) * STAMPS_PER_MS + int(count)


def time_ms(position: int) -> int:
    """When it was committed, epoch ms of Redis' clock."""
    return position // STAMPS_PER_MS


def first_at(ms: int) -> int:
    """The least position of that millisecond."""
    return ms * STAMPS_PER_MS


def encode(position: int) -> str:
    """A position in base 36."""
    if position == 0:
        return "0"
    text = ""
    while position:
        position, digit = divmod(position, 36)
        text = _DIGITS[digit] + text
    return text


def decode(text: str) -> int:
    """The position that :func:`encode` wrote.

    Raises:
        ValueError: it is not one.
    """
    if not text or len(text) > 12 or text != text.lower() or not text.isascii() or not text.isalnum():  # noqa: PLR2004  (36**12 > 2**53)
        raise ValueError("not a position")
    position = int(text, 36)
    if position > LARGEST:
        raise ValueError("not a position")
    return position


def delivery_id(subscription_id: str, position: int) -> str:
    """The id of the one delivery of an event to a subscription: it says which, so no index is kept."""
    return f"dlv_{subscription_id.removeprefix('sub_')}_{encode(position)}"


def parse_delivery_id(text: str) -> tuple[str, int]:
    """Subscription and position of a delivery.

    Raises:
        ValueError: it is no delivery id.
    """
    head, _, tail = text.removeprefix("dlv_").partition("_")
    if not text.startswith("dlv_") or not head:
        raise ValueError("not a delivery id")
    return f"sub_{head}", decode(tail)
