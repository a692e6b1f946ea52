"""Forms of other sites, without their token, or with nothing but a cookie, change nothing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest
from aiohttp import web

from relay.api.ui.rendering import POLICY
from tests.e2e.pages import ADMIN, House, house, sign_in

if TYPE_CHECKING:
    from playwright.async_api import Browser

TOKEN = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


@pytest.fixture
async def up(redis_url: str) -> AsyncIterator[House]:
    async with house(redis_url, works=False) as made:
        yield made


async def signed_in(client: httpx.AsyncClient, url: str, token: str = ADMIN) -> str:
    """Sign in without a browser; the token that forms hold."""
    form = TOKEN.search((await client.get("/ui/sign-in")).text)
    assert form is not None
    fields = {"token": token, "csrf": form[1], "next": "/ui"}
    answer = await client.post("/ui/sign-in", data=fields, headers={"origin": url})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui"), answer.text
    found = TOKEN.search((await client.get("/ui")).text)
    assert found is not None
    return found[1]


async def test_a_form_needs_its_token_and_its_origin(up: House) -> None:
    made = await up.subscribe()
    path = f"/ui/subscriptions/{made['id']}/pause"
    async with httpx.AsyncClient(base_url=up.url) as client:
        csrf = await signed_in(client, up.url)
        good = {"origin": up.url}
        refused = [
            await client.post(path),
            await client.post(path, headers=good),
            await client.post(path, json={"csrf": csrf}, headers=good),
            await client.post(path, files={"csrf": ("", csrf)}, headers=good),
            await client.post(path, data={"csrf": ""}, headers=good),
            await client.post(path, data={"csrf": csrf[:-1] + "x"}, headers=good),
            await client.post(path, data={"csrf": csrf}),
            await client.post(path, data={"csrf": csrf}, headers={"origin": "https://evil.example"}),
            await client.post(path, data={"csrf": csrf}, headers={"origin": "null"}),
            await client.post(path, data={"csrf": csrf}, headers={"origin": "http://"}),
            await client.post(path, data={"csrf": csrf}, headers={"referer": "https://evil.example/x"}),
            await client.post(path, data={"csrf": csrf}, headers={**good, "sec-fetch-site": "cross-site"}),
            await client.post(path, data={"csrf": csrf}, headers={**good, "sec-fetch-site": "same-site"}),
        ]
        assert [answer.status_code for answer in refused] == [403] * len(refused)
        assert (await up.state(made))["status"] == "active"
        assert (await client.post(path, data={"csrf": csrf}, headers=good)).status_code == 303
        assert (await up.state(made))["status"] == "paused"


async def test_a_cookie_alone_and_a_token_alone_are_refused(up: House) -> None:
    made = await up.subscribe()
    path = f"/ui/subscriptions/{made['id']}/pause"
    async with httpx.AsyncClient(base_url=up.url) as client, httpx.AsyncClient(base_url=up.url) as other:
        csrf = await signed_in(client, up.url)
        headers = {"origin": up.url}
        bearer = {**headers, "authorization": f"Bearer {ADMIN}"}
        assert (await other.post(path, data={"x": "y"}, headers=bearer)).status_code == 403
        assert (await other.post(path, data={"a": "b"}, headers=headers)).status_code == 403
        gone = await other.post(path, data={"csrf": csrf}, headers=headers)
        assert (gone.status_code, gone.headers["location"]) == (303, "/ui/sign-in")
        theirs = await signed_in(other, up.url)
        assert (await client.post(path, data={"csrf": theirs}, headers=headers)).status_code == 403
        assert (await up.state(made))["status"] == "active"
        assert (await client.get("/v1/brands")).status_code == 401  # the cookie is no key to the API


async def test_signing_in_needs_the_form_of_the_page(up: House) -> None:
    async with httpx.AsyncClient(base_url=up.url) as client:
        headers = {"origin": up.url}
        assert (await client.post("/ui/sign-in", data={"token": ADMIN}, headers=headers)).status_code == 403
        form = TOKEN.search((await client.get("/ui/sign-in")).text)
        assert form is not None
        fields = {"token": ADMIN, "csrf": form[1]}
        evil = {"origin": "https://evil.example"}
        assert (await client.post("/ui/sign-in", data=fields, headers=evil)).status_code == 403
        wrong = await client.post("/ui/sign-in", data={**fields, "token": "whsec_abc"}, headers=headers)
        assert wrong.status_code == 401
        assert "That is a webhook secret" in wrong.text
        assert "whsec_abc" not in wrong.text
        for onward in ("https://evil.example", "//evil.example", "/ui\\evil", "/uix", "/ui/sign-in", "/v1/brands"):
            answer = await client.post("/ui/sign-in", data={**fields, "next": onward}, headers=headers)
            assert answer.headers["location"] == "/ui", onward
            client.cookies.delete("relay_session")
            form = TOKEN.search((await client.get("/ui/sign-in")).text)
            assert form is not None
            fields["csrf"] = form[1]


async def test_a_page_of_another_port_cannot_send_our_forms(up: House, browser: Browser) -> None:
    made = await up.subscribe()
    action = f"{up.url}/ui/subscriptions/{made['id']}/pause"
    async with foreign(f'<form method="post" action="{action}"><button>Win a prize</button></form>') as elsewhere:
        context = await browser.new_context()
        page = await context.new_page()
        await sign_in(page, up.url)
        await page.goto(elsewhere)
        async with page.expect_navigation() as going:
            await page.get_by_role("button").click()
        answer = await going.value
        assert answer is not None
        assert answer.status == 403
        assert (await up.state(made))["status"] == "active"
        await page.set_content(f'<iframe src="{up.url}/ui"></iframe>')
        assert await page.frames[-1].locator("nav").count() == 0
        await context.close()


async def test_headers_forbid_what_pages_do_not_need(up: House) -> None:
    async with httpx.AsyncClient(base_url=up.url) as client:
        await signed_in(client, up.url)
        for path in ("/ui", "/ui/sign-in", "/ui/nowhere", "/ui/brands/none"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"] == POLICY
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
        assert "unsafe" not in POLICY
        assert (await client.get("/ui/")).headers["location"] == "/ui"
        assert (await client.get("/ui/static/..%2froutes.py")).status_code == 404
        assert (await client.get("/v1/brands")).headers["referrer-policy"] == "no-referrer"


@contextlib.asynccontextmanager
async def foreign(html: str) -> AsyncIterator[str]:
    """Serve a page of somebody else's."""

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()
