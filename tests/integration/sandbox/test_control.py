from collections.abc import Awaitable, Callable
from typing import Any

import httpx2 as httpx
import pytest

from relay.sandbox.serve import Running

SignIn = Callable[..., Awaitable[Any]]
PLACE = "/brands/openapitest/venues/1/orders"


async def test_an_order_lives_its_life_by_command(control: httpx.AsyncClient, clopos: httpx.AsyncClient) -> None:
    placed = (await control.post(PLACE, json={"customer_ref_id": "R-1"})).json()
    path = f"/orders/{placed['id']}"

    async def status() -> str:
        return str((await clopos.get(path)).json()["data"]["status"])

    assert (await clopos.get(path)).json()["data"] == placed
    assert (placed["status"], placed["customer_ref_id"]) == ("PENDING", "R-1")
    for command, expected in (
        ("accept", "RECEIVED"),
        ("status/READY", "READY"),
        ("deliver", "DELIVERED"),
        ("ignore", "IGNORE"),
    ):
        assert (await control.post(f"{path}/{command}")).json()["status"] == expected
        assert await status() == expected
    assert (await control.delete(path)).json() == {"ok": True}
    assert (await clopos.get(path)).status_code == 404


async def test_an_order_is_edited_in_part_or_whole(control: httpx.AsyncClient, clopos: httpx.AsyncClient) -> None:
    await control.patch("/orders/1", json={"merge": {"meta": {"comment": "Ring twice"}}, "integration_id": 12})
    edited = (await clopos.get("/orders/1")).json()["data"]
    assert (edited["payload"]["meta"]["comment"], edited["payload"]["meta"]["service_charge_value"]) == (
        "Ring twice",
        5,
    )
    assert (edited["integration_id"], edited["updated_at"]) == (12, "2026-11-20T16:00:00.000000Z")

    await control.patch("/orders/1", json={"payload": [], "touch": False})
    assert (await clopos.get("/orders/1")).json()["data"]["payload"] == []


async def test_a_row_can_be_any_bytes_at_all(control: httpx.AsyncClient, clopos: httpx.AsyncClient) -> None:
    poison = b'{"id":null,"deep":' + b"[" * 2000 + b',"n":NaN,"half":"\\ud800","bytes":"\xff\xfe"'
    await control.put("/orders/77/raw", content=poison)

    assert poison in (await clopos.get("/orders")).content
    await control.put("/orders/77/raw")
    assert (await clopos.get("/orders/77")).json()["data"]["id"] == 77


async def test_an_id_that_two_venues_share_needs_its_venue(control: httpx.AsyncClient, up: Running) -> None:
    up.world.place("openapitest", 2, id=1)

    unclear = await control.post("/orders/1/deliver")

    assert unclear.status_code == 404
    assert "2 orders of id 1" in unclear.json()["error"]
    assert (await control.post("/orders/1/deliver?brand=openapitest&venue_id=2")).json()["venue_id"] == 2
    assert up.world.order("openapitest", 1, 1).status == "RECEIVED"


async def test_many_orders_are_placed_at_once(control: httpx.AsyncClient, clopos: httpx.AsyncClient) -> None:
    placed = await control.post(f"{PLACE}/bulk", json={"count": 300, "spacing_s": 3600, "status": "DELIVERED"})

    assert placed.json() == {"count": 300, "first_id": 109, "last_id": 408}
    page = (await clopos.get("/orders?limit=200&page=2")).json()
    assert (page["total"], len(page["data"]), page["data"][0]["id"]) == (304, 104, 208)


async def test_stations_are_switched_made_and_removed(control: httpx.AsyncClient, clopos: httpx.AsyncClient) -> None:
    assert (await control.post("/stations/2", json={"status": 0})).json()["status"] == 0
    await control.post("/stations/9", json={"name": "Grill", "venue_id": 2})
    await control.delete("/stations/3")

    assert [(row["id"], row["status"]) for row in (await clopos.get("/stations")).json()["data"]] == [(1, 1), (2, 0)]
    (grill,) = (await clopos.get("/stations", headers={"x-venue": "2"})).json()["data"]
    assert (grill["id"], grill["name"]) == (9, "Grill")


async def test_venues_open_and_close(control: httpx.AsyncClient, clopos: httpx.AsyncClient) -> None:
    await control.post("/venues", json={"id": 3, "name": "Airport"})
    await control.post("/venues", json={"id": 1, "name": "Renamed"})
    await control.delete("/venues/2")

    venues = (await clopos.get("/venues")).json()["data"]
    assert [(row["id"], row["name"], row["is_main"]) for row in venues] == [(1, "Renamed", True), (3, "Airport", False)]
    assert (await clopos.get("/orders", headers={"x-venue": "2"})).status_code == 404
    assert (await clopos.get("/orders/1")).status_code == 200


async def test_a_brand_of_one_s_own_with_credentials_of_its_own(
    control: httpx.AsyncClient, sign_in: SignIn, anonymous: httpx.AsyncClient
) -> None:
    await control.post("/brands", json={"brand": "mine", "is_test": False})
    await control.post("/venues", json={"brand": "mine", "id": 40})
    await control.post("/credentials", json={"client_id": "c", "client_secret": "s", "brands": ["mine"]})
    await control.post("/integrators/i", json={"is_test": False})
    await control.post("/brands/mine/venues/40/orders", json={"id": 5})

    token = await sign_in(brand="mine", client_id="c", client_secret="s", integrator_id="i")

    orders = (await anonymous.get("/orders", headers={"x-token": token})).json()["data"]
    assert [row["id"] for row in orders] == [5]


async def test_changing_credentials_keeps_what_is_not_named(control: httpx.AsyncClient, up: Running) -> None:
    await control.post("/credentials", json={"client_id": "demo-client", "forbidden": ["orders"]})
    client = up.world.clients["demo-client"]
    assert (client.client_secret, client.brands) == ("demo-secret", {"openapitest", "productiontest"})

    await control.post("/integrators/demo-integrator", json={"active": False})
    assert (up.world.integrators["demo-integrator"].is_test, up.world.integrators["demo-integrator"].active) == (
        True,
        False,
    )


async def test_tokens_expire_and_are_forged_by_command(
    control: httpx.AsyncClient, clopos: httpx.AsyncClient, sign_in: SignIn
) -> None:
    assert (await control.post("/tokens/expire")).json() == {"expired": 1}
    assert (await clopos.get("/orders")).json()["error"] == "Token expired"
    clopos.headers["x-token"] = await sign_in()
    assert (await clopos.get("/orders")).status_code == 200

    await control.post("/tokens/change-key")
    assert (await clopos.get("/orders")).json()["error"] == "Invalid token"


async def test_switches_are_shown_set_and_reset(control: httpx.AsyncClient, clopos: httpx.AsyncClient) -> None:
    switched = (await control.put("/switches", json={"max_limit": 2, "over_limit": "refuse"})).json()
    assert (switched["max_limit"], switched["error_shape"]) == (2, "sentence")
    assert (await clopos.get("/orders?limit=3")).status_code == 400

    assert (await control.put("/switches", json={"max_limit": "many"})).status_code == 400
    assert (await control.delete("/switches")).json() == (await control.get("/switches")).json()
    assert (await clopos.get("/orders?limit=3")).status_code == 200


async def test_the_journal_tells_who_asked_what_and_no_secret(
    control: httpx.AsyncClient, clopos: httpx.AsyncClient
) -> None:
    await clopos.get("/orders/1?with[0]=receipt", headers={"x-venue": "2"})

    journal = (await control.get("/journal?limit=1")).json()

    assert journal["total"] == 2
    assert journal["counts"] == {"POST /auth 200": 1, "GET /orders/* 404": 1}
    (seen,) = journal["requests"]
    assert seen == {
        "number": 2,
        "at_s": 1_795_176_000.0,
        "method": "GET",
        "path": "/orders/1",
        "query": "with[0]=receipt",
        "venue": "2",
        "brand": "openapitest",
        "address": "127.0.0.1",
        "status": 404,
        "fault": None,
    }
    assert journal["limits"]["quota"]["demo-integrator:openapitest"] == {"used": 1, "peak": 1, "refused": 0}
    await control.delete("/journal")
    await control.delete("/limits")
    assert (await control.get("/journal")).json() == {
        "total": 2,
        "counts": {},
        "requests": [],
        "limits": {"auth": {}, "failures": {}, "quota": {}},
    }


async def test_history_and_state_tell_what_is_true(control: httpx.AsyncClient) -> None:
    await control.post(PLACE)
    await control.post("/orders/109/accept")

    history = (await control.get("/history?since=1")).json()
    assert (history["next"], [change["status"] for change in history["changes"]]) == (2, ["RECEIVED"])
    state = (await control.get("/state")).json()
    orders = state["brands"]["openapitest"]["venues"]["1"]["orders"]
    assert orders == {"DELIVERED": 1, "IGNORE": 1, "RECEIVED": 2, "PENDING": 1}
    assert "demo-secret" not in str(state)


async def test_the_stop_list_is_edited(control: httpx.AsyncClient, clopos: httpx.AsyncClient) -> None:
    await control.post("/stop-list", json={"product_id": 51, "limit": 3})
    await control.post("/stop-list", json={"product_id": 52, "limit": 0})
    await control.post("/stop-list", json={"product_id": 51, "limit": None})

    assert [row["id"] for row in (await clopos.get("/products/stop-list")).json()["data"]] == [52]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/brands/nowhere/venues/1/orders", {}, 404),
        ("POST", "/brands/openapitest/venues/9/orders", {}, 404),
        ("POST", PLACE, [1], 400),
        ("POST", PLACE, {"id": "12"}, 400),
        ("POST", PLACE, {"venue_id": 2}, 400),
        ("POST", f"{PLACE}/bulk", {"count": 0}, 400),
        ("POST", f"{PLACE}/bulk", {"spacing_s": "1"}, 400),
        ("PATCH", "/orders/1", {"id": 2}, 404),
        ("PATCH", "/orders/1", {"touch": "no"}, 400),
        ("POST", "/orders/9/accept", None, 404),
        ("POST", "/stations/1", {"colour": "red"}, 404),
        ("POST", "/venues", {"id": "x"}, 400),
        ("POST", "/venues", {"id": 4, "colour": "red"}, 400),
        ("POST", "/credentials", {"client_id": "new"}, 400),
        ("POST", "/integrators/i", {"active": "yes"}, 400),
        ("POST", "/stop-list", {"product_id": 1, "limit": "none"}, 400),
        ("POST", "/faults", {"kind": "earthquake"}, 400),
        ("GET", "/journal?limit=x", None, 400),
    ],
)
async def test_a_command_without_sense_says_why(
    control: httpx.AsyncClient, method: str, path: str, body: object, status: int
) -> None:
    answer = await control.request(method, path, json=body)

    assert answer.status_code == status
    assert answer.json()["error"]


async def test_the_index_lists_every_command_fault_and_switch(control: httpx.AsyncClient, up: Running) -> None:
    index = (await control.get("/")).text

    assert "POST   /control/orders/{id:int}/accept" in index
    assert "cut-json" in index
    assert all(f"    {name}:" in index for name in up.world.switches.as_json())
