"""The main paths through the page, clicked in a real browser, with JavaScript and without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from relay.core import signing
from tests.e2e.pages import House, house, sign_in
from tests.integration.relays import Call

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])


@asynccontextmanager
async def visitor(browser: Browser, up: House, *, script: bool) -> AsyncIterator[Page]:
    context = await browser.new_context(java_script_enabled=script)
    page = await context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    await sign_in(page, up.url)
    yield page
    assert wrong == []
    await context.close()


async def heading(page: Page) -> str:
    return await page.get_by_role("heading", level=1).inner_text()


async def test_all_is_well_at_a_glance_and_a_brand_is_looked_at_now(
    redis_url: str, browser: Browser, *, script: bool
) -> None:
    async with house(redis_url) as up, visitor(browser, up, script=script) as page:
        assert await heading(page) == "Nothing is set up yet"
        await up.subscribe()
        await up.look()
        up.sandbox.world.accept(up.sandbox.world.place("openapitest", 1))
        await up.partner.got(1)
        await page.get_by_role("link", name="Overview").click()
        assert await heading(page) == "Everything is well"
        assert "1 brand is looked at" in await page.locator(".verdict").inner_text()
        await page.get_by_role("navigation", name="Main").get_by_role("link", name="Brands").click()
        await page.get_by_role("link", name="openapitest").click()
        assert await heading(page) == "openapitest"
        assert await page.get_by_role("table").get_by_role("row").count() == 3
        await page.get_by_role("button", name="Look now").click()
        assert "A look was asked for" in await page.locator("#notice").inner_text()
        entries = (await up.call("GET", "/v1/audit"))["data"]
        assert [(entry["action"], entry["address"]) for entry in entries[:1]] == [("brand.poll", "127.0.0.1")]


async def test_a_subscription_is_tested_paused_resumed_and_given_another_secret(
    redis_url: str, browser: Browser, *, script: bool
) -> None:
    async def busy(_call: Call) -> web.StreamResponse:
        return web.Response(status=503, text="come back later")

    async with house(redis_url, answer=busy) as up, visitor(browser, up, script=script) as page:
        made = await up.subscribe()
        await page.get_by_role("link", name="Subscriptions").click()
        await page.get_by_role("link", name="courier").click()
        await page.get_by_role("button", name="Send a test").click()
        told = page.locator("#notice")
        assert "The test was not taken." in await told.inner_text()
        assert "503" in await told.inner_text()
        assert await told.locator("pre").inner_text() == "come back later"
        await page.reload()
        assert await told.count() == 0

        await page.get_by_role("button", name="Pause").click()
        assert (await up.state(made))["status"] == "paused"
        await page.get_by_role("button", name="Resume").click()
        assert (await up.state(made))["status"] == "active"

        await page.get_by_label("The old one goes on signing").select_option("0s")
        await page.get_by_role("button", name="Make a new secret").click()
        secret = await page.get_by_label("New secret").input_value()
        assert secret != made["secret"]
        await page.get_by_role("button", name="Send a test").click()
        (*_, call) = await up.partner.got(2)
        timestamp_s = int(call.headers["webhook-timestamp"])
        assert call.headers["webhook-signature"] == signing.sign(
            [signing.parse_signing_key(secret)], webhook_id=call.id, timestamp_s=timestamp_s, body=call.body
        )
        await page.go_back()
        assert secret not in await page.content()


async def test_what_was_told_is_told_again_from_a_form_that_says_what_is_wrong_with_it(
    redis_url: str, browser: Browser, *, script: bool
) -> None:
    async with house(redis_url) as up, visitor(browser, up, script=script) as page:
        made = await up.subscribe()
        await up.look()
        for _ in range(3):
            up.sandbox.world.place("openapitest", 1)
        await up.partner.got(3)
        await page.goto(f"{up.url}/ui/subscriptions/{made['id']}")
        await page.get_by_label("From (UTC)").fill("2031-01-01T00:00")
        await page.get_by_label("Only these events, by id").fill("nonsense")
        await page.get_by_role("button", name="Begin the replay").click()
        assert await page.get_by_label("Only these events, by id").input_value() == "nonsense"
        assert await page.get_by_label("Only these events, by id").get_attribute("aria-invalid") == "true"
        assert "Each must be the id of an event" in await page.locator("#fault-event_ids").inner_text()

        await page.get_by_label("From (UTC)").fill("")
        await page.get_by_label("Only these events, by id").fill("")
        await page.get_by_label("Which deliveries").select_option("all")
        await page.get_by_role("button", name="Begin the replay").click()
        assert await heading(page) == "Replay to courier"
        assert "3 of 3 deliveries are queued" in await page.locator("#part").inner_text()
        calls = await up.partner.got(6)
        assert [call.id for call in calls[3:]] == [call.id for call in calls[:3]]


async def test_an_order_is_read_its_customer_asked_for_and_its_past_followed(
    redis_url: str, browser: Browser, *, script: bool
) -> None:
    async with house(redis_url) as up, visitor(browser, up, script=script) as page:
        await up.subscribe(redact=["customer.phone"])
        await up.look()
        world = up.sandbox.world
        placed = world.place("openapitest", 1)
        world.edit(placed, merge={"customer": {"name": "Aysel Example", "phone": "+994550000000"}})
        await up.events(1)
        world.accept(placed)
        await up.events(2)
        world.deliver(placed)
        await up.events(3)
        await up.partner.got(3)

        await page.get_by_role("link", name="Events", exact=True).click()
        await page.get_by_label("Type").select_option("order.status_changed")
        await page.get_by_role("button", name="Filter").click()
        await page.get_by_role("link", name=f"Order {placed.id} accepted").click()
        assert await heading(page) == f"Order {placed.id} accepted"
        history = page.get_by_role("region", name=f"History of order/{placed.id}").get_by_role("listitem")
        assert [(await row.inner_text()).split()[0] for row in await history.all()] == [
            "pending",
            "accepted",
            "delivered",
        ]
        assert (
            "200" in await page.get_by_role("region", name="Deliveries").inner_text() or "204" in await page.content()
        )
        assert "Aysel" not in await page.content()
        await page.get_by_role("button", name="Show who ordered").click()
        customer = page.get_by_role("region", name="Customer")
        assert "Aysel Example" in await customer.inner_text()
        assert "+994550000000" in await customer.inner_text()
        await page.reload()
        assert "Aysel" not in await page.content()
        (entry,) = [e for e in (await up.call("GET", "/v1/audit"))["data"] if e["action"] == "customer.reveal"]
        assert entry["target"].startswith("event/evt_")

        await page.get_by_role("region", name="Deliveries").get_by_role("link", name="courier").click()
        body = await page.get_by_label("Body of the request").inner_text()
        assert '"status": "accepted"' in body
        assert "Aysel" not in body
        await page.get_by_role("button", name="Show who ordered").click()
        body = await page.get_by_label("Body of the request").inner_text()
        assert "Aysel Example" in body
        assert "+994550000000" not in body  # it was not sent
        await page.get_by_role("button", name="Deliver once more").click()
        await up.partner.got(4)


async def test_the_dead_are_retried_one_some_or_all(redis_url: str, browser: Browser, *, script: bool) -> None:
    says = {"status": 500}

    async def answer(_call: Call) -> web.StreamResponse:
        return web.Response(status=says["status"], text="out of order")

    async with house(redis_url, answer=answer) as up, visitor(browser, up, script=script) as page:
        made = await up.subscribe(retry_schedule="10ms", event_types=["order.created"])
        await up.look()
        for _ in range(4):  # a fifth subject that fails would open the circuit
            up.sandbox.world.place("openapitest", 1)
        await up.until_dead(made, 4)
        says["status"] = 204

        await page.get_by_role("link", name="Overview").click()
        assert "4 deliveries were given up" in await page.get_by_role("main").inner_text()
        assert "Answered 500." in await page.get_by_role("main").inner_text()
        await page.get_by_role("link", name="Retry them").click()
        assert await page.get_by_role("row").count() == 5

        await page.get_by_role("button", name="Retry those ticked").click()
        assert "Nothing was ticked" in await page.locator("#notice").inner_text()
        for box in (await page.locator('input[name="id"]').all())[:2]:
            await box.check()
        await page.get_by_role("button", name="Retry those ticked").click()
        assert "2 deliveries are pending again." in await page.locator("#notice").inner_text()
        await up.until_dead_is(made, 2)

        await page.goto(f"{up.url}/ui/dead")
        await page.get_by_role("table").get_by_role("link", name="order/").first.click()
        assert "out of order" in await page.content()
        await page.get_by_role("button", name="Deliver once more").click()
        await up.until_dead_is(made, 1)

        await page.goto(f"{up.url}/ui/dead")
        await page.get_by_role("button", name="Retry all 1").click()
        assert "1 delivery is being queued again." in await page.locator("#notice").inner_text()
        await up.until_dead_is(made, 0)
        await page.get_by_role("link", name="Audit log").click()
        assert "delivery.retry" in await page.get_by_role("table").inner_text()
        assert "subscription.replay" in await page.get_by_role("table").inner_text()


async def test_signing_out_is_the_end_of_the_session_and_not_of_the_browser_alone(
    redis_url: str, browser: Browser, *, script: bool
) -> None:
    async with house(redis_url, works=False) as up, visitor(browser, up, script=script) as page:
        (cookie,) = await page.context.cookies(f"{up.url}/ui")
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        await page.get_by_role("button", name="Sign out").click()
        assert page.url == f"{up.url}/ui/sign-in"
        await page.context.add_cookies([{**cookie}])  # type: ignore[typeddict-item]  # what was given, given back
        await page.goto(f"{up.url}/ui/audit")
        assert page.url == f"{up.url}/ui/sign-in?next=%2Fui%2Faudit"
        await page.get_by_label("Admin token or API key").fill("wrong")
        await page.context.clear_cookies(name="nothing")
        await sign_in(page, up.url)
        await page.goto(f"{up.url}/ui/sign-in?next=%2Fui%2Faudit")
        assert page.url == f"{up.url}/ui/audit"
