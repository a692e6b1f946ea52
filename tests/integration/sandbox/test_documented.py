"""The documentation's examples, asked for over HTTP and compared with what its pages show."""

import base64
import json
from typing import Any

import httpx2 as httpx

from relay.sandbox.serve import Running

ORDER_1: dict[str, Any] = json.loads("""
    {
      "id": 1,
      "venue_id": 1,
      "type": "CALL_CENTER_ORDER",
      "integration": "call_center_new",
      "integration_uuid": null,
      "integration_id": null,
      "customer_ref_id": null,
      "integration_status": "CREATED",
      "status": "RECEIVED",
      "payload": {
        "auto_order_accept": false,
        "auto_order_sent_to_station": false,
        "delivery_fee": 2.5,
        "service": {
          "sale_type_id": 2,
          "venue_id": 1
        },
        "customer": {
          "id": 1,
          "phone": "+994705401040",
          "address": "123 Main St",
          "customer_discount_type": 1,
          "name": "Rahid Akhundzada"
        },
        "products": [
          {
            "product_id": 51,
            "count": 2,
            "product_modificators": [],
            "portion_size": 1,
            "meta": {
              "price": 8.5,
              "order_product": {
                "count": 2,
                "status": "new",
                "product_modificators": [],
                "product_hash": "abc123",
                "product": {
                  "id": 51,
                  "name": "Pizza",
                  "price": 8.5
                }
              }
            }
          }
        ],
        "meta": {
          "comment": "Leave at the door",
          "discount": {
            "discount_type": 1,
            "discount_value": 10
          },
          "apply_service_charge": true,
          "customer_discount_type": 1,
          "service_charge_value": 5
        },
        "customer_id": 1,
        "sale_type_id": 2
      },
      "created_at": "2026-02-02T13:45:53.000000Z",
      "updated_at": "2026-02-02T17:46:02.000000Z",
      "integration_response": null
    }
""")
STATIONS: list[dict[str, Any]] = json.loads("""
  [
    {
      "id": 1,
      "name": "Kitchen",
      "status": 1,
      "type": 1,
      "printable": 1,
      "created_at": "2026-01-13T14:08:49.000000Z",
      "updated_at": "2026-01-13T14:08:49.000000Z"
    },
    {
      "id": 2,
      "name": "Bar",
      "status": 1,
      "type": 0,
      "printable": 1,
      "created_at": "2026-01-13T14:08:49.000000Z",
      "updated_at": "2026-01-13T14:08:49.000000Z"
    },
    {
      "id": 3,
      "name": "Tandir",
      "status": 1,
      "type": 0,
      "printable": 0,
      "created_at": "2026-01-13T14:36:51.000000Z",
      "updated_at": "2026-01-13T14:36:51.000000Z"
    }
  ]
""")


async def test_the_order_list_begins_with_the_documented_row_of_four(clopos: httpx.AsyncClient, up: Running) -> None:
    up.world.switches.change({"live_envelope": False})

    one = await clopos.get("/orders", params={"limit": 1})

    assert (one.status_code, one.headers["content-type"]) == (200, "application/json")
    assert one.json() == {"success": True, "data": [ORDER_1], "total": 4}
    assert list(one.json()["data"][0]) == list(ORDER_1)
    assert len((await clopos.get("/orders")).json()["data"]) == 4


async def test_the_documented_order_is_found_by_its_id(clopos: httpx.AsyncClient) -> None:
    assert (await clopos.get("/orders/1")).json()["data"] == ORDER_1


async def test_the_documented_stations(clopos: httpx.AsyncClient, up: Running) -> None:
    up.world.switches.change({"live_envelope": False})

    assert (await clopos.get("/stations?status=1")).json() == {"success": True, "data": STATIONS, "total": 3}
    assert (await clopos.get("/stations/3")).json()["data"] == STATIONS[2]


async def test_cancelling_order_108_answers_the_documented_row_without_payload(clopos: httpx.AsyncClient) -> None:
    before = (await clopos.get("/orders/108")).json()["data"]

    answer = await clopos.put("/orders/108", json={"status": "IGNORE"})

    assert answer.status_code == 200
    assert answer.json()["data"] == {
        "id": 108,
        "venue_id": 1,
        "type": "CALL_CENTER_ORDER",
        "integration": "call_center_new",
        "integration_uuid": None,
        "integration_id": None,
        "customer_ref_id": None,
        "integration_status": "CREATED",
        "status": "IGNORE",
        "created_at": "2026-02-02T13:45:53.000000Z",
        "updated_at": "2026-11-20T16:00:00.000000Z",
        "integration_response": None,
    }
    assert before["status"] == "PENDING"
    after = (await clopos.get("/orders/108")).json()["data"]
    assert after == before | answer.json()["data"]


async def test_signing_in_gives_a_bare_jwt_and_says_when_it_ends(anonymous: httpx.AsyncClient) -> None:
    credentials = {
        "client_id": "demo-client",
        "client_secret": "demo-secret",
        "brand": "openapitest",
        "integrator_id": "demo-integrator",
    }

    answer = (await anonymous.post("/auth", json=credentials)).json()

    token = answer.pop("token")
    assert answer == {
        "success": True,
        "token_type": "Bearer",
        "expires_in": 3600,
        "expires_at": 1_795_179_600,
        "message": "Authentication successful",
    }
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert (claims["brand"], claims["venue_id"], claims["integrator_id"]) == ("openapitest", 1, "demo-integrator")
    assert (await anonymous.get("/orders", headers={"x-token": token})).status_code == 200


async def test_lists_take_brackets_raw_and_encoded(clopos: httpx.AsyncClient) -> None:
    for query in ("sort[0]=id&sort[1]=1&with[0]=receipt:id", "sort%5B0%5D=id&sort%5B1%5D=1&with%5B%5D=receipt%3Aid"):
        rows = (await clopos.get(f"/orders?{query}")).json()["data"]
        assert [row["id"] for row in rows] == [1, 42, 77, 108]
        assert [row["receipt"] for row in rows] == [{"id": 2}, {"id": 1}, None, None]


async def test_with_adds_the_named_columns_of_a_receipt(clopos: httpx.AsyncClient) -> None:
    answer = await clopos.get("/orders/1?with[0]=receipt:id,service_notification_id,status")

    assert answer.json()["data"]["receipt"] == {"id": 2, "service_notification_id": 1, "status": 1}


async def test_status_date_and_filters_narrow_the_list(clopos: httpx.AsyncClient) -> None:
    async def ids(query: str) -> list[int]:
        answer = (await clopos.get(f"/orders?{query}")).json()
        assert answer["total"] == len(answer["data"])
        return [row["id"] for row in answer["data"]]

    assert await ids("status=DELIVERED") == [42]
    assert await ids("date[0]=2026-02-01&date[1]=2026-02-01") == [42]
    assert await ids("filters[0][0]=status&filters[0][1]=PENDING&filters[1][0]=id&filters[1][1]=108") == [108]


async def test_an_order_of_another_venue_is_not_found(clopos: httpx.AsyncClient) -> None:
    assert (await clopos.get("/orders", headers={"x-venue": "2"})).json()["data"] == []
    for venue, status in (("1", 200), ("2", 404), ("3", 404), ("first", 404)):
        assert (await clopos.get("/orders/1", headers={"x-venue": venue})).status_code == status
    assert (await clopos.put("/orders/1", headers={"x-venue": "2"}, json={"status": "IGNORE"})).status_code == 404


async def test_a_list_without_a_venue_can_cover_the_whole_brand(clopos: httpx.AsyncClient, up: Running) -> None:
    up.world.place("openapitest", 2, id=900)

    async def venues() -> set[int]:
        return {row["venue_id"] for row in (await clopos.get("/orders")).json()["data"]}

    assert await venues() == {1}
    up.world.switches.change({"list_scope": "all_venues"})
    assert await venues() == {1, 2}
    assert {row["id"] for row in (await clopos.get("/orders", headers={"x-venue": "2"})).json()["data"]} == {900}


async def test_venues_are_listed_without_a_total(clopos: httpx.AsyncClient) -> None:
    answer = (await clopos.get("/venues")).json()

    assert "total" not in answer
    assert answer["data"] == [
        {"id": 1, "name": "Main", "is_main": True, "media": []},
        {"id": 2, "name": "Seaside", "is_main": False, "media": []},
    ]


async def test_stations_are_filtered_and_paged(clopos: httpx.AsyncClient, up: Running) -> None:
    up.world.put_station("openapitest", 1, 2, status=0)

    async def ids(query: str) -> tuple[list[int], int]:
        answer = (await clopos.get(f"/stations?{query}")).json()
        return [row["id"] for row in answer["data"]], answer["total"]

    assert await ids("status=0") == ([2], 1)
    assert await ids("can_print=false") == ([3], 1)
    assert await ids("can_print=perhaps") == ([1, 2, 3], 3)
    assert await ids("limit=2&page=2") == ([3], 3)


async def test_receipts_and_the_stop_list(clopos: httpx.AsyncClient, up: Running) -> None:
    receipts = (await clopos.get("/receipts")).json()
    assert [(row["id"], row["service_notification_id"], row["status"]) for row in receipts["data"]] == [
        (2, 1, 1),
        (1, 42, 2),
    ]
    assert (await clopos.get("/receipts/1")).json()["data"]["closed_at"] == "2026-02-01 21:00:11"
    assert (await clopos.get("/products/stop-list")).json()["data"] == []
    up.world.set_stop("openapitest", 1, 51, 0)
    assert (await clopos.get("/products/stop-list")).json()["data"] == [
        {"id": 51, "limit": 0, "timestamp": 1_795_176_000_000}
    ]
