"""How does a partner know a request is ours? By a signature of Standard Webhooks 1.0: HMAC-SHA256 or ed25519.

What is signed is ``{webhook-id}.{webhook-timestamp}.{body}``. Secrets are text with a prefix and canonical base64::

    whsec_…  a shared secret of 24 to 64 bytes      → v1
    whsk_…   a private ed25519 key, its 32 byte seed → v1a
    whpk_…   the public key to it, 32 bytes

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, "Signature scheme".
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

HMAC_PREFIX: Final = "whsec_"
PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"

SECRET_MIN_BYTES: Final = 24
SECRET_MAX_BYTES: Final = 64
SECRET_BYTES: Final = 32
"""How many random bytes ``new_secret`` and ``new_private_key`` are best given; ed25519 takes exactly these."""

TOLERANCE_S: Final = 300
"""How far a timestamp may be from the receiver's clock, either way."""

_MAX_SECRET_CHARS: Final = 128
_MAX_SIGNATURES: Final = 20


class SigningKey(Protocol):
    """A key made ready: parse a secret once, sign often."""

    def sign(self, content: bytes) -> str:
        """Return one signature with its version, such as ``v1,K5oZ…``."""


class VerifyingKey(Protocol):
    """A key made ready to verify with."""

    def verify(self, content: bytes, version: str, signature: bytes) -> bool:
        """Say whether this is a signature of the content, of this key's version."""


@dataclass(frozen=True, slots=True, repr=False)
class HmacKey:
    """A shared secret; signs and verifies ``v1``."""

    secret: bytes

    def sign(self, content: bytes) -> str:
        """Return the ``v1`` signature of the content."""
        digest = hmac.digest(self.secret, content, "sha256")
        return "v1," + binascii.b2a_base64(digest, newline=False).decode("ascii")

    def verify(self, content: bytes, version: str, signature: bytes) -> bool:
        """Compare in constant time."""
        return version == "v1" and hmac.compare_digest(hmac.digest(self.secret, content, "sha256"), signature)

    def __repr__(self) -> str:
        return "HmacKey(…)"


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A private ed25519 key; signs ``v1a``."""

    key: Ed25519PrivateKey

    def sign(self, content: bytes) -> str:
        """Return the ``v1a`` signature of the content."""
        return "v1a," + binascii.b2a_base64(self.key.sign(content), newline=False).decode("ascii")

    def public(self) -> str:
        """Return the public key as the partner gets it, ``whpk_…``."""
        return PUBLIC_PREFIX + base64.b64encode(self.key.public_key().public_bytes_raw()).decode("ascii")

    def __repr__(self) -> str:
        return "PrivateKey(…)"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public ed25519 key; verifies ``v1a``."""

    key: Ed25519PublicKey

    def verify(self, content: bytes, version: str, signature: bytes) -> bool:
        """Verify; ed25519 keeps nothing secret here that time could tell."""
        if version != "v1a":
            return False
        try:
            self.key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Unverified:
    """Why a request does not count as ours.

    Attributes:
        code: ``missing``, ``timestamp``, ``too_old``, ``too_new`` or ``signature``.
        detail: a sentence, ready to show.
    """

    code: str
    detail: str


def new_secret(random_bytes: bytes) -> str:
    """Make a shared secret.

    Args:
        random_bytes: 24 to 64 bytes from a cryptographic source; best ``SECRET_BYTES``.

    Returns:
        ``whsec_…``, as the partner gets it.

    Raises:
        ValueError: too few or too many bytes.
    """
    if not SECRET_MIN_BYTES <= len(random_bytes) <= SECRET_MAX_BYTES:
        raise ValueError(f"a secret takes {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} random bytes")
    return HMAC_PREFIX + base64.b64encode(random_bytes).decode("ascii")


def new_private_key(random_bytes: bytes) -> str:
    """Make a private ed25519 key from 32 bytes of a cryptographic source.

    Returns:
        ``whsk_…``; never leaves the relay.

    Raises:
        ValueError: not 32 bytes.
    """
    if len(random_bytes) != SECRET_BYTES:
        raise ValueError(f"an ed25519 key takes {SECRET_BYTES} random bytes")
    return PRIVATE_PREFIX + base64.b64encode(random_bytes).decode("ascii")


def parse_secret(text: str) -> HmacKey:
    """Read a shared secret, strictly: what is loosely read may be verified differently elsewhere.

    Raises:
        ValueError: wrong prefix, not canonical base64 (padding, standard alphabet, no spaces), or not 24 to 64 bytes.
            The message does not repeat the text.
    """
    secret = _decode(text, HMAC_PREFIX)
    if not SECRET_MIN_BYTES <= len(secret) <= SECRET_MAX_BYTES:
        raise ValueError(
            f"must hold {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} bytes after {HMAC_PREFIX}, and holds {len(secret)}"
        )
    return HmacKey(secret)


def parse_private_key(text: str) -> PrivateKey:
    """Read a private ed25519 key: ``whsk_`` and its seed, alone or followed by the public key as some tools write it.

    Raises:
        ValueError: wrong prefix, not canonical base64, not 32 or 64 bytes, or a public half that is not the seed's. The
            message does not repeat the text.
    """
    raw = _decode(text, PRIVATE_PREFIX)
    if len(raw) not in {SECRET_BYTES, 2 * SECRET_BYTES}:
        raise ValueError(f"must hold a {SECRET_BYTES} byte ed25519 seed after {PRIVATE_PREFIX}")
    key = Ed25519PrivateKey.from_private_bytes(raw[:SECRET_BYTES])
    if raw[SECRET_BYTES:] not in {b"", key.public_key().public_bytes_raw()}:
        raise ValueError("holds a public key that does not belong to its seed")
    return PrivateKey(key)


def parse_public_key(text: str) -> PublicKey:
    """Read a public ed25519 key, ``whpk_…``.

    Raises:
        ValueError: wrong prefix, not canonical base64, or not 32 bytes. The message does not repeat the text.
    """
    raw = _decode(text, PUBLIC_PREFIX)
    if len(raw) != SECRET_BYTES:
        raise ValueError(f"must hold a {SECRET_BYTES} byte ed25519 public key after {PUBLIC_PREFIX}")
    return PublicKey(Ed25519PublicKey.from_public_bytes(raw))


def parse_signing_key(text: str) -> HmacKey | PrivateKey:
    """Read a stored secret of either kind, told apart by its prefix.

    Raises:
        ValueError: as ``parse_secret`` and ``parse_private_key``.
    """
    return parse_private_key(text) if text.startswith(PRIVATE_PREFIX) else parse_secret(text)


def sign(keys: Sequence[SigningKey], *, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """Make the ``webhook-signature`` header.

    Args:
        keys: one, or during a rotation the new one and then the old.
        webhook_id: the event's id; without a full stop in it.
        timestamp_s: of this attempt, Unix seconds.
        body: exactly what is sent.

    Returns:
        One signature for each key, separated by spaces.
    """
    content = b"%b.%d.%b" % (webhook_id.encode("ascii"), timestamp_s, body)
    if len(keys) == 1:
        return keys[0].sign(content)
    return " ".join([key.sign(content) for key in keys])


def sign_v1(secrets: Sequence[HmacKey], webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """Make the ``webhook-signature`` header from shared secrets; see ``sign``."""
    return sign(secrets, webhook_id=webhook_id, timestamp_s=timestamp_s, body=body)


def verify(
    keys: Sequence[VerifyingKey],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> Unverified | None:
    """Check a request as a receiver does.

    Args:
        keys: those that count; any one will do.
        headers: of the request, names in lower case.
        body: exactly as received.
        now_s: the receiver's clock, Unix seconds.
        tolerance_s: how far the timestamp may be from it.

    Returns:
        None if a signature matches, else the reason.
    """
    webhook_id, timestamp, signatures = (
        headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not (webhook_id and timestamp and signatures):
        return Unverified("missing", "webhook-id, webhook-timestamp and webhook-signature are all needed")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):  # noqa: PLR2004 - past year 30 000
        return Unverified("timestamp", "webhook-timestamp is not Unix seconds")
    age_s = now_s - int(timestamp)
    if age_s > tolerance_s:
        return Unverified("too_old", f"webhook-timestamp is more than {tolerance_s:g} s in the past")
    if age_s < -tolerance_s:
        return Unverified("too_new", f"webhook-timestamp is more than {tolerance_s:g} s in the future")
    content = b"%b.%b.%b" % (webhook_id.encode("utf-8", "surrogateescape"), timestamp.encode("ascii"), body)
    for one in signatures.split(" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]:
        version, _, encoded = one.partition(",")
        try:
            signature = base64.b64decode(encoded, validate=True)
        except ValueError:
            continue
        if any(key.verify(content, version, signature) for key in keys):
            return None
    return Unverified("signature", "no signature matches: another secret, or a body that was changed on its way")


def _decode(text: str, prefix: str) -> bytes:
    if not text.startswith(prefix):
        raise ValueError(f"must begin with {prefix}")
    if len(text) > _MAX_SECRET_CHARS:
        raise ValueError("is too long")
    encoded = text[len(prefix) :]
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise ValueError(f"must be base64 with its padding after {prefix}") from None
    if base64.b64encode(raw).decode("ascii") != encoded:
        raise ValueError(f"must be canonical base64 after {prefix}: its last character has bits that mean nothing")
    return raw
