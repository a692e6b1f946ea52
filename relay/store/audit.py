"""Who changed what, when, and from where?  A stream of its own, the oldest going first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson
from redis.asyncio import Redis

from relay.store import keys
from relay.store.positions import LARGEST, from_stream_id, stream_id

MOST_ENTRIES: Final = 20_000
"""About that many are kept: some 8 MB."""

MOST_FIELDS: Final = 64


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change, or one that was refused.

    Attributes:
        actor: ``admin_token``, ``api_key`` or ``system``.
        actor_id: of the key.
        actor_name: of the key.
        partner: of the key.
        action: ``subscription.create``.
        target: ``subscription/sub_…``.
        outcome: ``done`` or ``refused``.
        fields: which fields were set; never what to.
        reason: why it was refused, or done by the relay itself.
        address: where the request came from.
        request: id of the request.
    """

    actor: str
    actor_id: str | None = None
    actor_name: str | None = None
    partner: str | None = None
    action: str
    target: str | None = None
    outcome: str = "done"
    fields: tuple[str, ...] = ()
    reason: str | None = None
    address: str | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry and its place: ``position`` is a stamp, of which ``position // 2048`` is epoch ms of Redis' clock."""

    position: int
    entry: Entry


class AuditStore:
    """Writes and reads the audit log."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._decoder = msgspec.json.Decoder(Entry)

    async def note(self, entry: Entry) -> None:
        """Write an entry down, at Redis' time."""
        await self._redis.xadd(
            keys.AUDIT, {"e": orjson.dumps(msgspec.to_builtins(entry))}, maxlen=MOST_ENTRIES, approximate=True
        )

    async def newest(self, *, below: int = LARGEST, limit: int) -> list[Noted]:
        """Entries below a position, newest first."""
        found = await self._redis.xrevrange(keys.AUDIT, stream_id(below), "-", count=limit)
        return self._read(found)

    def _read(self, found: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Noted]:
        noted = []
        for entry_id, fields in found:
            try:
                noted.append(Noted(from_stream_id(entry_id), self._decoder.decode(fields.get(b"e", b""))))
            except msgspec.DecodeError:
                continue  # not written by this version: the others go on
        return noted
