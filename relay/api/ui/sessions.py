"""Who is signed in?  A random cookie, whose digest names what Redis keeps, sealed; the key is looked at every time."""

import hashlib
import hmac
import re
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson
from starlette.requests import HTTPConnection

from relay.api.auth import Principal, authenticate
from relay.api.services import Services
from relay.api.ui.statuses import Level
from relay.core.errors import CorruptStateError

COOKIE: Final = "relay_session"
LASTS_S: Final = 12 * 3600
"""A session ends then, whether it was used or not."""

NOTICE_S: Final = 300

_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in.

    Attributes:
        digest: names the session in Redis.
        csrf: what forms of this session hold.
    """

    principal: Principal
    digest: str
    csrf: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a page is to tell once, after a redirect.

    Attributes:
        level: how it went.
        text: a sentence.
        faults: field of a form -> what is wrong with it.
        values: what the form held.
        more: what only the page that it is for knows to show.
    """

    level: Level
    text: str
    faults: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


class Sessions:
    """Begins, finds and ends sessions."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def sign_in(self, token: str) -> tuple[Principal, str]:
        """Begin a session for whoever holds a token or key.

        Returns:
            Who it is, and the value of the cookie.

        Raises:
            ProblemError: 401: it is not valid here.
        """
        given = f"Bearer {token}".encode("utf-8", "surrogatepass")
        connection = HTTPConnection({"type": "http", "headers": [(b"authorization", given)]})
        services = self._services
        principal = await authenticate(
            connection, admin_digest=services.admin_digest, api_keys=services.api_keys, now_ms=services.now_ms()
        )
        value = secrets.token_urlsafe(32)
        kept = {"key": principal.id, "token": await self._present(principal.id)}
        sealed = services.vault.seal(orjson.dumps(kept).decode())
        await services.sessions.begin(_digest(value), sealed, ttl_s=LASTS_S)
        return principal, value

    async def of(self, connection: HTTPConnection) -> Session | None:
        """The session of a request; None where there is none, or what it began with is not valid any more."""
        value = connection.cookies.get(COOKIE, "")
        if _VALUE.fullmatch(value) is None:
            return None
        digest = _digest(value)
        sealed = await self._services.sessions.get(digest)
        if sealed is None:
            return None
        try:
            kept = orjson.loads(self._services.vault.open(sealed))
        except CorruptStateError:
            return None  # the key that sealed it was taken away: sign in again
        principal = await self._principal(kept["key"], kept["token"])
        return None if principal is None else Session(principal, digest, csrf_of(value))

    async def end(self, session: Session) -> None:
        """Sign out."""
        await self._services.sessions.end(session.digest)

    async def leave(self, session: Session, notice: Notice) -> str:
        """Leave something for the next page; the name under which it takes it."""
        name = secrets.token_urlsafe(12)
        sealed = self._services.vault.seal(orjson.dumps(asdict(notice)).decode())
        await self._services.sessions.leave(session.digest, name, sealed, ttl_s=NOTICE_S)
        return name

    async def take(self, session: Session, name: str | None) -> Notice | None:
        """Take what was left; once."""
        if name is None or _NAME.fullmatch(name) is None:
            return None
        sealed = await self._services.sessions.take(session.digest, name)
        if sealed is None:
            return None
        found = orjson.loads(self._services.vault.open(sealed))
        return Notice(**{**found, "level": Level(found["level"])})

    async def _present(self, key_id: str | None) -> str:
        """Digest of the token that an identity has now; "" for a key that is gone."""
        if key_id is None:
            return self._services.admin_digest
        stored = await self._services.api_keys.get(key_id)
        return "" if stored is None else stored.value.digest

    async def _principal(self, key_id: str | None, token: str) -> Principal | None:
        """Who somebody is now: a key that was revoked, or has expired, ends the sessions that began with it."""
        services = self._services
        if key_id is None:
            same = hmac.compare_digest(token, services.admin_digest)
            return Principal("admin_token", "admin") if same else None
        stored = await services.api_keys.get(key_id)
        now_ms = services.now_ms()
        if stored is None or not hmac.compare_digest(token, stored.value.digest):
            return None
        key = stored.value
        if key.expires_ms is not None and key.expires_ms <= now_ms:
            return None
        await services.api_keys.note_use(key_id, now_ms=now_ms)
        brands, scopes = frozenset(key.brands), frozenset(key.scopes)
        return Principal("api_key", key.role, key.id, key.name, key.partner, brands, scopes)


def csrf_of(value: str) -> str:
    """What forms hold that belong to a cookie's value, from which it cannot be told back."""
    return hmac.digest(value.encode(), b"relay form", hashlib.sha256).hex()


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
