"""How are things named?  A prefix and 20 characters of base32, from random bytes or from a request's nonce."""

import base64
import hashlib
import hmac
import re
from typing import Final

ID_CHARS: Final = 20
ID_BYTES: Final = 13
"""Random bytes that an id takes: 100 of their bits."""

_SHAPES: Final = {
    "sub": re.compile(r"sub_[a-z2-7]{20}", re.ASCII),
    "key": re.compile(r"key_[a-z2-7]{20}", re.ASCII),
    "rpl": re.compile(r"rpl_[a-z2-7]{20}", re.ASCII),
    "evt": re.compile(r"evt_[0-9a-v]{32}", re.ASCII),
}


def is_id(kind: str, text: str) -> bool:
    """Whether a text can be an id of that kind; only such a text is looked up."""
    return _SHAPES[kind].fullmatch(text) is not None


def make_id(kind: str, random_bytes: bytes) -> str:
    """Make an id of ``ID_BYTES`` random bytes."""
    return f"{kind}_{base64.b32encode(random_bytes).decode().lower()[:ID_CHARS]}"


def derive(nonce: str, purpose: str, size: int) -> bytes:
    """Bytes for one purpose of one request; the same again for a repeat of a request that was cut off.

    Args:
        nonce: hex, of a cryptographic source; kept secret.
        purpose: what they are for.
        size: at most 64.
    """
    return hmac.digest(bytes.fromhex(nonce), purpose.encode(), hashlib.sha512)[:size]
