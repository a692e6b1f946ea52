"""What is kept of an API key, and where?  Its digest, never the key itself."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from redis.asyncio import Redis

from relay.store import keys
from relay.store.documents import Documents
from relay.store.scripts import Scripts

KeyRole = Literal["admin", "viewer", "partner"]

USED_STEP_MS: Final = 60_000
"""The last use is written down at most once in that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key to the API.

    Attributes:
        digest: SHA-256 of the whole key, hex. The key has 256 random bits, so nothing slower is needed.
        partner: whose it is, with the role ``partner``.
        brands: those that a partner's key reaches.
        expires_ms: epoch ms, None for never.
        created_at: RFC 3339, UTC.
    """

    id: str
    name: str
    role: KeyRole
    digest: str
    partner: str | None = None
    brands: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    expires_ms: int | None = None
    created_at: str


class ApiKeyStore(Documents[ApiKey]):
    """Every key, by id. There is no cache: a key that is revoked is refused by the next request of any process."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        super().__init__(redis, scripts, kind="api-key", model=ApiKey)
        self._any: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._noted_ms: dict[str, int] = {}

    async def note_use(self, key_id: str, *, now_ms: int) -> None:
        """Write down that a key was used, unless this process did so less than a minute ago."""
        if now_ms - self._noted_ms.get(key_id, 0) >= USED_STEP_MS:
            self._noted_ms[key_id] = now_ms
            await self._any.hset(keys.API_KEYS_USED, key_id, now_ms)

    async def last_used_ms(self) -> dict[str, int]:
        """When each key was last used, epoch ms; to the minute."""
        found = await self._any.hgetall(keys.API_KEYS_USED)
        return {key.decode(): int(value) for key, value in found.items()}

    async def revoke(self, key_id: str) -> bool:
        """Take a key away; False when there was none."""
        deleted = await self.delete(key_id)
        self._noted_ms.pop(key_id, None)
        await self._any.hdel(keys.API_KEYS_USED, key_id)
        return deleted
