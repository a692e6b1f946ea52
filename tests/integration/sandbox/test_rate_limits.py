from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import httpx2 as httpx
import pytest

from relay.sandbox.serve import Running

SignIn = Callable[..., Awaitable[Any]]


class Clock(Protocol):
    now_s: float


def told(answer: httpx.Response) -> tuple[int, ...]:
    names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
    return tuple(int(answer.headers[name]) for name in names)


async def test_the_brand_s_quota_is_three_hundred_a_minute_and_slides(clopos: httpx.AsyncClient, clock: Clock) -> None:
    first = await clopos.get("/venues")
    assert told(first) == (300, 299, 60)
    clock.now_s += 30
    for _ in range(299):
        last = await clopos.get("/venues")
    assert told(last) == (300, 0, 30)

    refused = await clopos.get("/venues")

    assert (refused.status_code, told(refused)) == (429, (300, 0, 30))
    clock.now_s += 30
    assert told(await clopos.get("/venues")) == (300, 0, 30)
    assert (await clopos.get("/venues")).status_code == 429
    clock.now_s += 30
    assert told(await clopos.get("/venues")) == (300, 298, 30)


async def test_every_venue_and_token_of_a_brand_shares_the_quota_and_another_brand_does_not(
    anonymous: httpx.AsyncClient, sign_in: SignIn, up: Running
) -> None:
    up.world.switches.change({"quota_per_minute": 2})
    up.world.add_client("another", "secret", brands=["openapitest"])
    tokens = [await sign_in(), await sign_in(client_id="another", client_secret="secret")]
    elsewhere = await sign_in(brand="productiontest", integrator_id="demo-integrator-live")

    for venue, token in zip("12", tokens, strict=True):
        assert (await anonymous.get("/orders", headers={"x-token": token, "x-venue": venue})).status_code == 200
    assert (await anonymous.get("/orders", headers={"x-token": tokens[0]})).status_code == 429
    assert (await anonymous.get("/orders", headers={"x-token": elsewhere})).status_code == 200


async def test_one_address_may_sign_in_sixty_times_a_minute(anonymous: httpx.AsyncClient, clock: Clock) -> None:
    for _ in range(60):
        answer = await anonymous.post("/auth", json={})
    assert (answer.status_code, told(answer)) == (400, (60, 0, 60))

    assert (await anonymous.post("/auth", json={})).status_code == 429
    other = await anonymous.post("/auth", json={}, headers={"x-forwarded-for": "192.0.2.7"})
    assert (other.status_code, told(other)) == (400, (60, 59, 60))
    clock.now_s += 60
    assert (await anonymous.post("/auth", json={})).status_code == 400


async def test_failures_of_one_address_stop_all_its_brands(
    anonymous: httpx.AsyncClient, clopos: httpx.AsyncClient, up: Running, clock: Clock
) -> None:
    up.world.switches.change({"failures_per_minute": 3})
    for remaining in (2, 1, 0):
        assert told(await anonymous.get("/orders"))[:2] == (3, remaining)

    refused = await clopos.get("/orders")

    assert (refused.status_code, told(refused)) == (429, (3, 0, 60))
    assert (await clopos.get("/orders", headers={"x-forwarded-for": "192.0.2.7"})).status_code == 200
    clock.now_s += 60
    assert (await clopos.get("/orders")).status_code == 200


async def test_a_404_counts_as_failed_and_against_the_quota(clopos: httpx.AsyncClient, up: Running) -> None:
    up.world.switches.change({"failures_per_minute": 300})
    await clopos.get("/orders/9")
    await clopos.get("/orders/9")

    assert told(await clopos.get("/orders/1")) == (300, 297, 60)
    assert up.service.limits.as_json(up.service.clock())["failures"]["127.0.0.1"]["used"] == 2


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("json", "application/json", '{"success":false,"error":"rate_limit_exceeded","message":"Too many requests"}'),
        ("text", "text/plain; charset=utf-8", "Too many requests, please try again later."),
        ("empty", "text/plain; charset=utf-8", ""),
    ],
)
async def test_the_body_of_a_429_is_anybody_s_guess(
    clopos: httpx.AsyncClient, up: Running, body: str, content_type: str, text: str
) -> None:
    up.world.switches.change({"quota_per_minute": 0, "throttle_body": body})

    answer = await clopos.get("/orders")

    assert (answer.status_code, answer.headers["content-type"], answer.text) == (429, content_type, text)


async def test_the_headers_can_be_absent(clopos: httpx.AsyncClient, up: Running) -> None:
    up.world.switches.change({"rate_limit_headers": False})

    assert not [name for name in (await clopos.get("/orders")).headers if name.startswith("ratelimit")]
