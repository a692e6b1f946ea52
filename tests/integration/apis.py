"""The API on a real Redis, for tests: an application, and clients of it with different keys."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import httpx2 as httpx
from cryptography.fernet import Fernet

from relay.api.app import create_app
from relay.api.serve import services_of
from relay.api.services import Services
from relay.bootstrap import Relay, open_relay
from relay.core.addresses import Address, parse_networks
from relay.settings import Settings

ADMIN = "admin-token-of-the-tests-0123456789"
LOOPBACK = parse_networks("127.0.0.0/8")
NAMES = {
    "courier.example": ["93.184.215.14"],
    "other.example": ["93.184.215.15"],
    "inside.example": ["10.0.0.7"],
    "mixed.example": ["93.184.215.14", "127.0.0.1"],
}
BRAND = {
    "brand": "openapitest",
    "client_id": "demo-client",
    "client_secret": "demo-secret",
    "integrator_id": "demo-integrator",
}
SUBSCRIPTION = {"name": "courier", "url": "https://courier.example/hooks", "event_types": ["order.*"]}


async def lookup(host: str) -> Sequence[Address]:
    """A name server of the tests' own: what it does not know does not resolve."""
    if host not in NAMES:
        raise OSError(host)
    return [ip_address(text) for text in NAMES[host]]


@dataclass
class Api:
    """An API that is up, and the parts behind it."""

    relay: Relay
    services: Services
    admin: httpx.AsyncClient
    nobody: httpx.AsyncClient
    _stack: contextlib.AsyncExitStack

    async def client(self, token: str) -> httpx.AsyncClient:
        return await self._stack.enter_async_context(client_of(self.services, token))

    async def key(self, role: str, **more: Any) -> httpx.AsyncClient:
        """A client with a new key of a role."""
        made = await self.admin.post("/v1/api-keys", json={"name": f"a {role}", "role": role, **more})
        assert made.status_code == 201, made.text
        return await self.client(made.json()["key"])

    async def brand(self, **more: Any) -> dict[str, Any]:
        made = await self.admin.post("/v1/brands", json={**BRAND, **more})
        assert made.status_code == 201, made.text
        return dict(made.json())

    async def subscription(self, **more: Any) -> dict[str, Any]:
        made = await self.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, **more})
        assert made.status_code == 201, made.text
        return dict(made.json())


def client_of(services: Services, token: str | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=create_app(services)),
        base_url="http://relay.test",
        headers={} if token is None else {"authorization": f"Bearer {token}"},
    )


def settings_for(redis_url: str, **more: Any) -> Settings:
    return Settings(
        redis_url=redis_url,
        admin_token=ADMIN,
        secret_keys=(Fernet.generate_key().decode(),),
        **more,
    )


@contextlib.asynccontextmanager
async def running_api(redis_url: str, **more: Any) -> AsyncIterator[Api]:
    """An API on a Redis; ``more`` are settings, and of the services ``now_ms``."""
    now_ms = more.pop("now_ms", None)
    async with contextlib.AsyncExitStack() as stack:
        relay = await stack.enter_async_context(open_relay(settings_for(redis_url, **more)))
        services = replace(services_of(relay), lookup=lookup)
        if now_ms is not None:
            services = replace(services, now_ms=now_ms)
        admin = await stack.enter_async_context(client_of(services, ADMIN))
        nobody = await stack.enter_async_context(client_of(services, None))
        yield Api(relay, services, admin, nobody, stack)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ms = int(time.time() * 1000)

    def __call__(self) -> int:
        return self.ms


def pointers(response: httpx.Response) -> set[str]:
    """Where a 422 finds faults."""
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return {error["pointer"] for error in response.json()["errors"]}


_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    return f"{prefix}-{next(_numbers)}"
