"""Whatever somebody manages to have stored is shown as text, and never runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiohttp import web

from relay.sandbox.model import Venue
from tests.e2e.pages import BRAND, House, house, says, sign_in, sign_out
from tests.integration.relays import Call

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

EVIL: Final = '"><script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'
SHORT: Final = '"><script>alert(1)</script>'
TURNING: Final = "abc\u202edef"
STAYS: Final = ("/ui/sign-out", "/ui/static")


async def answer(_call: Call) -> web.StreamResponse:
    return web.Response(status=400, text=EVIL, headers={"x-odd": SHORT})


async def fill(up: House) -> None:
    """Put it everywhere."""
    world = up.sandbox.world
    world.add_venue(BRAND, Venue(id=3, name=EVIL))
    await up.look()
    await up.subscribe(
        EVIL[:250],
        description=EVIL[:250],
        partner=SHORT,
        url=f"{up.partner.url}?{SHORT}",
        headers={"x-tenant": SHORT},
        retry_schedule="10ms",
        brands=[BRAND],
        include_raw=True,
    )
    placed = world.place(
        BRAND,
        3,
        integration=EVIL,
        integration_id=EVIL,
        integration_status=EVIL,
        type=EVIL,
        payload={
            "customer": {"id": 5, "name": EVIL, "phone": EVIL, "address": EVIL},
            "customer_ref_id": EVIL,
            "service": {"sale_type_id": 2, "venue_id": 3},
            "delivery_fee": 1,
            "meta": {"comment": EVIL, "discount": {"discount_type": EVIL, "discount_value": 5}},
            "products": [
                {
                    "product_id": 51,
                    "count": 1,
                    "note": EVIL,
                    "status": EVIL,
                    "portion_size": 2,
                    "meta": {"name": EVIL, "price": 1},
                    "product_modificators": [{"modificator_id": 1, "name": EVIL, "count": 1, "price": 1}],
                }
            ],
        },
    )
    await up.events(1, type="order.created")
    world.set_status(placed, SHORT)
    world.put_station(BRAND, 1, 9, name=TURNING)
    await up.events(1, type="order.status_changed")
    unreadable = world.place(BRAND, 3)
    world.write_raw(unreadable, '{"id": "' + SHORT.replace('"', '\\"') + '", "status": "PENDING"}')


async def crawl(page: Page, up: House) -> dict[str, str]:
    """Every page that a link leads to, and its text."""
    found: dict[str, str] = {}
    waiting = [f"{up.url}/ui"]
    while waiting and len(found) < 40:
        url = waiting.pop(0)
        if url in found:
            continue
        await page.goto(url)
        for part in await page.locator("details").all():
            await part.evaluate("each => { each.open = true }")
        found[url] = await page.locator("body").inner_text()
        assert "owned" not in await page.title() or "script" in await page.title(), url
        intruders = 'script:not([src]), img:not([src^="/ui/static/"]), [onerror], [onload], [style]'
        assert await page.locator(intruders).count() == 0, url
        hrefs: list[str] = await page.eval_on_selector_all("a[href]", "all => all.map(each => each.href)")
        for href in hrefs:
            plain = re.sub(r"#.*", "", href)
            if plain.startswith(f"{up.url}/ui") and "cursor=" not in plain:
                waiting.append(plain)
    return found


async def test_stored_text_is_text_on_every_page_and_runs_on_none(redis_url: str, browser: Browser) -> None:
    async with house(redis_url, answer=answer) as up:
        await fill(up)
        made = await up.key("partner", partner=SHORT, brands=[BRAND])
        await up.key("viewer")
        await up.partner.got(2)
        context = await browser.new_context()
        ran: list[str] = []
        page = await context.new_page()
        page.on("dialog", lambda dialog: ran.append(dialog.message))
        page.on("console", lambda said: ran.append(said.text) if "Content Security Policy" in said.text else None)
        await sign_in(page, up.url)
        seen = await crawl(page, up)
        assert ran == []
        for kind in ("events/evt_", "subscriptions/sub_", "deliveries/dlv_", "brands/openapitest"):
            assert any(f"/ui/{kind}" in url and SHORT[:10] in text for url, text in seen.items()), (kind, list(seen))
        assert any("/ui/audit" in url for url in seen)
        await reveal(page, up)
        await sign_out(page, up.url)
        await sign_in(page, up.url, made["key"])
        assert SHORT in await page.locator("header").inner_text()
        assert (await crawl(page, up)).keys()
        assert ran == []
        await context.close()


async def reveal(page: Page, up: House) -> None:
    (event,) = await up.events(1, type="order.created")
    await page.goto(f"{up.url}/ui/events/{event['id']}")
    assert EVIL not in await page.get_by_role("region", name="Customer").inner_text()
    await page.get_by_role("button", name="Show who ordered").click()
    await says(page.get_by_role("region", name="Customer"), EVIL)
    assert await page.locator("main script, main img").count() == 0


async def test_what_comes_with_an_address_is_text_too(redis_url: str, browser: Browser) -> None:
    async with house(redis_url, works=False) as up:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"{up.url}/ui/sign-in?next={EVIL}")
        assert await page.locator("form script, form img").count() == 0
        await sign_in(page, up.url)
        queries = ("events?subject=", "events?type=", "deliveries?event=", "dead?subscription=", "audit?cursor=")
        for query in (*queries, "nowhere/", "brands/", "subscriptions/", "events/evt_"):
            await page.goto(f"{up.url}/ui/{query}{EVIL}")
            assert await page.locator("main script, main img").count() == 0, query
            assert "owned" not in await page.title()
        await context.close()
