"""The main paths through the page, clicked in a real browser, with JavaScript and without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from relay.core import signing
from tests.e2e.pages import House, counts, house, is_headed, says, sign_in, sign_out
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


async def test_all_is_well_at_a_glance_and_a_brand_is_looked_at_now(
    redis_url: str, browser: Browser, *, script: bool
) -> None:
    async with house(redis_url) as up, visitor(browser, up, script=script) as page:
        await is_headed(page, "Nothing is set up yet")
        await up.subscribe()
        await up.look()
        up.sandbox.world.accept(up.sandbox.world.place("openapitest", 1))
        await up.partner.got(1)
        await page.get_by_role("link", name="Overview").click()
        await is_headed(page, "Everything is well")
        await says(page.locator(".verdict"), "1 brand is looked at")
        await page.get_by_role("navigation", name="Main").get_by_role("link", name="Brands").click()
        await page.get_by_role("link", name="openapitest").click()
        await is_headed(page, "openapitest")
        await counts(page.get_by_role("table").get_by_role("row"), 3)
        await page.get_by_role("button", name="Look now").click()
        await says(page.locator("#notice"), "A look was asked for")
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
        await says(told, "The test was not taken.", "503")
        assert await told.locator("pre").inner_text() == "come back later"
        await page.reload()
        await counts(told, 0)

        await page.get_by_role("button", name="Pause").click()
        await page.get_by_role("button", name="Resume").wait_for()
        assert (await up.state(made))["status"] == "paused"
        await page.get_by_role("button", name="Resume").click()
        await page.get_by_role("button", name="Pause").wait_for()
        assert (await up.state(made))["status"] == "active"

        await page.get_by_label("The old one goes on signing").select_option("0s")
        await page.get_by_role("button", name="Make a new secret").click()
        secret = await page.get_by_label("New secret").input_value()
        assert secret != made["secret"]
        await page.get_by_role("button", name="Send a test").click()
        await says(told, "The test was not taken.")
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
        await says(page.locator("#fault-event_ids"), "Each must be the id of an event")
        assert await page.get_by_label("Only these events, by id").input_value() == "nonsense"
        assert await page.get_by_label("Only these events, by id").get_attribute("aria-invalid") == "true"

        await page.get_by_label("From (UTC)").fill("")
        await page.get_by_label("Only these events, by id").fill("")
        await page.get_by_label("Which deliveries").select_option("all")
        await page.get_by_role("button", name="Begin the replay").click()
        await is_headed(page, "Replay to courier")
        await says(page.locator("#part"), "3 of 3 deliveries are queued")
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
        await up.until_settled()

        await page.get_by_role("link", name="Events", exact=True).click()
        await page.get_by_label("Type").select_option("order.status_changed")
        await page.get_by_role("button", name="Filter").click()
        await page.get_by_role("link", name=f"Order {placed.id} accepted").click()
        await is_headed(page, f"Order {placed.id} accepted")
        history = page.get_by_role("region", name=f"History of order/{placed.id}").get_by_role("listitem")
        assert [(await row.inner_text()).split()[0] for row in await history.all()] == [
            "pending",
            "accepted",
            "delivered",
        ]
        await says(page.get_by_role("region", name="Deliveries"), "204")
        assert "Aysel" not in await page.content()
        await page.get_by_role("button", name="Show who ordered").click()
        customer = page.get_by_role("region", name="Customer")
        await says(customer, "Aysel Example", "+994550000000")
        await page.reload()
        assert "Aysel" not in await page.content()
        (entry,) = [e for e in (await up.call("GET", "/v1/audit"))["data"] if e["action"] == "customer.reveal"]
        assert entry["target"].startswith("event/evt_")

        await page.get_by_role("region", name="Deliveries").get_by_role("link", name="courier").click()
        body = page.get_by_label("Body of the request")
        await says(body, '"status": "accepted"')
        assert "Aysel" not in await body.inner_text()
        await page.get_by_role("button", name="Show who ordered").click()
        await says(body, "Aysel Example")
        assert "+994550000000" not in await body.inner_text()  # it was not sent
        await page.get_by_role("button", name="Deliver once more").click()
        await up.partner.got(4)


async def test_the_dead_are_retried_one_some_or_all(redis_url: str, browser: Browser, *, script: bool) -> None:
    answers = {"status": 500}

    async def answer(_call: Call) -> web.StreamResponse:
        return web.Response(status=answers["status"], text="out of order")

    async with house(redis_url, answer=answer) as up, visitor(browser, up, script=script) as page:
        made = await up.subscribe(retry_schedule="10ms", event_types=["order.created"])
        await up.look()
        for _ in range(4):  # a fifth subject that fails would open the circuit
            up.sandbox.world.place("openapitest", 1)
        await up.until_dead(made, 4)
        answers["status"] = 204

        await page.get_by_role("link", name="Overview").click()
        await says(page.get_by_role("main"), "4 deliveries were given up", "Answered 500.")
        await page.get_by_role("link", name="Retry them").click()
        await counts(page.get_by_role("row"), 5)

        await page.get_by_role("button", name="Retry those ticked").click()
        await says(page.locator("#notice"), "Nothing was ticked")
        for box in (await page.locator('input[name="id"]').all())[:2]:
            await box.check()
        await page.get_by_role("button", name="Retry those ticked").click()
        await says(page.locator("#notice"), "2 deliveries are pending again.")
        await up.until_dead_is(made, 2)

        await page.goto(f"{up.url}/ui/dead")
        await page.get_by_role("table").get_by_role("link", name="order/").first.click()
        await says(page.get_by_role("main"), "out of order")
        await page.get_by_role("button", name="Deliver once more").click()
        await page.locator("#notice").wait_for()
        await up.until_dead_is(made, 1)

        await page.goto(f"{up.url}/ui/dead")
        await page.get_by_role("button", name="Retry all 1").click()
        await says(page.locator("#notice"), "1 delivery is being queued again.")
        await up.until_dead_is(made, 0)
        await page.get_by_role("link", name="Audit log").click()
        await says(page.get_by_role("table"), "delivery.retry", "subscription.replay")


async def test_signing_out_is_the_end_of_the_session_and_not_of_the_browser_alone(
    redis_url: str, browser: Browser, *, script: bool
) -> None:
    async with house(redis_url, works=False) as up, visitor(browser, up, script=script) as page:
        (cookie,) = await page.context.cookies(f"{up.url}/ui")
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        await sign_out(page, up.url)
        await page.context.add_cookies([{**cookie}])  # type: ignore[typeddict-item]  # what was given, given back
        await page.goto(f"{up.url}/ui/audit")
        assert page.url == f"{up.url}/ui/sign-in?next=%2Fui%2Faudit"
        await page.get_by_label("Admin token or API key").fill("wrong")
        await page.context.clear_cookies(name="nothing")
        await sign_in(page, up.url)
        await page.goto(f"{up.url}/ui/sign-in?next=%2Fui%2Faudit")
        assert page.url == f"{up.url}/ui/audit"
