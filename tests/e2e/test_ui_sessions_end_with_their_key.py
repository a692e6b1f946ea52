"""Who is signed in stays so only as long as the key that they signed in with is valid, and sees what it reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2 as httpx

from tests.e2e.pages import BRAND, counts, house, is_headed, sign_in
from tests.e2e.test_ui_refuses_what_is_not_its_own import signed_in

if TYPE_CHECKING:
    from playwright.async_api import Browser


async def test_a_revoked_key_ends_its_sessions_at_once(redis_url: str, browser: Browser) -> None:
    async with house(redis_url, works=False) as up:
        key = await up.key("viewer")
        context = await browser.new_context()
        page = await context.new_page()
        await sign_in(page, up.url, key["key"])
        await page.get_by_role("link", name="Audit log").click()
        await page.goto(f"{up.url}/ui")
        await up.call("DELETE", f"/v1/api-keys/{key['id']}")
        await page.wait_for_url(f"{up.url}/ui/sign-in")  # by itself: the page asks every five seconds
        await page.goto(f"{up.url}/ui/audit")
        assert "/ui/sign-in" in page.url
        await context.close()


async def test_another_admin_token_ends_the_sessions_of_the_one_before(redis_url: str) -> None:
    async with house(redis_url, works=False) as up:
        async with httpx.AsyncClient(base_url=up.url) as client:
            await signed_in(client, up.url)
            cookie = client.cookies["relay_session"]
        keys = up.relay.settings.secret_keys
        token = "another-token-of-the-tests-0123"
        async with house(redis_url, works=False, admin_token=token, secret_keys=keys) as after:
            answer = await after.api.get("/ui", headers={"cookie": f"relay_session={cookie}"})
            assert answer.status_code == 303


async def test_a_viewer_sees_all_and_is_offered_nothing_to_change(redis_url: str, browser: Browser) -> None:
    async with house(redis_url, works=False) as up:
        made = await up.subscribe()
        key = await up.key("viewer")
        context = await browser.new_context()
        page = await context.new_page()
        await sign_in(page, up.url, key["key"])
        await page.goto(f"{up.url}/ui/subscriptions/{made['id']}")
        assert await page.get_by_role("button").all_inner_texts() == ["Sign out"]
        await context.close()
        async with httpx.AsyncClient(base_url=up.url) as client:
            csrf = await signed_in(client, up.url, key["key"])
            path = f"/ui/subscriptions/{made['id']}/pause"
            answer = await client.post(path, data={"csrf": csrf}, headers={"origin": up.url})
            assert answer.status_code == 303  # to the page, which tells that it was refused
            assert "does not reach this route" in (await client.get(answer.headers["location"])).text
            assert (await up.state(made))["status"] == "active"


async def test_a_partner_sees_its_own_and_nothing_else(redis_url: str, browser: Browser) -> None:
    async with house(redis_url) as up:
        await up.look()
        mine = await up.subscribe("mine", partner="courier", brands=[BRAND])
        theirs = await up.subscribe("theirs", partner="other", brands=[BRAND])
        key = await up.key("partner", partner="courier", brands=[BRAND])
        up.sandbox.world.place(BRAND, 1)
        await up.partner.got(2)
        context = await browser.new_context()
        page = await context.new_page()
        await sign_in(page, up.url, key["key"])
        menu = page.get_by_role("navigation", name="Main")
        assert await menu.get_by_role("link").all_inner_texts() == ["Overview", "Subscriptions", "Deliveries", "Dead"]
        assert "theirs" not in await page.content()
        assert BRAND not in await page.content()
        await menu.get_by_role("link", name="Deliveries").click()
        await counts(page.get_by_role("row"), 2)
        await page.get_by_role("table").get_by_role("link", name="order/").click()
        assert '"order.created"' in await page.get_by_label("Body of the request").inner_text()
        await page.goto(f"{up.url}/ui/subscriptions/{mine['id']}")
        await page.get_by_label("Which deliveries").select_option("all")
        await page.get_by_role("button", name="Begin the replay").click()
        await is_headed(page, "Replay to mine")
        (delivery,) = (await up.call("GET", f"/v1/deliveries?subscription={theirs['id']}"))["data"]
        for path, status in (
            (f"subscriptions/{theirs['id']}", 404),
            (f"deliveries/{delivery['id']}", 404),
            (f"dead?subscription={theirs['id']}", 200),
            ("brands", 403),
            (f"brands/{BRAND}", 403),
            ("events", 403),
            ("audit", 403),
        ):
            answer = await page.goto(f"{up.url}/ui/{path}")
            assert answer is not None
            assert answer.status == status, path
            assert "theirs" not in await page.locator("main").inner_text()
        await context.close()
