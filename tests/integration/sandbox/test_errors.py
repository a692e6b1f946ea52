"""Every documented error, and the order in which they are found."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import httpx2 as httpx
import pytest

from relay.sandbox.serve import Running

SignIn = Callable[..., Awaitable[Any]]
ROUTES = ["/orders", "/orders/1", "/venues", "/stations", "/receipts", "/products/stop-list", "/nowhere"]


class Clock(Protocol):
    now_s: float


CREDENTIALS = {
    "client_id": "demo-client",
    "client_secret": "demo-secret",
    "brand": "openapitest",
    "integrator_id": "demo-integrator",
}
MISSING = "Missing client_id, client_secret, brand, or integrator_id"
MISMATCH = "Integrator is in test mode. But brand is not in test mode"


@pytest.mark.parametrize("missing", list(CREDENTIALS))
@pytest.mark.parametrize("value", [None, "", 7])
async def test_signing_in_needs_four_texts(anonymous: httpx.AsyncClient, missing: str, value: object) -> None:
    answer = await anonymous.post("/auth", json=CREDENTIALS | {missing: value})

    assert answer.status_code == 400
    assert answer.json() == {"success": False, "error": MISSING, "message": MISSING}


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000])
async def test_a_sign_in_that_is_no_json_object_lacks_its_fields(anonymous: httpx.AsyncClient, body: bytes) -> None:
    answer = await anonymous.post("/auth", content=body)

    assert (answer.status_code, answer.json()["error"]) == (400, MISSING)


@pytest.mark.parametrize(
    ("changed", "status", "error"),
    [
        ({"integrator_id": "nobody"}, 400, "Invalid integrator_id"),
        ({"brand": "productiontest"}, 200, MISMATCH),
        ({"client_secret": "wrong"}, 401, None),
        ({"client_id": "nobody"}, 401, None),
        ({"brand": "nowhere"}, 401, None),
        ({"integrator_id": "nobody", "client_secret": "wrong"}, 400, "Invalid integrator_id"),
        ({"brand": "productiontest", "client_secret": "wrong"}, 200, MISMATCH),
    ],
)
async def test_a_sign_in_is_refused_as_documented(
    anonymous: httpx.AsyncClient, changed: dict[str, str], status: int, error: str | None
) -> None:
    answer = await anonymous.post("/auth", json=CREDENTIALS | changed)

    assert (answer.status_code, answer.json().get("error")) == (status, error)
    assert answer.json()["success"] is False
    assert "token" not in answer.json()


async def test_a_production_integrator_may_enter_a_production_brand(sign_in: SignIn) -> None:
    assert await sign_in(brand="productiontest", integrator_id="demo-integrator-live")


async def test_a_client_that_was_switched_off_is_told_so(anonymous: httpx.AsyncClient, up: Running) -> None:
    up.world.clients["demo-client"].enabled = False

    answer = await anonymous.post("/auth", json=CREDENTIALS)

    assert (answer.status_code, answer.json()["error"]) == (401, "Client is disabled")


@pytest.mark.parametrize("path", ROUTES)
async def test_every_route_needs_a_token(anonymous: httpx.AsyncClient, path: str) -> None:
    answer = await anonymous.get(path)

    assert answer.status_code == 401
    assert answer.json() == {
        "success": False,
        "error": "Headers are missing",
        "message": "Missing or invalid authentication headers",
    }


async def test_the_endpoint_pages_show_another_error_for_the_same(anonymous: httpx.AsyncClient, up: Running) -> None:
    up.world.switches.change({"error_shape": "slug"})

    assert (await anonymous.get("/orders")).json() == {
        "success": False,
        "error": "unauthorized",
        "message": "Missing or invalid authentication headers",
    }


async def test_an_expired_token_says_when_it_ended_as_text(clopos: httpx.AsyncClient, clock: Clock) -> None:
    clock.now_s += 3600

    answer = await clopos.get("/orders")

    assert answer.status_code == 401
    assert answer.json() == {
        "success": False,
        "error": "Token expired",
        "message": "Token expired",
        "expires_at": "2026-11-20T13:00:00.000Z",
    }


async def test_errors_are_found_in_the_documented_order(
    anonymous: httpx.AsyncClient, sign_in: SignIn, up: Running, clock: Clock
) -> None:
    """Everything is wrong at once; each thing that is put right uncovers the next."""
    world, wrong = up.world, {"x-token": "rubbish", "x-venue": "99"}
    token = await sign_in()
    world.switches.change({"failures_per_minute": 0, "quota_per_minute": 0})
    world.add_integrator("demo-integrator", active=False)
    world.add_brand("openapitest", is_test=False, missing_modules=["orders"])
    world.clients["demo-client"].forbidden.add("orders")
    clock.now_s += 4000

    async def error(headers: dict[str, str]) -> tuple[int, str]:
        answer = await anonymous.get("/orders/x?sort[1]=up", headers=headers)
        return answer.status_code, answer.json()["error"]

    assert await error({}) == (429, "rate_limit_exceeded")
    world.switches.change({"failures_per_minute": 600})
    assert await error({"x-venue": "99"}) == (401, "Headers are missing")
    assert await error(wrong) == (401, "Invalid token")
    signed = wrong | {"x-token": token}
    assert await error(wrong | {"x-token": token[:-4] + "AAAA"}) == (401, "Invalid token")
    assert await error(signed) == (401, "Token expired")
    clock.now_s -= 4000
    assert await error(signed) == (401, "Invalid integrator_id")
    world.add_integrator("demo-integrator")
    assert await error(signed) == (401, MISMATCH)
    world.add_brand("openapitest", missing_modules=["orders"])
    assert await error(signed) == (429, "rate_limit_exceeded")
    world.switches.change({"quota_per_minute": 300})
    assert await error(signed) == (403, "Brand does not have the orders module")
    world.add_brand("openapitest")
    assert await error(signed) == (403, "Client has no permission for orders")
    world.clients["demo-client"].forbidden.clear()
    assert await error(signed) == (404, "resource_not_found")


async def test_a_wrong_sort_direction_is_a_bad_request(clopos: httpx.AsyncClient) -> None:
    answer = await clopos.get("/orders?sort[0]=id&sort[1]=up")

    assert answer.status_code == 400
    assert answer.json() == {
        "success": False,
        "error": "invalid_parameter",
        "message": "sort[1] must be 1 or -1",
    }


@pytest.mark.parametrize(
    "body", [b'{"status": "RECEIVED"}', b'{"status": null}', b"{}", b"", b"[1]", b"{", b'{"status": ["IGNORE"]}']
)
async def test_no_status_but_ignore_can_be_set(clopos: httpx.AsyncClient, body: bytes) -> None:
    answer = await clopos.put("/orders/108", content=body)

    assert answer.status_code == 400
    assert answer.json() == {"success": False, "error": "validation_failed", "message": "Status is not allowed"}
    assert (await clopos.get("/orders/108")).json()["data"]["status"] == "PENDING"


@pytest.mark.parametrize(
    "path",
    ["/orders/9", "/orders/x", "/orders/-1", "/orders/1.0", "/orders/²", "/stations/9", "/receipts/9", "/nowhere"],
)
async def test_what_is_not_there_is_not_found(clopos: httpx.AsyncClient, path: str) -> None:
    answer = await clopos.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"] in {"resource_not_found", "not_found"}


async def test_the_upstream_s_own_shape_is_a_list(clopos: httpx.AsyncClient, up: Running) -> None:
    up.world.switches.change({"error_shape": "list"})

    (error,) = (await clopos.get("/orders/9")).json()["error"]

    assert (error["exception"], error["http_code"], error["type"]) == ("NotFoundHttpException", 404, "server_side")


async def test_a_wrong_method_is_refused_in_json(clopos: httpx.AsyncClient) -> None:
    answer = await clopos.patch("/orders/1", json={})

    assert (answer.status_code, answer.json()["success"]) == (405, False)
