"""Lists that are read page by page while others write: nothing that was there is missed, and nothing comes twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from relay.core.orders import normalize
from tests.integration.apis import LOOPBACK, Api, running_api

STATUSES = ("PENDING", "RECEIVED", "DELIVERED", "IGNORE")


def order(number: int, status: str = "PENDING") -> dict[str, Any]:
    return dict(normalize({"id": number, "venue_id": 1, "status": status}, currency=None))


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url, allow_networks=LOOPBACK) as up:
        await up.brand(venues=[1])
        yield up


class Traffic:
    """What others do meanwhile."""

    def __init__(self, api: Api, random: Random) -> None:
        self.api = api
        self.random = random
        self.orders = 0

    async def something(self) -> None:
        """Some orders come in, some change; a subscription is made now and then."""
        for _ in range(self.random.randrange(1, 6)):
            if self.orders == 0 or self.random.random() < 0.5:
                self.orders += 1
                await self.api.see(order(self.orders))
            else:
                number = self.random.randrange(1, self.orders + 1)
                await self.api.see(order(number, self.random.choice(STATUSES)))
        if self.random.random() < 0.3:
            await self.api.subscription(name=f"made {self.random.random()}", url=None)

    async def pages(self, path: str, *, most: int, **params: Any) -> AsyncIterator[list[dict[str, Any]]]:
        """Read a list, with writes between its pages."""
        cursor: str | None = None
        for _ in range(most):
            asked = {**params, "limit": self.random.randrange(1, 8), **({"cursor": cursor} if cursor else {})}
            answer = await self.api.admin.get(path, params=asked)
            assert answer.status_code == 200, answer.text
            yield answer.json()["data"]
            cursor = answer.json()["next_cursor"]
            if cursor is None:
                return
            await self.something()


async def ids(api: Api, path: str, **params: Any) -> list[Any]:
    answer = await api.admin.get(path, params={**params, "limit": 200})
    assert answer.json()["next_cursor"] is None, "the test reads too much"
    return [row["id"] for row in answer.json()["data"]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("path", ["/v1/events", "/v1/deliveries", "/v1/subscriptions", "/v1/brands/openapitest/orders"])
async def test_what_was_there_at_the_first_page_is_seen_once_on_the_way(api: Api, path: str, seed: int) -> None:
    traffic = Traffic(api, Random(seed))
    await api.subscription(name="first", url=None)
    await api.subscription(name="second", url="http://127.0.0.1:9/hooks") if path == "/v1/deliveries" else None
    for _ in range(8):
        await traffic.something()
    before = await ids(api, path)
    seen = [row["id"] async for page in traffic.pages(path, most=200) for row in page]
    assert len(seen) == len(set(seen))
    assert set(before) <= set(seen)
    kept = set(before)
    assert [each for each in seen if each in kept] == before


@pytest.mark.parametrize("seed", range(3))
async def test_who_pulls_beside_the_traffic_gets_every_event_in_order(api: Api, seed: int) -> None:
    traffic = Traffic(api, Random(seed))
    made = await api.subscription(name="pulls", url=None)
    path = f"/v1/subscriptions/{made['id']}/events"
    seen = [row["id"] async for page in traffic.pages(path, most=25) for row in page]
    everything = await ids(api, "/v1/events", order="asc")
    assert seen
    assert seen == everything[: len(seen)]


@pytest.mark.parametrize("seed", range(3))
async def test_events_read_forwards_beside_the_traffic_are_the_log(api: Api, seed: int) -> None:
    traffic = Traffic(api, Random(seed))
    for _ in range(8):
        await traffic.something()
    seen = [row["id"] async for page in traffic.pages("/v1/events", most=40, order="asc") for row in page]
    everything = await ids(api, "/v1/events", order="asc")
    assert seen == everything[: len(seen)]
