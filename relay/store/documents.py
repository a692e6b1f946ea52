"""How are brands, subscriptions and keys kept: one document each, changed only by who has read it?"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar, cast
from weakref import WeakValueDictionary

import msgspec
from redis.asyncio import Redis

from relay import logs
from relay.core.errors import ConflictError, CorruptStateError, NotFoundError
from relay.store import keys
from relay.store.scripts import Scripts

T = TypeVar("T")

STAMP_PLACEHOLDER_BYTES = 12
UPDATE_TRIES = 20


class VersionMismatch(ConflictError):  # noqa: N818  (reads as what happened)
    """If-Match named a version that is no longer the present one."""

    default_reason = "version"


class NameTaken(ConflictError):  # noqa: N818  (reads as what happened)
    """Another document has that name, or id, already."""

    default_reason = "exists"


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """A document and the version it was read at; versions start at 1."""

    id: str
    version: int
    value: T


@dataclass(frozen=True, slots=True)
class Write(Generic[T]):
    """What to write.

    Attributes:
        value: the document.
        name: unique among its kind, None for none.
        gate: None leaves the lane as it is, "" opens it, anything else is why it is shut.
        placeholder: a string in the document that the stamp of this write takes the place of (as a number).
    """

    value: T
    name: str | None = None
    gate: str | None = None
    placeholder: str = ""


class Documents(Generic[T]):
    """All documents of one kind: ``kind`` names the keys, ``model`` what JSON decodes to."""

    def __init__(self, redis: Redis, scripts: Scripts, *, kind: str, model: type[T], lanes: bool = False) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._scripts = scripts
        self._hash = keys.document(kind)
        self._lanes = lanes
        self._noun = kind
        self._decoder = msgspec.json.Decoder(model)
        self._encoder = msgspec.json.Encoder()
        self._names = {field.name for field in fields(cast("Any", model))}
        self._complained: dict[str, bytes] = {}
        self._being_changed: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def epoch_key(self) -> str:
        """Key of the counter that moves with every change of any document of this kind."""
        return self._hash + ":epoch"

    async def epoch(self) -> int:
        """How often documents of this kind have changed."""
        return int(await self._redis.get(self.epoch_key) or 0)

    async def get(self, document_id: str) -> Stored[T] | None:
        """One document, or None.

        Raises:
            CorruptStateError: it cannot be read.
        """
        found = await self._redis.hget(self._hash, document_id)
        return None if found is None else self._decode(document_id, found)

    async def all(self) -> dict[str, Stored[T]]:
        """Every document that can be read, by id, in the order of their ids."""
        return self._decode_all(await self._redis.hgetall(self._hash))

    async def snapshot(self) -> tuple[int, dict[str, Stored[T]]]:
        """The epoch and every document that can be read, as of one moment."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(self.epoch_key)
            pipe.hgetall(self._hash)
            epoch, found = await pipe.execute()
        return int(epoch or 0), self._decode_all(found)

    async def id_of(self, name: str) -> str | None:
        """Id of the document with that name."""
        found = await self._redis.hget(self._hash + ":names", name)
        return None if found is None else found.decode()

    async def create(self, document_id: str, write: Write[T]) -> Stored[T]:
        """Write a new one.

        Raises:
            NameTaken: the id or the name is in use.
        """
        return await self._put(document_id, 0, write, old_name=None)

    async def update(
        self,
        document_id: str,
        change: Callable[[T], Write[T]],
        *,
        name_of: Callable[[T], str | None],
        if_version: int | None = None,
    ) -> Stored[T]:
        """Read, change, and write if nobody else did meanwhile; else once more.

        Args:
            change: from the present value to what to write; called again after a conflict.
            name_of: the unique name within a value.
            if_version: only this version may be changed.

        Raises:
            NotFoundError: there is no such document.
            VersionMismatch: it is no longer at ``if_version``.
            NameTaken: the new name is another's.
        """
        # Those of this process take turns, so that only those of others can come between, and none is left over.
        async with self._being_changed.setdefault(document_id, asyncio.Lock()):
            for _ in range(UPDATE_TRIES):
                text = await self._redis.hget(self._hash, document_id)
                if text is None:
                    raise NotFoundError(f"no {self._noun} has this id")
                present = self._decode(document_id, text)
                if if_version is not None and present.version != if_version:
                    raise VersionMismatch("it was changed since you read it: read it again and repeat the change")
                try:
                    return await self._put(
                        document_id,
                        present.version,
                        change(present.value),
                        old_name=name_of(present.value),
                        unknown=self._unknown(text),
                    )
                except VersionMismatch:
                    if if_version is not None:
                        raise
        raise VersionMismatch("too many changes at once: try again")

    async def delete(self, document_id: str, *, name: str | None = None, if_version: int | None = None) -> bool:
        """Take it away; False when it was not there.

        Raises:
            VersionMismatch: it is no longer at ``if_version``.
        """
        lane = keys.lane(document_id) if self._lanes else ""
        outcome = await self._scripts.run(
            "delete_document",
            [self._hash, self.epoch_key, self._hash + ":names", lane, keys.LANES_DUE, keys.LANES_GONE],
            [document_id, "" if if_version is None else str(if_version), name or ""],
        )
        if outcome == -2:  # noqa: PLR2004  (the script's answers, see its header)
            raise VersionMismatch("it was changed since you read it: read it again and repeat the request")
        return bool(outcome)

    def _unknown(self, text: bytes) -> bytes:
        """What a newer version has written into a document, and this one does not know: it is to stay there."""
        document: dict[str, Any] = msgspec.json.decode(text.partition(b" ")[2])
        left = {name: value for name, value in document.items() if name not in self._names}
        return self._encoder.encode(left) if left else b""

    async def _put(  # one write, and all that must be as it was read
        self, document_id: str, expected: int, write: Write[T], *, old_name: str | None, unknown: bytes = b""
    ) -> Stored[T]:
        gate = "" if write.gate is None else (write.gate or "-")
        encoded = self._encoder.encode(write.value)
        if unknown:
            encoded = encoded[:-1] + b"," + unknown[1:]
        placeholder = f'"{write.placeholder}"' if write.placeholder else ""
        status, version, stamp = await self._scripts.run(
            "put_document",
            [
                self._hash,
                self.epoch_key,
                self._hash + ":names",
                keys.CLOCK,
                keys.lane(document_id) if self._lanes else "",
                keys.LANES_DUE,
                keys.wake("deliver"),
            ],
            [document_id, expected, encoded, placeholder, write.name or "", old_name or "", gate],
        )
        if status == 1:
            if placeholder:
                encoded = encoded.replace(placeholder.encode(), str(stamp).encode())
            return Stored(document_id, version, self._decoder.decode(encoded))
        if status == -1:
            raise NotFoundError(f"no {self._noun} has this id")
        if status == -2:  # noqa: PLR2004  (the script's answers, see its header)
            raise VersionMismatch("it was changed since you read it: read it again and repeat the change")
        raise NameTaken(f"a {self._noun} with this {'id' if status == 0 else 'name'} exists already")

    def _decode_all(self, found: Mapping[bytes, bytes]) -> dict[str, Stored[T]]:
        """Read all; one that cannot be read stops no other."""
        documents: dict[str, Stored[T]] = {}
        for key, text in sorted(found.items()):
            document_id = key.decode(errors="replace")
            try:
                documents[document_id] = self._decode(document_id, text)
            except CorruptStateError as error:
                if self._complained.get(document_id) != text:  # once, and again when it has changed
                    self._complained[document_id] = text
                    logs.event("document unreadable", level="error", exc=error, kind=self._noun, id=document_id)
        return documents

    def _decode(self, document_id: str, found: bytes) -> Stored[T]:
        version, _, document = found.partition(b" ")
        try:
            return Stored(document_id, int(version), self._decoder.decode(document))
        except (ValueError, msgspec.DecodeError):
            raise CorruptStateError(
                f"the {self._noun} {document_id} cannot be read: put it back, or delete it"
            ) from None


def stamp_placeholder() -> str:
    """A text that stands for the stamp of a write in a document; no stored value can look like it."""
    return secrets.token_hex(STAMP_PLACEHOLDER_BYTES)
