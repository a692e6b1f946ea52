"""A relay with its page, a stand-in for Clopos and a partner, and a browser to look at it with; no test itself."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2 as httpx
import pytest
from aiohttp import web
from cryptography.fernet import Fernet

from relay.api.serve import serve
from relay.bootstrap import Relay, open_relay
from relay.pipeline.deliver import deliver_shift
from relay.pipeline.poll import poll_shift
from relay.pipeline.stop import Stop
from relay.sandbox.serve import Running, running
from relay.settings import Settings
from relay.store import keys
from tests.integration.relays import LOOPBACK, Call, Partner, ok, partner

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Page

ADMIN: Final = "admin-token-of-the-tests-0123456789"
BRAND: Final = "openapitest"
ARGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_S: Final = 20.0

Answer = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class House:
    """Everything that is up."""

    url: str
    relay: Relay
    sandbox: Running
    partner: Partner
    api: httpx.AsyncClient

    async def call(self, method: str, path: str, **body: Any) -> Any:
        """Ask the API, as the operator."""
        answer = await self.api.request(method, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def subscribe(self, name: str = "courier", **more: Any) -> dict[str, Any]:
        body = {"name": name, "url": self.partner.url, "event_types": ["*"], **more}
        made: dict[str, Any] = await self.call("POST", "/v1/subscriptions", **body)
        return made

    async def key(self, role: str, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = await self.call("POST", "/v1/api-keys", name=f"a {role}", role=role, **more)
        return made

    async def look(self) -> None:
        """Have the brand looked at for the first time."""
        await self.call(
            "POST",
            "/v1/brands",
            brand=BRAND,
            client_id="demo-client",
            client_secret="demo-secret",
            integrator_id="demo-integrator",
            clopos_url=self.sandbox.base_url,
            currency="AZN",
        )
        await self.until(self._is_looked_at)

    async def _is_looked_at(self) -> bool:
        return bool((await self.call("GET", f"/v1/brands/{BRAND}"))["state"]["status"] == "ok")

    async def events(self, count: int, **query: Any) -> list[dict[str, Any]]:
        """Wait for so many events; the newest first."""

        async def enough() -> bool:
            return len(await self._events(query)) >= count

        await self.until(enough)
        return await self._events(query)

    async def _events(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await self.api.get("/v1/events", params=query)
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def state(self, subscription: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = (await self.call("GET", f"/v1/subscriptions/{subscription['id']}"))["state"]
        return found

    async def until_dead(self, subscription: dict[str, Any], count: int) -> None:
        """Wait until so many of its deliveries are given up."""

        async def given_up() -> bool:
            return int((await self.state(subscription))["dead"]) >= count

        await self.until(given_up)

    async def until_dead_is(self, subscription: dict[str, Any], count: int) -> None:
        """Wait until just so many are."""

        async def so_many() -> bool:
            return int((await self.state(subscription))["dead"]) == count

        await self.until(so_many)

    async def until_settled(self) -> None:
        """Wait until no delivery is pending."""

        async def settled() -> bool:
            return int((await self.call("GET", "/v1/ledger"))["pending"]) == 0

        await self.until(settled)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await condition():  # noqa: ASYNC110  other tasks and servers set no event of ours
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def house(redis_url: str, *, answer: Answer = ok, works: bool = True, **settings: Any) -> AsyncIterator[House]:
    """Put everything up.

    Args:
        redis_url: an empty one.
        answer: what the partner says.
        works: whether anybody looks and delivers.
        settings: other than those of the tests.
    """
    made = replace(
        Settings(
            redis_url=redis_url,
            admin_token=ADMIN,
            secret_keys=(Fernet.generate_key().decode(),),
            data_dir=Path("no such directory"),
            allow_networks=LOOPBACK,
            poll_interval_s=0.1,
            host="127.0.0.1",
            port=0,
        ),
        **settings,
    )
    async with contextlib.AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(running())
        endpoint = await stack.enter_async_context(partner(answer))
        relay = await stack.enter_async_context(open_relay(made))
        await stack.enter_async_context(_alive(relay))
        url = await stack.enter_async_context(_served(made))
        if works:
            await stack.enter_async_context(_working(relay))
        api = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {ADMIN}"}, timeout=30)
        )
        up = House(url, relay, sandbox, endpoint, api)
        await up.until(lambda: _is_ready(api))
        yield up


async def _is_ready(api: httpx.AsyncClient) -> bool:
    return (await api.get("/readyz")).status_code == 200


@contextlib.asynccontextmanager
async def _alive(relay: Relay) -> AsyncIterator[None]:
    """Say that workers and a scheduler live, as they do themselves."""
    redis: Any = relay.redis

    async def say() -> None:
        for kind in ("poll", "deliver", "maintain"):
            await relay.stores.presence.beat(kind, "tests")
        await redis.set(keys.SCHEDULER_LEASE, "tests", ex=30)

    async def go_on() -> None:
        while True:
            await asyncio.sleep(5)
            await say()

    await say()
    saying = asyncio.create_task(go_on())
    try:
        yield
    finally:
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)


@contextlib.asynccontextmanager
async def _served(settings: Settings) -> AsyncIterator[str]:
    stop = asyncio.Event()
    listens: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, stop=stop, up=listens.set_result))
    try:
        yield await listens
    finally:
        stop.set()
        assert await serving == 0


@contextlib.asynccontextmanager
async def _working(relay: Relay) -> AsyncIterator[None]:
    """Look and deliver, shift after shift, as workers do."""
    ended = False
    present: dict[str, Stop] = {}

    async def work(kind: str) -> None:
        while not ended:
            stop = present[kind] = Stop(time.monotonic, 600)
            if kind == "poll":
                await poll_shift(relay.poll_context(), owner=kind, stop=stop, concurrency=2)
            else:
                await deliver_shift(relay.deliver_context(), owner=kind, stop=stop, concurrency=16)

    tasks = [asyncio.create_task(work(kind)) for kind in ("poll", "deliver")]
    try:
        yield
    finally:
        ended = True
        for stop in present.values():
            stop.ask()
        await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A real browser without a window; a test without one is skipped, and fails where CI=true."""
    playwright = pytest.importorskip("playwright.async_api", reason="needs the dependency group ui")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("needs chromium: apt-get install chromium fonts-dejavu-core")
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=binary, args=list(ARGS))
        try:
            yield browser
        finally:
            await browser.close()


async def says(place: Locator, *texts: str) -> None:
    """Wait until it says all of these: a page comes some time after the click that asks for it."""
    expect = pytest.importorskip("playwright.async_api").expect
    for text in texts:
        await expect(place).to_contain_text(text, timeout=PATIENCE_S * 1000)


async def is_headed(page: Page, text: str) -> None:
    """Wait for the page with this heading."""
    expect = pytest.importorskip("playwright.async_api").expect
    await expect(page.get_by_role("heading", level=1)).to_have_text(text, timeout=PATIENCE_S * 1000)


async def counts(places: Locator, number: int) -> None:
    """Wait until there are so many of these."""
    expect = pytest.importorskip("playwright.async_api").expect
    await expect(places).to_have_count(number, timeout=PATIENCE_S * 1000)


async def sign_out(page: Page, url: str) -> None:
    """Sign out, as a person does."""
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(f"{url}/ui/sign-in")


async def sign_in(page: Page, url: str, token: str = ADMIN) -> None:
    """Sign in, as a person does."""
    await page.goto(f"{url}/ui")
    await page.get_by_label("Admin token or API key").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{url}/ui")
