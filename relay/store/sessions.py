"""Who is signed in to the page, and what is the next page to tell them?  Under digests, sealed, with an end."""

from typing import Any

from redis.asyncio import Redis

from relay.store import keys


class SessionStore:
    """Sessions of the page, by the digest of what the browser holds: who reads Redis cannot sign in with it."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes

    async def begin(self, digest: str, sealed: str, *, ttl_s: int) -> None:
        """Keep a session."""
        await self._redis.set(keys.session(digest), sealed, ex=ttl_s)

    async def get(self, digest: str) -> str | None:
        """The session, None when there is none (any more)."""
        found = await self._redis.get(keys.session(digest))
        return None if found is None else str(found.decode())

    async def end(self, digest: str) -> None:
        """Forget a session."""
        await self._redis.delete(keys.session(digest))

    async def leave(self, digest: str, name: str, sealed: str, *, ttl_s: int) -> None:
        """Leave something for one later page."""
        await self._redis.set(keys.session(digest, name), sealed, ex=ttl_s)

    async def take(self, digest: str, name: str) -> str | None:
        """What was left under that name; once."""
        found = await self._redis.getdel(keys.session(digest, name))
        return None if found is None else str(found.decode())
