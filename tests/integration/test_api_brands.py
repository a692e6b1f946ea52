from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.apis import BRAND, Api, pointers, running_api


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url) as up:
        yield up


async def test_a_brand_is_made_shown_listed_and_forgotten(api: Api) -> None:
    made = await api.admin.post("/v1/brands", json=BRAND)
    assert made.status_code == 201, made.text
    body = made.json()
    assert body["brand"] == "openapitest"
    assert body["venues"] is None
    assert body["poll"] == {"orders": True, "stations": True, "venues": True}
    assert body["state"]["status"] == "waiting"
    assert body["state"]["quota"]["limit"] == 300
    assert made.headers["location"] == "/v1/brands/openapitest"
    shown = await api.admin.get("/v1/brands/openapitest")
    assert shown.headers["etag"] == made.headers["etag"]
    assert (await api.admin.get("/v1/brands")).json() == {"data": [shown.json()], "next_cursor": None}
    assert (await api.admin.delete("/v1/brands/openapitest")).status_code == 204
    assert (await api.admin.delete("/v1/brands/openapitest")).status_code == 404
    assert (await api.admin.get("/v1/brands/openapitest")).status_code == 404
