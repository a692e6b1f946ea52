"""Which worker looks at which brand, and where does it write down what it found?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from relay import logs
from relay.store import keys
from relay.store.commit import Fence
from relay.store.findings import Found, decode
from relay.store.scripts import Scripts

BAD_ROWS_KEPT: Final = 200
"""Rows set aside that are kept of a brand; further ones are counted only."""

LEASE_MS: Final = 20_000
"""How long a brand stays with a worker that says nothing."""

FULL_SHARE: Final = 0.85
"""Of Redis' memory limit: above it nothing new is read, so that what there is can be delivered and make room."""

FULL_WAIT_MS: Final = 5_000
"""When a brand that was not looked at for want of room is due again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A brand taken, and the proof of it.

    Attributes:
        asked: somebody wants a look now, whatever failed before.
        died: so many owners in a row, up to now, did not give it back.
    """

    brand: str
    fence: Fence
    asked: bool = False
    died: int = 0


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

    def after(self, earlier: "Noted | None") -> "Noted":
        """Give this note with what an earlier one told that nobody has acted upon yet."""
        if earlier is None:
            return self
        return replace(
            self,
            asked=self.asked or earlier.asked,
            first=self.first or earlier.first,
            went_back=self.went_back or earlier.went_back,
        )


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
            Claim(name.decode(), _fence(name.decode(), number), bool(asked), died)
            for name, number, asked, died in taken
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

    async def release(self, claim: Claim, *, due_in_ms: int | None, asked: bool = False) -> None:
        """Give a brand back.

        Args:
            claim: the proof.
            due_in_ms: when it is to be looked at again; None: not any more. If somebody has asked for a look, now.
            asked: somebody had, and has not got it: whoever takes the brand next is told.
        """
        await self._scripts.run(
            "poll_release",
            [claim.fence.lease_key, keys.POLLS_DUE],
            [claim.fence.number, claim.brand, "" if due_in_ms is None else max(0, due_in_ms), int(asked)],
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
