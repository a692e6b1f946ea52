"""What is known of each order, station and venue, and how is it kept?

A snapshot is two entries: a *head* of some 90 bytes that tells whether a row has changed without reading more, and an
*object*, packed, with the row as Clopos sent it where a subscription wants that. Only commit.lua writes them.
"""

import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson
from redis.asyncio import Redis

from relay.core.errors import CorruptStateError
from relay.core.packing import pack_lines, unpack_lines
from relay.store import keys
from relay.store.numbers import number

HEAD_VERSION = "1"
HEAD_FIELDS = 8
_ZLIB_ALONE = b"x"
"""How such a stream begins."""

OPEN, REMOVED, FORGOTTEN = "o", "r", "f"
"""Flags of a head: open, removed, its customer is forgotten."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One feed of one venue of one brand; ``venue_id`` is None for what belongs to the whole brand."""

    brand: str
    venue_id: int | None
    feed: str

    @property
    def stem(self) -> str:
        """Stem of its keys."""
        return keys.snapshot(self.brand, self.venue_id, self.feed)


@dataclass(frozen=True, slots=True)
class Head:
    """What tells a change from none.

    Attributes:
        text: as it stands in Redis: the version that a commit compares.
        normalizer: version of the normalizer that made the object.
        fingerprint: digest of the row's bytes as Clopos sent them, hex; "" when not made from a row.
        content: digest of the object without ``updated_at``, hex.
        flags: of ``OPEN``, ``REMOVED``, ``FORGOTTEN``.
        stamp: of its last write.
        sequence: of its last event, 0 for none.
        event_id: of its last event, None for none.
    """

    text: bytes
    normalizer: int
    fingerprint: str
    content: str
    flags: str
    stamp: int
    sequence: int
    event_id: str | None

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read a head.

        Raises:
            CorruptStateError: it is not one.
        """
        parts = text.decode("ascii", "replace").split("|")
        if len(parts) != HEAD_FIELDS or parts[0] != HEAD_VERSION:
            raise CorruptStateError("a snapshot's head is of a form this version does not know")
        try:
            return cls(
                text, int(parts[1]), parts[2], parts[3], parts[4], int(parts[5]), int(parts[6]), parts[7] or None
            )
        except ValueError:
            raise CorruptStateError("a snapshot's head is of a form this version does not know") from None


def static_head(*, normalizer: int, fingerprint: str, content: str, flags: str) -> str:
    """The part of a head that the commit does not make itself."""
    return f"{HEAD_VERSION}|{normalizer}|{fingerprint}|{content}|{flags}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One object as last known, and the row it came from where that is kept."""

    object: dict[str, Any]
    raw: bytes | None


def pack(value: dict[str, Any], raw: bytes | None) -> bytes:
    """Pack an object and its row, against the dictionary of what events look like: half of what it takes alone."""
    encoded = orjson.dumps(value)
    return pack_lines([encoded] if raw is None else [encoded, raw])


def unpack(blob: bytes) -> Snapshot:
    """Unpack what :func:`pack` made, or, as it once did, zlib alone.

    Raises:
        CorruptStateError: it is not that.
    """
    try:
        if blob[:1] == _ZLIB_ALONE:
            encoded, _, raw = zlib.decompress(blob).partition(b"\n")
        else:
            encoded, raw = (*unpack_lines(blob, 2), b"")[:2]
        return Snapshot(orjson.loads(encoded), raw or None)
    except (zlib.error, ValueError) as error:
        raise CorruptStateError("a snapshot cannot be read") from error


class SnapshotStore:
    """Reads snapshots."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes

    async def begin(self) -> int:
        """A stamp to take before asking Clopos: what is written after it must not be overwritten by that answer."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.get(keys.CLOCK)
            (seconds, micros), last = await pipe.execute()
        now = (seconds * 1000 + micros // 1000) * keys.STAMPS_PER_MS
        return max(int(now), number(last))

    async def heads(self, scope: Scope, ids: Sequence[int | str]) -> list[Head | None]:
        """Heads in the order of ``ids``."""
        if not ids:
            return []
        found = await self._redis.hmget(scope.stem + ":h", [str(i) for i in ids])
        return [None if text is None else Head.parse(text) for text in found]

    async def objects(self, scope: Scope, ids: Sequence[int | str]) -> list[Snapshot | None]:
        """Objects in the order of ``ids``."""
        if not ids:
            return []
        found = await self._redis.hmget(scope.stem + ":o", [str(i) for i in ids])
        return [None if blob is None else unpack(blob) for blob in found]

    async def trim(self, scope: Scope, *, before: int, limit: int) -> int:
        """Forget what was settled before a stamp; how many. The highest id forgotten is kept: see :meth:`floor`.

        What must be remembered is that a customer was forgotten: else the next look would bring it back.
        """
        settled = await self._redis.zrange(
            scope.stem + ":gone", "-inf", f"({before}", byscore=True, offset=0, num=limit
        )
        if not settled:
            return 0
        heads = await self._redis.hmget(scope.stem + ":h", settled)
        old = [int(entity) for entity, text in zip(settled, heads, strict=True) if not _is_forgotten(text)]
        async with self._redis.pipeline(transaction=True) as pipe:
            if old:
                pipe.set(scope.stem + ":floor", max(await self.floor(scope), *old))
                pipe.hdel(scope.stem + ":h", *old)
                pipe.hdel(scope.stem + ":o", *old)
            pipe.zrem(scope.stem + ":gone", *settled)
            await pipe.execute()
        return len(settled)

    async def floor(self, scope: Scope) -> int:
        """The highest id that was forgotten: what is at or below it and unknown is old, not new; 0 for none."""
        return int(await self._redis.get(scope.stem + ":floor") or 0)

    async def forget(self, scope: Scope) -> None:
        """Forget everything of a scope."""
        await self._redis.unlink(*(scope.stem + part for part in (":h", ":o", ":gone", ":floor")))

    async def all_heads(self, scope: Scope) -> dict[int, Head]:
        """Every head of a scope, by id: for reconciliation and lists, bounded by retention."""
        heads: dict[int, Head] = {}
        async for key, text in self._redis.hscan_iter(scope.stem + ":h", count=1000):
            heads[int(key)] = Head.parse(text)
        return heads

    async def flagged(self, scope: Scope, flag: str, *, count: int = 500) -> AsyncIterator[dict[int, Head]]:
        """Heads that carry a flag, by id, some at a time; one may come twice."""
        cursor = 0
        while True:
            cursor, found = await self._redis.hscan(scope.stem + ":h", cursor, count=count)
            heads = {int(key): Head.parse(text) for key, text in found.items()}
            chosen = {key: head for key, head in heads.items() if flag in head.flags}
            if chosen:
                yield chosen
            if not cursor:
                return

    async def all_objects(self, scope: Scope) -> dict[int, Snapshot]:
        """Every object of a scope, by id."""
        objects: dict[int, Snapshot] = {}
        async for key, blob in self._redis.hscan_iter(scope.stem + ":o", count=500):
            objects[int(key)] = unpack(blob)
        return objects


def _is_forgotten(text: bytes | None) -> bool:
    try:
        return text is not None and FORGOTTEN in Head.parse(text).flags
    except CorruptStateError:
        return False
