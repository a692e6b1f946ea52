"""The page is without a finding of axe, light and dark, wide and on a small telephone, and goes on by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
from aiohttp import web

from tests.e2e.pages import BRAND, House, counts, house, sign_in
from tests.integration.relays import Call

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, ViewportSize

STICKS_OUT_PX: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SMALL: Final = {"width": 320, "height": 640}
WIDE: Final = {"width": 1280, "height": 900}


async def furnish(up: House) -> list[str]:
    """Let something of every kind happen; the pages that show it."""
    made = await up.subscribe(retry_schedule="10ms", event_types=["order.created"], redact=["customer.phone"])
    await up.subscribe("kitchen screen", url=None)
    paused = await up.subscribe("a rather long name of somebody who reports-without-any-space-in-it-at-all")
    await up.call("POST", f"/v1/subscriptions/{paused['id']}/pause")
    await up.look()
    for _ in range(3):
        up.sandbox.world.place(BRAND, 1)
    await up.until_dead(made, 3)
    (event, *_) = await up.events(1, type="order.created")
    (delivery, *_) = (await up.call("GET", f"/v1/deliveries?subscription={made['id']}"))["data"]
    replay = await up.call("POST", f"/v1/subscriptions/{made['id']}/replay", status="delivered")
    return [
        "",
        "/brands",
        f"/brands/{BRAND}",
        "/subscriptions",
        f"/subscriptions/{made['id']}",
        "/events",
        "/events?type=nonsense",
        f"/events/{event['id']}",
        "/deliveries",
        f"/deliveries/{delivery['id']}",
        "/dead",
        f"/replays/{replay['replay_id']}",
        "/audit",
        "/nowhere",
    ]


async def refuse(_call: Call) -> web.StreamResponse:
    return web.Response(status=500, text="out of order")


async def findings(page: Page) -> list[Any]:
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="needs the dependency group ui")
    results = await axe.Axe().run(page)
    return [
        (each["id"], each["help"], [node["target"] for node in each["nodes"]])
        for each in results.response["violations"]
    ]


@pytest.mark.parametrize(
    ("scheme", "size"),
    [("light", WIDE), ("dark", WIDE), ("light", SMALL), ("dark", SMALL)],
    ids=["light and wide", "dark and wide", "light and small", "dark and small"],
)
async def test_axe_finds_nothing_and_nothing_sticks_out(
    redis_url: str, browser: Browser, scheme: Literal["light", "dark"], size: ViewportSize
) -> None:
    async with house(redis_url, answer=refuse) as up:
        paths = await furnish(up)
        context = await browser.new_context(color_scheme=scheme, viewport=size)
        page = await context.new_page()
        await page.goto(f"{up.url}/ui/sign-in")
        assert await findings(page) == []
        await sign_in(page, up.url)
        for path in paths:
            await page.goto(f"{up.url}/ui{path}")
            for part in await page.locator("details").all():
                await part.evaluate("each => { each.open = true }")
            assert await findings(page) == [], path
            assert await page.evaluate(STICKS_OUT_PX) == 0, path
        await context.close()


async def test_new_events_appear_by_themselves_and_hold_still_when_asked(redis_url: str, browser: Browser) -> None:
    async with house(redis_url) as up:
        await up.look()
        context = await browser.new_context()
        page = await context.new_page()
        await sign_in(page, up.url)
        await page.get_by_role("link", name="Events", exact=True).click()
        placed = up.sandbox.world.place(BRAND, 1)
        first = page.get_by_role("link", name=f"Order {placed.id} placed")
        await first.wait_for()
        await first.focus()
        up.sandbox.world.accept(placed)
        await page.get_by_role("link", name=f"Order {placed.id} accepted").wait_for()
        assert await first.evaluate("each => each === document.activeElement")  # the keyboard is where it was
        await page.get_by_role("link", name="Hold still").click()
        await counts(page.locator("#part[hx-get]"), 0)
        await context.close()


async def test_the_page_says_when_the_relay_is_away_and_when_it_is_back(redis_url: str, browser: Browser) -> None:
    async with house(redis_url, works=False) as up:
        context = await browser.new_context()
        page = await context.new_page()
        await sign_in(page, up.url)
        note = page.get_by_text("The relay does not answer")
        assert await note.is_hidden()
        await context.set_offline(offline=True)
        await note.wait_for()
        await context.set_offline(offline=False)
        await note.wait_for(state="hidden")
        await context.close()


async def test_everything_can_be_reached_with_the_keyboard(redis_url: str, browser: Browser) -> None:
    async with house(redis_url, works=False) as up:
        await up.subscribe()
        context = await browser.new_context()
        page = await context.new_page()
        await sign_in(page, up.url)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
        await page.keyboard.press("Enter")
        await counts(page.locator("#main:focus"), 1)
        await page.get_by_role("link", name="Subscriptions").focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="courier").focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Pause").focus()
        await page.keyboard.press("Enter")
        await counts(page.locator("#notice:focus"), 1)
        await context.close()
