"""May one more request go to Clopos? One number for a brand, whatever the workers; one for our address.

The counting is in `quota_acquire.lua`, exact on Redis' clock.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Final

import msgspec
from redis.asyncio import Redis

from relay.store import keys
from relay.store.scripts import Scripts

SIGN_INS_A_MINUTE: Final = 50
"""Of the 60 that Clopos grants an address; the rest is for whoever else calls from it."""

LONGEST_BLOCK_S: Final = 300.0
"""No answer of Clopos' stops a brand for longer, whatever it claims."""

DEFAULT_BLOCK_S: Final = 60.0
"""How long a 429 that says nothing usable stops a brand: Clopos' window."""

_HEAD: Final = 4
_BUCKET_MS: Final = 250
_WINDOW_MS: Final = 60_500


class Purpose(StrEnum):
    """What a request is for; each has its share (``quota_acquire.lua``)."""

    POLL = "poll"
    REST = "rest"
    COMMAND = "command"


class Tier(StrEnum):
    """Whose limit an answer speaks of."""

    BRAND = "brand"
    ADDRESS = "address"
    SIGN_IN = "sign_in"


@dataclass(frozen=True, slots=True)
class Account:
    """What Clopos counts requests by."""

    integrator_id: str
    brand: str


@dataclass(frozen=True, slots=True)
class Granted:
    """One request may go now, and is counted.

    Attributes:
        remaining: requests left in the window after this one, all purposes together.
        others: how many requests of the window were made by others, as far as Clopos' answers tell.
    """

    remaining: int
    others: int


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Not now.

    Attributes:
        wait_ms: when to ask again, in ms from now.
        reason: ``window`` (all used), ``pace`` (spread evenly), ``blocked`` (a 429 of the brand), ``address`` (a 429 of
            the address), ``failures`` (the address' failed requests), ``sign_in`` (sign-ins of the address).
    """

    wait_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Said:
    """What one answer said of the quota; nothing, unless set.

    Attributes:
        failed: its status was 400 or above.
        blocked: whom a 429 stops, None if it was none.
        block_s: for how long, in seconds.
        remaining_of: whose remaining number follows.
        remaining: requests (of the address: failures) left.
        reset_s: seconds until that number is full again.
    """

    failed: bool = False
    blocked: Tier | None = None
    block_s: float = 0.0
    remaining_of: Tier | None = None
    remaining: int = 0
    reset_s: float = DEFAULT_BLOCK_S


@dataclass(frozen=True, slots=True)
class QuotaState:
    """A brand's quota for people to look at.

    Attributes:
        limit: requests a minute.
        remaining: of them, left now; 0 while blocked.
        resets_in_s: seconds until the window is empty or the block ends, 0 when it is full.
    """

    limit: int
    remaining: int
    resets_in_s: int


class QuotaStore:
    """The windows in Redis; exact on Redis' clock."""

    def __init__(self, redis: Redis, scripts: Scripts, *, per_minute: int) -> None:
        self._redis = redis
        self._scripts = scripts
        self.per_minute = per_minute

    @property
    def polls_per_s(self) -> float:
        """What polling gets, as ``quota_acquire.lua`` shares it out."""
        share = max(1, ceil(self.per_minute * 0.05))
        return max(1, self.per_minute - 2 * share) * 1000 / (_WINDOW_MS + _BUCKET_MS)

    async def acquire(self, account: Account, purpose: Purpose) -> Granted | WaitUntil:
        """Ask for one request."""
        granted, number, detail = await self._scripts.run(
            "quota_acquire", _windows(account), [self.per_minute, purpose.value]
        )
        return Granted(number, int(detail)) if granted else WaitUntil(number, detail.decode())

    async def acquire_sign_in(self) -> Granted | WaitUntil:
        """Ask for one sign-in, which Clopos counts by address."""
        granted, number, detail = await self._scripts.run(
            "quota_sign_in", [keys.quota_of_address()], [SIGN_INS_A_MINUTE]
        )
        return Granted(number, 0) if granted else WaitUntil(number, detail.decode())

    async def report(self, account: Account, said: Said) -> None:
        """Take in what an answer said, for all workers."""
        await self._scripts.run(
            "quota_report",
            _windows(account),
            [
                self.per_minute,
                int(said.failed),
                said.blocked or "",
                round(min(max(said.block_s, 0.0), LONGEST_BLOCK_S) * 1000),
                said.remaining_of or "",
                max(0, said.remaining),
                round(min(max(said.reset_s, 0.0), LONGEST_BLOCK_S) * 1000),
            ],
        )

    async def state(self, account: Account) -> QuotaState:
        """Look at a brand's quota without using any."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(keys.quota(account.integrator_id, account.brand))
            pipe.get(keys.quota_of_address())
            pipe.time()
            mine, address, (seconds, micros) = await pipe.execute()
        now_ms = seconds * 1000 + micros // 1000
        window = _unpack(mine)
        blocked_ms = max(window[0], _unpack(address)[0]) - now_ms
        others = window[2] if window[3] > now_ms else 0.0
        used, ends_ms = others, window[3] if others else 0.0
        for at in range(_HEAD, len(window), 4):
            end_ms = (window[at] + 1) * _BUCKET_MS + _WINDOW_MS
            if end_ms > now_ms:
                used += sum(window[at + 1 : at + 4])
                ends_ms = max(ends_ms, end_ms)
        if blocked_ms > 0:
            return QuotaState(self.per_minute, 0, -int(-blocked_ms // 1000))
        resets_ms = max(0.0, ends_ms - now_ms)
        return QuotaState(self.per_minute, max(0, self.per_minute - int(used)), -int(-resets_ms // 1000))


def _windows(account: Account) -> list[str]:
    return [keys.quota(account.integrator_id, account.brand), keys.quota_of_address()]


def _unpack(packed: bytes | None) -> list[float]:
    return [0.0] * _HEAD if packed is None else msgspec.msgpack.decode(packed, type=list[float], strict=False)
