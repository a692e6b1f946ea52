"""What is counted for the whole installation, and how is a count added to?

One hash: ``name|label|label`` -> integer. Scripts that settle or commit add to it themselves; what is counted elsewhere
goes through ``Counters.add``. A histogram is one field a bucket, ``name|{index}``, and ``name|sum_ms``.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from relay.core.buckets import bucket_of
from relay.store import keys

Increment = tuple[str, Sequence[str], int]
"""Name, values of the labels in the order of the table of metrics, and how much."""

SUM: Final = "sum_ms"


def field_of(name: str, labels: Sequence[str] = ()) -> str:
    """The field of the hash that holds one counter; a bar within a label becomes an underscore."""
    return "|".join([name, *(label.replace("|", "_") for label in labels)])


def observation(name: str, value_ms: float, bounds: tuple[int, ...], *, labels: Sequence[str] = ()) -> list[Increment]:
    """What one observation adds to a histogram.

    Args:
        name: of the histogram.
        value_ms: what was observed.
        bounds: upper bounds of its buckets, from ``core.buckets``.
        labels: values of its labels.
    """
    return [
        (name, (*labels, str(bucket_of(value_ms, bounds))), 1),
        (name, (*labels, SUM), max(0, round(value_ms))),
    ]


class Counters:
    """Adds to the counters and reads them."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes

    async def add(self, increments: Iterable[Increment]) -> None:
        """Add to counters, in one round trip; equal ones are added up before."""
        totals: dict[str, int] = {}
        for name, labels, amount in increments:
            field = field_of(name, labels)
            totals[field] = totals.get(field, 0) + amount
        if not totals:
            return
        async with self._redis.pipeline(transaction=False) as pipe:
            for field, amount in totals.items():
                pipe.hincrby(keys.COUNTERS, field, amount)
            await pipe.execute()

    async def add_fields(self, increments: Iterable[tuple[str, int]]) -> None:
        """Add to counters that are named by their field."""
        await self.add((field, (), amount) for field, amount in increments)

    async def all(self) -> dict[tuple[str, ...], int]:
        """Every counter: ``("polls", brand, resource, outcome) -> 12``."""
        found = await self._redis.hgetall(keys.COUNTERS)
        return parse_counters(found)

    async def forget_brand(self, brand: str) -> None:
        """Drop the counters of a brand that is gone."""
        found = await self._redis.hkeys(keys.COUNTERS)
        fields = [field for field in found if _is_of_brand(field.decode(), brand)]
        if fields:
            await self._redis.hdel(keys.COUNTERS, *fields)


OF_BRANDS: Final = (
    "poll_requests",
    "poll_rows_set_aside",
    "poll_conflicts",
    "poll_reconcile_found",
    "events",
    "commands",
)
"""Counters whose first label is a brand."""


def parse_counters(found: Mapping[bytes, bytes]) -> dict[tuple[str, ...], int]:
    """Read the hash; what is no number is left out."""
    counters: dict[tuple[str, ...], int] = {}
    for field, value in found.items():
        try:
            counters[_parts(field)] = int(value)
        except ValueError:
            continue
    return counters


@functools.lru_cache(maxsize=100_000)
def _parts(field: bytes) -> tuple[str, ...]:
    """The same fields are read with every scrape."""
    return tuple(field.decode().split("|"))


def _is_of_brand(field: str, brand: str) -> bool:
    name, *labels = field.split("|")
    return name in OF_BRANDS and labels[:1] == [brand]
