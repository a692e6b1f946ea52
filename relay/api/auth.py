"""Who calls?  The holder of the admin token, or of an API key that is neither revoked nor expired."""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from starlette.requests import HTTPConnection

from relay.api.problems import ProblemError
from relay.store.apikeys import ApiKey, ApiKeyStore, KeyRole
from relay.store.away import STORE_ERRORS

KEY_PREFIX: Final = "rk_"
KEY_BYTES: Final = 32
ID_CHARS: Final = 20
MAX_TOKEN_CHARS: Final = 4096

_KEY: Final = re.compile(r"rk_([a-z2-7]{20})_([A-Za-z0-9_-]{43})", re.ASCII)
_NO_DIGEST: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever makes a request.

    Attributes:
        id: of the key; None for the admin token.
        partner: whose key it is, with the role ``partner``.
        brands: those that a partner's key reaches.
    """

    kind: Literal["admin_token", "api_key"]
    role: KeyRole
    id: str | None = None
    name: str | None = None
    partner: str | None = None
    brands: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()

    @property
    def caller(self) -> str:
        """A name that no other principal has: Idempotency-Keys and cursors are bound to it."""
        return self.id or self.kind


def digest_of(token: str) -> str:
    """What is kept of a token, and compared."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(key_id: str, random_bytes: bytes) -> str:
    """Make the key that belongs to an id; ``random_bytes`` are ``KEY_BYTES`` of a cryptographic source."""
    return f"{KEY_PREFIX}{key_id.removeprefix('key_')}_{base64.urlsafe_b64encode(random_bytes).decode().rstrip('=')}"


def bearer(connection: HTTPConnection) -> str | None:
    """The bearer token of a request; None without a single, readable one.

    Source:
        RFC 6750, section 2.1; the scheme is case-insensitive (RFC 9110, section 11.1).
    """
    values = connection.headers.getlist("authorization")
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(" ")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and 0 < len(token) <= MAX_TOKEN_CHARS else None


async def authenticate(
    connection: HTTPConnection, *, admin_digest: str, api_keys: ApiKeyStore, now_ms: int
) -> Principal:
    """Tell who calls.

    Raises:
        ProblemError: 401, the same whatever was wrong.
        redis.exceptions.RedisError: it looks like a key, and Redis cannot be asked.
    """
    token = bearer(connection)
    given = digest_of(token or "")
    if hmac.compare_digest(given, admin_digest) and token is not None:
        return Principal("admin_token", "admin")
    shape = None if token is None else _KEY.fullmatch(token)
    if shape is None:
        raise unauthorized()
    stored = await api_keys.get(f"key_{shape[1]}")
    same = hmac.compare_digest(given, _NO_DIGEST if stored is None else stored.value.digest)
    if stored is None or not same or _is_expired(stored.value, now_ms):
        raise unauthorized()
    with suppress(*STORE_ERRORS):  # a Redis that is full still lets keys read
        await api_keys.note_use(stored.id, now_ms=now_ms)
    key = stored.value
    return Principal("api_key", key.role, key.id, key.name, key.partner, frozenset(key.brands), frozenset(key.scopes))


def is_metrics_reader(connection: HTTPConnection, metrics_digest: str | None) -> bool:
    """Whether a scrape may be answered: without ``RELAY_METRICS_TOKEN`` every one."""
    if metrics_digest is None:
        return True
    token = bearer(connection)
    return hmac.compare_digest(digest_of(token or ""), metrics_digest) and token is not None


def unauthorized() -> ProblemError:
    """The one 401 there is."""
    return ProblemError(
        "unauthorized",
        "Send `Authorization: Bearer …` with a token that is valid here.",
        headers={"www-authenticate": 'Bearer realm="clopos-relay"'},
    )


def check_role(principal: Principal, roles: Sequence[str], *, scope: str | None = None) -> None:
    """Refuse a role that a route is not for.

    Args:
        roles: those that it is for.
        scope: a partner's key needs it besides.

    Raises:
        ProblemError: 403, with the role.
    """
    if principal.role not in roles:
        raise ProblemError(
            "forbidden", f"The role {principal.role} does not reach this route: it needs {' or '.join(roles)}."
        )
    if principal.role == "partner" and scope is not None and scope not in principal.scopes:
        raise ProblemError("forbidden", f"A key of the role partner needs the scope {scope} for this.")


def _is_expired(key: ApiKey, now_ms: int) -> bool:
    return key.expires_ms is not None and key.expires_ms <= now_ms
