"""Brands, what is known of them, and the one command: orders, stations, venues, ignore."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx2 as httpx
import pytest

from relay.core.events import EVENT_TYPES
from relay.pipeline.poll import poll_shift
from relay.pipeline.stop import Stop
from relay.sandbox.serve import Running, running
from tests.integration.apis import BRAND, Api, pointers, running_api
from tests.integration.relays import ORDERS

VENUES = [1, 2]


def whole(order_id: int, status: str = "pending") -> dict[str, Any]:
    """An order with all its fields."""
    return {**EVENT_TYPES["order.created"].example["data"]["order"], "id": order_id, "status": status}


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url) as up:
        yield up


@pytest.fixture
async def clopos() -> AsyncIterator[Running]:
    async with running() as up:
        yield up


@contextlib.asynccontextmanager
async def polling(api: Api) -> AsyncIterator[None]:
    """A poll worker beside the test."""
    stop = Stop(time.monotonic, 60)
    context = replace(api.relay.poll_context(), interval_ms=50)
    task = asyncio.create_task(poll_shift(context, owner="worker-1", stop=stop, concurrency=4))
    try:
        yield
    finally:
        stop.ask()
        await asyncio.wait_for(task, 20)


async def until(api: Api, path: str, holds: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(20):
        while True:
            answer = await api.admin.get(path)
            if answer.status_code == 200 and holds(answer.json()):
                return answer.json()
            await asyncio.sleep(0.05)


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


async def test_a_brand_that_exists_is_a_409_and_one_made_anew_has_another_etag(api: Api) -> None:
    first = await api.admin.post("/v1/brands", json=BRAND)
    refused = await api.admin.post("/v1/brands", json=BRAND)
    assert (refused.status_code, refused.json()["code"]) == (409, "exists")
    await api.admin.delete("/v1/brands/openapitest")
    second = await api.admin.post("/v1/brands", json=BRAND)
    assert second.headers["etag"] != first.headers["etag"]


async def test_secrets_of_a_brand_are_never_shown_and_kept_sealed(api: Api) -> None:
    made = await api.admin.post("/v1/brands", json={**BRAND, "client_secret": "hidden-secret"})
    shown = await api.admin.get("/v1/brands/openapitest")
    assert "hidden-secret" not in made.text + shown.text
    stored = await api.services.brands.get("openapitest")
    assert stored is not None
    assert "hidden-secret" not in str(stored)
    assert api.services.vault.open(stored.value.client_secret) == "hidden-secret"


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"brand": "a b"}, {"/brand"}),
        ({"brand": ""}, {"/brand"}),
        ({"brand": "x" * 65}, {"/brand"}),
        ({"brand": "a:b"}, {"/brand"}),
        ({"brand": None}, {"/brand"}),
        ({"client_id": ""}, {"/client_id"}),
        ({"client_secret": " "}, {"/client_secret"}),
        ({"client_secret": "a\nb"}, {"/client_secret"}),
        ({"integrator_id": 5}, {"/integrator_id"}),
        ({"venues": []}, {"/venues"}),
        ({"venues": [0]}, {"/venues/0"}),
        ({"venues": [1, 1]}, {"/venues"}),
        ({"currency": "azn"}, {"/currency"}),
        ({"currency": "EURO"}, {"/currency"}),
        ({"clopos_url": "http://clopos.example/v2"}, {"/clopos_url"}),
        ({"clopos_url": "ftp://clopos.example/"}, {"/clopos_url"}),
        ({"clopos_url": "https://u:p@clopos.example/"}, {"/clopos_url"}),
        ({"poll": {"orders": "yes"}}, {"/poll/orders"}),
        ({"poll": []}, {"/poll"}),
        ({"backfill": "yesterday"}, {"/backfill"}),
        ({"enabled": "true"}, {"/enabled"}),
        ({"state": {}}, {"/state"}),
    ],
)
async def test_what_is_wrong_is_told_by_its_place(api: Api, fields: dict[str, Any], where: set[str]) -> None:
    assert pointers(await api.admin.post("/v1/brands", json={**BRAND, **fields})) == where


async def test_a_change_is_whole_and_what_is_the_same_changes_nothing(api: Api) -> None:
    await api.brand()
    path = "/v1/brands/openapitest"
    before = (await api.admin.get(path)).headers["etag"]
    for same in ({}, {"client_secret": "demo-secret"}, {"enabled": True}, {"poll": {"orders": True}}, {"venues": None}):
        assert (await api.admin.patch(path, json=same)).headers["etag"] == before
    changed = await api.admin.patch(
        path,
        json={"venues": [1], "currency": "AZN", "poll": {"stations": False}, "backfill": "2026-02-01T02:00:00+02:00"},
    )
    assert changed.status_code == 200
    body = changed.json()
    assert (body["venues"], body["currency"]) == ([1], "AZN")
    assert body["poll"] == {"orders": True, "stations": False, "venues": True}
    assert body["backfill"].startswith("2026-02-01T00:00:00")
    stale = await api.admin.patch(path, json={"enabled": False}, headers={"if-match": before})
    assert stale.status_code == 412
    off = await api.admin.patch(path, json={"enabled": False}, headers={"if-match": changed.headers["etag"]})
    assert off.json()["state"]["status"] == "disabled"
    assert pointers(await api.admin.patch(path, json={"brand": "other", "client_id": None})) == {"/brand", "/client_id"}


async def test_two_brands_with_the_same_credentials_are_told_of_each_other(api: Api) -> None:
    first = await api.brand()
    assert first["state"]["notes"] == []
    note = "The client_id is that of openapitest, too, and a credential of Clopos is one brand's."
    assert (await api.brand(brand="another"))["state"]["notes"] == [note]
    listed = (await api.admin.get("/v1/brands")).json()["data"]
    assert [each["state"]["notes"] for each in listed] == [[note], [note.replace("openapitest", "another")]]
    await api.admin.patch("/v1/brands/another", json={"client_id": "of-its-own"})
    assert (await api.admin.get("/v1/brands/openapitest")).json()["state"]["notes"] == []


async def test_orders_are_listed_as_last_known_with_their_sequence(api: Api) -> None:
    await api.brand(venues=VENUES)
    await api.see(whole(1), whole(2, "accepted"))
    report = await api.see(whole(1, "delivered"))
    await api.see(whole(2, "pending"), scope=replace(ORDERS, venue_id=2))
    path = "/v1/brands/openapitest/orders"
    listed = (await api.admin.get(path)).json()["data"]
    assert [(each["id"], each["status"]) for each in listed] == [(2, "pending"), (2, "accepted"), (1, "delivered")]
    assert listed[2]["sequence"] == report.events[0][4]
    assert len((await api.admin.get(path, params={"venue_id": 1})).json()["data"]) == 2
    assert (await api.admin.get(path, params={"venue_id": 3})).json()["data"] == []
    assert len((await api.admin.get(path, params={"status": "accepted"})).json()["data"]) == 1
    first = (await api.admin.get(path, params={"limit": 2})).json()
    second = (await api.admin.get(path, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [*first["data"], *second["data"]] == listed
    assert second["next_cursor"] is None
    assert (await api.admin.get("/v1/brands/nothing/orders")).status_code == 404


async def test_an_id_that_two_venues_share_needs_its_venue(api: Api) -> None:
    await api.brand(venues=VENUES)
    await api.see(whole(1), whole(2))
    await api.see(whole(2, "accepted"), scope=replace(ORDERS, venue_id=2))
    path = "/v1/brands/openapitest/orders/2"
    for method, where in (("GET", path), ("POST", f"{path}/ignore")):
        refused = await api.admin.request(method, where)
        assert (refused.status_code, refused.json()["code"]) == (409, "ambiguous")
    assert (await api.admin.get(path, params={"venue_id": 2})).json()["status"] == "accepted"
    assert (await api.admin.get(path, params={"venue_id": 3})).status_code == 404
    assert (await api.admin.get("/v1/brands/openapitest/orders/1")).json()["status"] == "pending"
    assert pointers(await api.admin.get(path, params={"venue_id": "x"})) == {"/venue_id"}


async def test_a_real_look_fills_state_stations_venues_and_orders(redis_url: str, clopos: Running) -> None:
    async with running_api(redis_url, clopos_url=clopos.base_url) as api, polling(api):
        await api.brand()
        brand = await until(api, "/v1/brands/openapitest", lambda body: body["state"]["status"] == "ok")
        state = brand["state"]
        assert state["error"] is None
        assert state["token_expires_at"] is not None
        assert [venue["id"] for venue in state["venues"]] == [1, 2]
        assert state["venues"][0]["orders"]["last_poll_at"] is not None
        assert 0 < state["quota"]["remaining"] < 300
        stations = (await until(api, "/v1/brands/openapitest/stations", lambda body: bool(body["data"])))["data"]
        assert {station["venue_id"] for station in stations} <= {1, 2}
        path = "/v1/brands/openapitest/stations"
        active = [station for station in stations if station["status"] == "active"]
        assert (await api.admin.get(path, params={"status": "active"})).json()["data"] == active
        printing = [station for station in stations if station["printable"]]
        for spelling in ("true", "1"):
            assert (await api.admin.get(path, params={"can_print": spelling})).json()["data"] == printing
        assert pointers(await api.admin.get(path, params={"can_print": "yes"})) == {"/can_print"}
        venues = (await until(api, "/v1/brands/openapitest/venues", lambda body: len(body["data"]) == 2))["data"]
        assert [venue["id"] for venue in venues] == [1, 2]
        assert (await api.admin.get("/v1/brands/openapitest/venues?limit=1")).json()["data"] == venues[:1]
        orders = (await api.admin.get("/v1/brands/openapitest/orders")).json()["data"]
        assert orders
        assert all(each["sequence"] is None for each in orders)


async def place(clopos: Running) -> int:
    async with httpx.AsyncClient(base_url=clopos.control_url) as control:
        placed = await control.post("/brands/openapitest/venues/1/orders")
        return int(placed.json()["id"])


async def test_an_order_is_cancelled_once_and_partners_need_the_scope_for_it(redis_url: str, clopos: Running) -> None:
    async with running_api(redis_url, clopos_url=clopos.base_url) as api:
        await api.brand()
        async with polling(api):
            await until(api, "/v1/brands/openapitest", lambda body: body["state"]["status"] == "ok")
            order_id = await place(clopos)
            path = f"/v1/brands/openapitest/orders/{order_id}"
            await until(api, path, lambda _: True)
            without = await api.key("partner", partner="ours", brands=["openapitest"])
            elsewhere = await api.key("partner", partner="theirs", brands=["other"], scopes=["orders:ignore"])
            assert (await without.post(f"{path}/ignore")).status_code == 403
            assert (await elsewhere.post(f"{path}/ignore")).status_code == 404
            assert (await elsewhere.post("/v1/brands/nothing/orders/1/ignore")).status_code == 404
            partner = await api.key("partner", partner="ours", brands=["openapitest"], scopes=["orders:ignore"])
            done = await partner.post(f"{path}/ignore", headers={"idempotency-key": "k"})
            assert done.status_code == 200
            assert (done.json()["status"], done.json()["source_status"]) == ("cancelled", "IGNORE")
            assert (await partner.post(f"{path}/ignore")).json()["status"] == "cancelled"
            events = (await api.admin.get("/v1/events", params={"subject": f"order/{order_id}"})).json()["data"]
            assert [(event["type"], event["origin"]) for event in events] == [
                ("order.status_changed", "command"),
                ("order.created", "poll"),
            ]
            assert events[0]["sequence"] == done.json()["sequence"]
            missing = await api.admin.post("/v1/brands/openapitest/orders/999999/ignore")
            assert missing.status_code == 404
        metrics = (await api.nobody.get("/metrics")).text
        assert 'relay_commands_total{brand="openapitest",command="ignore",outcome="done"} 1.0' in metrics
        assert 'resource="orders"' in metrics


async def test_clopos_refusal_is_a_409_with_its_reason_and_its_absence_a_502_or_504(
    redis_url: str, clopos: Running
) -> None:
    async with running_api(redis_url, clopos_url=clopos.base_url) as api:
        await api.brand()
        async with polling(api):
            await until(api, "/v1/brands/openapitest", lambda body: body["state"]["status"] == "ok")
            order_id = await place(clopos)
            path = f"/v1/brands/openapitest/orders/{order_id}"
            await until(api, path, lambda _: True)
        clopos.faults.add("400", method="PUT")
        refused = await api.admin.post(f"{path}/ignore")
        assert (refused.status_code, refused.json()["code"]) == (409, "refused"), refused.text
        clopos.faults.remove()
        clopos.faults.add("503")
        failing = await api.admin.post(f"{path}/ignore")
        assert (failing.status_code, failing.json()["code"]) == (502, "upstream")
        clopos.faults.remove()
        clopos.faults.add("reset")
        assert (await api.admin.post(f"{path}/ignore")).status_code == 502
        assert (await api.admin.get(path)).json()["status"] == "pending"


async def test_a_look_is_asked_for(api: Api) -> None:
    await api.brand()
    asked = await api.admin.post("/v1/brands/openapitest/poll")
    assert (asked.status_code, asked.json()) == (202, {"brand": "openapitest", "requested": True})
    assert (await api.admin.post("/v1/brands/nothing/poll")).status_code == 404
