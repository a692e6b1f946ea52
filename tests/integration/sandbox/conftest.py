import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2 as httpx
import pytest

from relay.sandbox.serve import Running, running

NOON = 1_795_176_000.0  # 2026-11-20T12:00:00Z
TLS = ssl.create_default_context()  # unused on loopback, but every client would load the certificates anew
CREDENTIALS = {
    "client_id": "demo-client",
    "client_secret": "demo-secret",
    "brand": "openapitest",
    "integrator_id": "demo-integrator",
}


class Clock:
    def __init__(self) -> None:
        self.now_s = NOON

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def up(clock: Clock) -> AsyncIterator[Running]:
    async with running(clock=clock) as stand_in:
        yield stand_in


@pytest.fixture
async def anonymous(up: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=up.base_url, timeout=5, verify=TLS) as client:
        yield client


@pytest.fixture
def sign_in(anonymous: httpx.AsyncClient) -> Callable[..., Awaitable[Any]]:
    async def post(**changed: str) -> Any:
        response = await anonymous.post("/auth", json=CREDENTIALS | changed)
        return response.json().get("token")

    return post


@pytest.fixture
async def clopos(up: Running, sign_in: Callable[..., Awaitable[str]]) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-token": await sign_in()}
    async with httpx.AsyncClient(base_url=up.base_url, headers=headers, timeout=5, verify=TLS) as client:
        yield client


@pytest.fixture
async def control(up: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=up.control_url, timeout=5, verify=TLS) as client:
        yield client
