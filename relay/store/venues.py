"""What did looking at Clopos find, brand by brand and venue by venue, and which worker looks?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from relay import logs
from relay.core.cadence import Habits, OpenOrder, Rate
from relay.store import keys
from relay.store.commit import Fence
from relay.store.scripts import Scripts

BAD_ROWS_KEPT: Final = 200
"""Rows set aside that are kept of a brand; further ones are counted only."""

LEASE_MS: Final = 20_000
"""How long a brand stays with a worker that says nothing."""

FULL_SHARE: Final = 0.85
"""Of Redis' memory limit: above it nothing new is read, so that what there is can be delivered and make room."""

FULL_WAIT_MS: Final = 5_000
"""When a brand that was not looked at for want of room is due again."""


class FeedState(msgspec.Struct, omit_defaults=True):
    """One feed of one venue (or of the brand, for the venues themselves). Times are epoch ms of Redis' clock.

    Attributes:
        looked_ms: the last look that was committed; 0 for none.
        changed_ms: the last one that brought an event.
        first_ms: the first look that was committed whole; 0 for none.
        memory_id: the highest id of the first look.
        mark: watermark: ``updated_at`` of the row touched last, as far as looks got.
        mark_ms: when it moved.
        deep_ms: the last look that went back for rows that turn up late.
        compared_ms: the last full compare that was committed.
        taken_with: version of the normalizer and currency that the snapshots were made with.
        failures: looks that failed in a row.
        failing_ms: since when.
        reason: slug of the failure.
        message: sentence of the failure.
        retry_ms: no look before that.
        unsorted_ms: when rows came in another order than was asked for; 0 when they do not.
        still_ms: when a change was found whose ``updated_at`` did not move; 0 for never.
        asked_id: the last open order that was asked for by its id, as it is older than what is compared.
        missing: id -> how many times in a row a thing that is known did not come with all the others.
        strangers: rows of other venues came, and were left aside.
        limit: rows asked for on a page; 0 asks for none in particular, where Clopos refuses a number.
    """

    looked_ms: int = 0
    changed_ms: int = 0
    first_ms: int = 0
    memory_id: int = 0
    mark: str = ""
    mark_ms: int = 0
    deep_ms: int = 0
    compared_ms: int = 0
    taken_with: str = ""
    failures: int = 0
    failing_ms: int = 0
    reason: str = ""
    message: str = ""
    retry_ms: int = 0
    unsorted_ms: int = 0
    still_ms: int = 0
    asked_id: int = 0
    missing: dict[int, int] = msgspec.field(default_factory=dict)
    strangers: bool = False
    limit: int = 200


class VenueState(msgspec.Struct, omit_defaults=True):
    """One venue.

    Attributes:
        rate: what is learnt of its changes.
        open_orders: how many are open.
        next_ms: when the next look may begin.
    """

    orders: FeedState = msgspec.field(default_factory=FeedState)
    stations: FeedState = msgspec.field(default_factory=FeedState)
    rate: Rate = msgspec.field(default_factory=Rate)
    open_orders: int = 0
    next_ms: int = 0


class BrandState(msgspec.Struct, omit_defaults=True):
    """One brand.

    Attributes:
        generation: of the brand's document; what was found for another one of the same name is not its.
        venues: id -> name of those that are looked at, as far as Clopos has told.
        listed: the feed of the venues themselves.
        failures: requests that failed in a row, all venues.
        failing_ms: since when the brand counts as failing; 0 when it does not.
        reason: slug of the last failure.
        message: its sentence.
        retry_ms: no look before that.
        whole: a list without venue covers all venues: True, False, or None while that is not known.
        whole_ms: when that was last found out.
        whole_orders: looking at that list.
    """

    generation: str = ""
    venues: dict[int, str | None] = msgspec.field(default_factory=dict)
    listed: FeedState = msgspec.field(default_factory=FeedState)
    failures: int = 0
    failing_ms: int = 0
    reason: str = ""
    message: str = ""
    retry_ms: int = 0
    whole: bool | None = None
    whole_ms: int = 0
    whole_orders: FeedState = msgspec.field(default_factory=FeedState)


class SetAside(msgspec.Struct, omit_defaults=True):
    """A row that cannot be read.

    Attributes:
        reason: why, see ``relay.clopos.schema.BadRow``.
        fingerprint: of its bytes, hex.
        since_ms: when it was first seen like that.
        size_bytes: of the row.
    """

    feed: str
    venue_id: int | None
    id: int | None
    reason: str
    fingerprint: str
    since_ms: int
    size_bytes: int


@dataclass(slots=True)
class Found:
    """All that is known of looking at a brand."""

    brand: BrandState
    habits: Habits = field(default_factory=Habits)
    venues: dict[int, VenueState] = field(default_factory=dict)
    open_orders: dict[int, dict[int, OpenOrder]] = field(default_factory=dict)
    bad: dict[str, SetAside] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """A brand taken, and the proof of it.

    Attributes:
        asked: somebody wants a look now, whatever failed before.
    """

    brand: str
    fence: Fence
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim brought.

    Attributes:
        now_ms: Redis' clock.
        next_ms: when the next brand is due (or the next lease ends), None without any.
        full: Redis has no room for more: nothing was taken, and what is looked at is to be left.
    """

    now_ms: int
    next_ms: int | None
    taken: tuple[Claim, ...]
    full: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """What writing down brought.

    Attributes:
        now_ms: Redis' clock.
        brands_epoch: moves when a brand's document changes.
        asked: somebody wants a look now.
        first: it is this process' first note of the brand.
        went_back: Redis has gone back in time since this process' last note of the brand, or lost all.
    """

    now_ms: int
    brands_epoch: int
    asked: bool
    first: bool
    went_back: bool


class PollStore:
    """The looks' own keys: who looks, what was found."""

    def __init__(self, redis: Redis, scripts: Scripts, *, brands_epoch_key: str) -> None:
        self._redis = redis
        self._scripts = scripts
        self._epoch_key = brands_epoch_key
        self._notes: dict[str, int] = {}

    async def claim(self, owner: str, *, most: int) -> Claims:
        """Take brands that are due; none above ``FULL_SHARE`` of Redis' memory limit."""
        now_ms, next_ms, taken, full = await self._scripts.run(
            "poll_claim",
            [keys.POLLS_DUE],
            [owner, most, LEASE_MS, keys.poll_lease(""), FULL_SHARE, FULL_WAIT_MS],
        )
        claims = tuple(
            Claim(name.decode(), _fence(name.decode(), number), bool(asked)) for name, number, asked in taken
        )
        return Claims(now_ms, None if next_ms < 0 else next_ms, claims, bool(full))

    async def note(
        self,
        claim: Claim,
        *,
        fields: Mapping[str, bytes],
        bad: Mapping[str, bytes],
        counters: Sequence[tuple[str, int]],
    ) -> Noted | None:
        """Write down what was found, and renew the lease; None when another worker owns the brand by now.

        Args:
            claim: the proof.
            fields: of the state, as ``encode_…`` gives them; an empty value deletes.
            bad: rows set aside, by name; likewise.
            counters: to add to the installation's.
        """
        args: list[str | bytes | int | float] = [claim.fence.number, LEASE_MS, claim.brand, BAD_ROWS_KEPT]
        for pairs in (list(fields.items()), list(bad.items()), list(counters)):
            args.append(len(pairs))
            for name, value in pairs:
                args += [name, value]
        reply = await self._scripts.run(
            "poll_note",
            [
                claim.fence.lease_key,
                keys.POLLS_DUE,
                keys.poll_state(claim.brand),
                keys.bad_rows(claim.brand),
                keys.COUNTERS,
                self._epoch_key,
            ],
            args,
        )
        if reply[0] < 0:
            return None
        now_ms, epoch, asked, notes = reply
        before = self._notes.get(claim.brand)
        self._notes[claim.brand] = notes
        return Noted(now_ms, epoch, bool(asked), before is None, before is not None and notes <= before)

    async def release(self, claim: Claim, *, due_in_ms: int | None) -> None:
        """Give a brand back; None: it is not to be looked at any more."""
        await self._scripts.run(
            "poll_release",
            [claim.fence.lease_key, keys.POLLS_DUE],
            [claim.fence.number, claim.brand, "" if due_in_ms is None else max(0, due_in_ms)],
        )

    async def request(self, brand: str) -> bool:
        """Have a brand looked at now; True when nobody owns it, so that a shift must be woken.

        For ``POST …/poll``, and whenever a brand was made, changed or enabled.
        """
        return bool(
            await self._scripts.run(
                "poll_request",
                [keys.poll_lease(brand), keys.POLLS_DUE, keys.wake("poll")],
                [brand, keys.wake("poll", "")],
            )
        )

    async def ensure_due(self, brands: Sequence[str]) -> None:
        """Put brands that have no due time on the list, due now."""
        if brands:
            await self._redis.zadd(keys.POLLS_DUE, dict.fromkeys(brands, 0), nx=True)

    async def forget(self, brand: str) -> None:
        """Drop everything about a brand that is gone, its token among it. Whoever still looks at it finds out."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(keys.POLLS_DUE, brand)
            pipe.delete(keys.poll_lease(brand) + ":state", keys.bad_rows(brand), keys.token(brand))
            pipe.hincrby(keys.poll_lease(brand), "fence", 1)
            pipe.expire(keys.poll_lease(brand), 86_400)
            await pipe.execute()

    async def found(self, brand: str, *, generation: str) -> Found:
        """Read all that is known of looking at a brand; nothing, where it was made anew since."""
        names = (keys.poll_state(brand), keys.bad_rows(brand))
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(name)
            state, bad = await pipe.execute(raise_on_error=False)
        return decode(
            await self._or_nothing(names[0], state), await self._or_nothing(names[1], bad), generation=generation
        )

    async def _or_nothing(self, name: str, reply: Any) -> Any:
        """A hash as read. What somebody put in its place is deleted: it is found out again by looking."""
        if isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply):
            logs.event("state discarded", level="error", reason="corrupt_state", key=name)
            await self._redis.delete(name)
            return {}
        if isinstance(reply, Exception):
            raise reply
        return reply


def _fence(brand: str, number: int) -> Fence:
    return Fence(keys.poll_lease(brand), number)


_encoder: Final = msgspec.json.Encoder()
_brand: Final = msgspec.json.Decoder(BrandState)
_habits: Final = msgspec.json.Decoder(Habits)
_venue: Final = msgspec.json.Decoder(VenueState)
_orders: Final = msgspec.json.Decoder(dict[int, OpenOrder])
_bad: Final = msgspec.json.Decoder(SetAside)


def encode(value: Any) -> bytes:
    """Write one field of the state."""
    return _encoder.encode(value)


BRAND_FIELD: Final = "b"
"""Name of the field that holds a ``BrandState``."""

HABITS_FIELD: Final = "h"
"""Name of the field that holds the ``Habits`` of its orders."""


def venue_field(venue_id: int) -> str:
    """Name of the field that holds a ``VenueState``."""
    return f"v:{venue_id}"


def orders_field(venue_id: int) -> str:
    """Name of the field that holds a venue's open orders."""
    return f"o:{venue_id}"


def bad_field(feed: str, venue_id: int | None, row: str) -> str:
    """Name of the field that holds a row set aside; ``row`` is its id, or the digest of its bytes."""
    return f"{feed}:{'-' if venue_id is None else venue_id}:{row}"


def decode(state: Mapping[bytes, bytes], bad: Mapping[bytes, bytes], *, generation: str) -> Found:
    """Read a brand's state; a field that cannot be read counts as absent: it costs a longer look, nothing else."""
    brand = _read(_brand, state.get(BRAND_FIELD.encode())) or BrandState(generation=generation)
    if brand.generation != generation:
        return Found(BrandState(generation=generation))
    found = Found(brand, _read(_habits, state.get(HABITS_FIELD.encode())) or Habits())
    for name, value in state.items():
        kind, _, venue_id = name.partition(b":")
        if not venue_id.isdigit():
            continue
        if kind == b"v" and (venue := _read(_venue, value)) is not None:
            found.venues[int(venue_id)] = venue
        elif kind == b"o" and (orders := _read(_orders, value)) is not None:
            found.open_orders[int(venue_id)] = orders
    for name, value in bad.items():
        if (row := _read(_bad, value)) is not None:
            found.bad[name.decode()] = row
    return found


def _read(decoder: Any, value: bytes | None) -> Any:
    try:
        return None if value is None else decoder.decode(value)
    except msgspec.DecodeError:
        return None
