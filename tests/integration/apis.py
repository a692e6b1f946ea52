"""The API on a real Redis, for tests: an application, and clients of it with different keys."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2 as httpx
from cryptography.fernet import Fernet

from relay.api.app import OPERATIONS, create_app
from relay.api.openapi import codes_of
from relay.api.problem_types import TYPES
from relay.api.serve import REDIS_TIMEOUTS, services_of
from relay.api.services import Services
from relay.bootstrap import Relay, open_relay
from relay.core.addresses import Address, parse_networks
from relay.core.changes import Feed, compare
from relay.pipeline.commit import CommitReport, Proposal
from relay.pipeline.deliver import deliver_shift
from relay.pipeline.stop import Stop
from relay.settings import Settings
from relay.store.snapshots import Scope
from tests.integration.relays import ORDERS

ADMIN = "admin-token-of-the-tests-0123456789"
LOOPBACK = parse_networks("127.0.0.0/8")
NOWHERE = Path("/nonexistent")
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

    async def see(self, *things: dict[str, Any], scope: Scope = ORDERS, origin: str = "poll") -> CommitReport:
        """Commit what a look at some orders would."""
        started = await self.services.snapshots.begin()
        ids = [thing["id"] for thing in things]
        heads = await self.services.snapshots.heads(scope, ids)
        objects = await self.services.snapshots.objects(scope, ids)
        proposals = [
            Proposal(
                entity=thing["id"],
                subject=f"order/{thing['id']}",
                venue_id=scope.venue_id,
                head=head,
                object=thing,
                raw=None,
                fingerprint="00",
                change=compare(Feed.ORDERS, None if known is None else known.object, thing),
            )
            for thing, head, known in zip(things, heads, objects, strict=True)
        ]
        return await self.relay.committer.commit(scope, proposals, started=started, fence=None, origin=origin)

    async def deliver(self) -> None:
        """Send what is due, as a worker does."""
        context = replace(self.relay.deliver_context(), timeout_s=2.0, linger_s=0.2)
        await deliver_shift(context, owner="worker-1", stop=Stop(time.monotonic, 30), concurrency=16)

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
        event_hooks={"response": [_conforms]},
        headers={} if token is None else {"authorization": f"Bearer {token}"},
    )


async def _conforms(response: httpx.Response) -> None:
    """Hold an answer against the description of its operation: every test checks the OpenAPI document by the way."""
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json", response.text
    path = response.request.url.path
    for operation in OPERATIONS:
        shape = "/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in operation.path.split("/"))
        if operation.method == response.request.method.replace("HEAD", "GET") and re.fullmatch(shape, path):
            break
    else:
        return
    await response.aread()
    documented = {operation.status, *(TYPES[code].status for code in codes_of(operation))}
    assert response.status_code in documented, (operation.name, response.status_code, response.text)
    assert (response.content == b"") == (response.status_code == 204 or response.request.method == "HEAD")
    if response.status_code == operation.status and response.content and operation.answer is not None:
        shown = response.json()
        fields = operation.answer.model_validate(shown).model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert fields.keys() == shown.keys(), operation.name
        if operation.etag:
            assert re.fullmatch(r'"[!#-~]+"', response.headers["etag"])


def settings_for(redis_url: str, **more: Any) -> Settings:
    return Settings(
        redis_url=redis_url,
        admin_token=ADMIN,
        secret_keys=(Fernet.generate_key().decode(),),
        **{"data_dir": NOWHERE, **more},
    )


@contextlib.asynccontextmanager
async def running_api(redis_url: str, **more: Any) -> AsyncIterator[Api]:
    """An API on a Redis; ``more`` are settings, and of the services ``now_ms``."""
    now_ms = more.pop("now_ms", None)
    async with contextlib.AsyncExitStack() as stack:
        relay = await stack.enter_async_context(open_relay(settings_for(redis_url, **more), timeouts=REDIS_TIMEOUTS))
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
