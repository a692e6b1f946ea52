"""Real HS256 tokens (RFC 7519), made and checked by hand."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

_HEADER = {"typ": "JWT", "alg": "HS256"}


class BadTokenError(Exception):
    """Not a token of ours: malformed, another algorithm, or a signature that does not fit."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says.

    Attributes:
        token: the upstream's session; here ``<serial>.<client_id>.<digest>``.
        brand: name of the brand.
        stage: always ``sandbox`` here.
        venue_id: the default venue.
        integrator_id: who calls.
        iat: issued at, Unix seconds.
        exp: expires at, Unix seconds.
    """

    token: str
    brand: str
    stage: str
    venue_id: int
    integrator_id: str
    iat: int
    exp: int

    @property
    def serial(self) -> int:
        """Number of the token: 1 for the first that the signer issued."""
        return int(self.token.partition(".")[0])

    @property
    def client_id(self) -> str:
        """Whose credentials it was issued for."""
        return self.token.partition(".")[2].rpartition(".")[0]


class Signer:
    """Issues tokens and checks them; holds the key, the count, and the number up to which all are expired early.

    Args:
        key: the HMAC key; the same key and the same requests make the same tokens.
    """

    def __init__(self, key: bytes = b"a key that guards nothing but a make-believe restaurant") -> None:
        self._key = key
        self.issued = 0
        self.expired_up_to = 0

    def issue(
        self, *, client_id: str, brand: str, venue_id: int, integrator_id: str, now_s: int, lifetime_s: int
    ) -> tuple[str, Claims]:
        """Make the next token, good for ``lifetime_s`` seconds from ``now_s``."""
        self.issued += 1
        digest = hmac.new(self._key, f"{self.issued}:{client_id}:{brand}".encode(), hashlib.sha256).hexdigest()[:24]
        claims = Claims(
            token=f"{self.issued}.{client_id}.{digest}",
            brand=brand,
            stage="sandbox",
            venue_id=venue_id,
            integrator_id=integrator_id,
            iat=now_s,
            exp=now_s + lifetime_s,
        )
        body = {name: getattr(claims, name) for name in Claims.__slots__}
        signed = f"{_encode(_HEADER)}.{_encode(body)}"
        return f"{signed}.{_text(self._mac(signed))}", claims

    def read(self, token: str) -> Claims:
        """Check form, algorithm and signature, and read the claims; expiry is the caller's to judge.

        Raises:
            BadTokenError: it is not a token of this signer's key.
        """
        signed, _, signature = token.rpartition(".")
        try:
            if not hmac.compare_digest(_bytes(signature), self._mac(signed)):
                raise BadTokenError
            header, body = (json.loads(_bytes(part)) for part in signed.split("."))
            if header.get("alg") != "HS256":
                raise BadTokenError
            return Claims(**{name: body[name] for name in Claims.__slots__})
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise BadTokenError from error

    def is_expired(self, claims: Claims, *, now_s: float) -> bool:
        """Whether its time is over, or was declared over."""
        return now_s >= claims.exp or claims.serial <= self.expired_up_to

    def expire_all(self) -> int:
        """Declare every token issued so far expired; returns how many there are."""
        self.expired_up_to = self.issued
        return self.issued

    def change_key(self) -> None:
        """Sign with another key: earlier tokens become invalid, not expired."""
        self._key = hashlib.sha256(self._key).digest()

    def _mac(self, signed: str) -> bytes:
        return hmac.new(self._key, signed.encode(), hashlib.sha256).digest()


def peek(token: str | None) -> dict[str, Any]:
    """Read a token's claims without checking anything, for journal and faults; {} if there are none."""
    try:
        claims = json.loads(_bytes((token or "").split(".")[1]))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _encode(value: Any) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
