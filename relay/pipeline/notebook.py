"""What does a watch write down, and what time is it?  One note after each look, which renews the lease, too."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from relay.clopos.schema import BadRow
from relay.pipeline.requests import Requests
from relay.store.connection import RedisError
from relay.store.findings import (
    BRAND_FIELD,
    HABITS_FIELD,
    BrandState,
    Found,
    SetAside,
    bad_field,
    begun_field,
    encode,
    orders_field,
    venue_field,
)
from relay.store.venues import BAD_ROWS_KEPT, Claim, Noted, PollStore

HABITS_EVERY_MS: Final = 60_000


class Notebook:
    """Writes down what is known of one brand, for whoever watches it next."""

    def __init__(self, polls: PollStore, requests: Requests, claim: Claim, found: Found, *, now_ms: int) -> None:
        self.found = found
        self._polls = polls
        self._requests = requests
        self._claim = claim
        self._base_ms, self._base_s = now_ms, asyncio.get_running_loop().time()
        self._lock = asyncio.Lock()
        self._brand_as_written = b""
        self._habits_ms = now_ms
        self._bad: dict[str, bytes] = {}
        self._ended: set[str] = set()
        self.noted_ms = now_ms

    @property
    def brand(self) -> BrandState:
        """What is known of the brand as a whole."""
        return self.found.brand

    def now_ms(self) -> int:
        """Redis' time, as of the last note and our own clock since."""
        return self._base_ms + int((asyncio.get_running_loop().time() - self._base_s) * 1000)

    async def write(
        self, *, venues: Iterable[int] = (), orders: Iterable[int] = (), begun: Mapping[str, bytes] | None = None
    ) -> Noted | None:
        """Write a note; None when another worker owns the brand by now.

        Args:
            venues: whose state has changed.
            orders: venues whose open orders have changed.
            begun: a look that begins.

        Raises:
            redis.exceptions.RedisError: what was to be written is written with the next note.
        """
        async with self._lock:
            fields = dict(begun or {})
            for venue_id in venues:
                fields[venue_field(venue_id)] = encode(self.found.venues[venue_id])
            for venue_id in orders:
                fields[orders_field(venue_id)] = encode(self.found.open_orders.get(venue_id, {}))
            brand = encode(self.brand)
            if brand != self._brand_as_written:
                fields[BRAND_FIELD] = brand
            if self.now_ms() - self._habits_ms >= HABITS_EVERY_MS:
                self._habits_ms = self.now_ms()
                self.found.habits.decay(self._habits_ms)
                fields[HABITS_FIELD] = encode(self.found.habits)
            ended, self._ended = self._ended, set()
            fields |= dict.fromkeys(ended, b"")
            bad, self._bad = self._bad, {}
            counters = self._requests.drain()
            try:
                noted = await self._polls.note(self._claim, fields=fields, bad=bad, counters=counters)
            except RedisError:
                self._requests.put_back(counters)
                self._bad = {**bad, **self._bad}
                self._ended |= ended
                raise
            if noted is None:
                self._requests.put_back(counters)
                return None
            self._brand_as_written = brand
            self._base_ms, self._base_s = noted.now_ms, asyncio.get_running_loop().time()
            self.noted_ms = noted.now_ms
            return noted

    async def write_all(self) -> Noted | None:
        """Write everything that is known: Redis has lost what was written last."""
        self._brand_as_written, self._habits_ms = b"", 0
        self._bad = {name: encode(row) for name, row in self.found.bad.items()} | self._bad
        return await self.write(venues=self.found.venues, orders=self.found.open_orders)

    async def begin(self, feed: str, venue_id: int | None) -> Noted | None:
        """Write down that a look begins, so that it is known if it ends its worker; as ``write`` otherwise.

        Raises:
            redis.exceptions.RedisError: nobody else knows of it.
        """
        name = begun_field(feed, venue_id)
        times = self.found.begun[name] = self.found.begun.get(name, 0) + 1
        self._ended.discard(name)
        return await self.write(begun={name: b"%d" % times})

    def ended(self, feed: str, venue_id: int | None) -> None:
        """Take note that a look has ended, one way or another, and its worker has not."""
        name = begun_field(feed, venue_id)
        if self.found.begun.pop(name, None) is not None:
            self._ended.add(name)

    def begun(self, feed: str, venue_id: int | None) -> int:
        """How often in a row that look was begun, and its worker died."""
        return self.found.begun.get(begun_field(feed, venue_id), 0)

    def set_aside(self, feed: str, venue_id: int | None, rows: Sequence[BadRow]) -> int:
        """Keep rows that cannot be read, to be shown; how many of them are new in content."""
        fresh = 0
        for row in rows:
            name = bad_field(feed, venue_id, row.fingerprint.hex() if row.id is None else str(row.id))
            digest = row.fingerprint.hex()
            known = self.found.bad.get(name)
            if known is not None and known.fingerprint == digest:
                continue
            if known is None and len(self.found.bad) >= BAD_ROWS_KEPT:
                continue
            fresh += 1
            kept = SetAside(feed, venue_id, row.id, row.reason, digest, self.now_ms(), row.size_bytes)
            self.found.bad[name] = kept
            self._bad[name] = encode(kept)
        return fresh

    def readable(self, feed: str, venue_id: int | None, ids: Iterable[int]) -> None:
        """Take rows off what is set aside that could be read now."""
        if not self.found.bad:
            return
        for row_id in ids:
            name = bad_field(feed, venue_id, str(row_id))
            if self.found.bad.pop(name, None) is not None:
                self._bad[name] = b""


def differs(before: Mapping[int, object], after: Mapping[int, object]) -> bool:
    """Whether two sets of open orders differ in what is written down of them."""
    return before.keys() != after.keys() or any(before[key] != value for key, value in after.items())
