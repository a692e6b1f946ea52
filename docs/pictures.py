"""What does the page look like?  Takes the pictures of the README, of a relay that looks at the stand-in for Clopos.

    python docs/pictures.py

Needs chromium, and the dependency group ui. Do it again when the page has changed. The orders are the stand-in's; the
past in the charts is made up.
"""
# ruff: noqa: INP001  a script, not a package

from __future__ import annotations

import asyncio
import math
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from aiohttp import web

from relay.store import keys
from relay.store.lane_states import STAT_SLOT_MS
from tests.conftest import RedisServer
from tests.e2e.pages import BRAND, House, chromium, house, sign_in

if TYPE_CHECKING:
    from tests.integration.relays import Call

IMAGES: Final = Path(__file__).parent / "images"
ORDERS: Final = 24
SLOTS: Final = 24  # of five minutes: two hours


async def _answer(call: Call) -> web.StreamResponse:
    return web.Response(status=int(call.headers.get("x-answer", "204")))


async def _furnish(up: House) -> dict[str, dict[str, Any]]:
    """Partners of every kind, and what is told to them."""
    made = {
        "courier": await up.subscribe(
            description="Rides for all venues; takes no phone numbers.",
            redact=["customer.phone"],
            event_types=["order.*"],
        ),
        "kitchen screen": await up.subscribe("kitchen screen", url=None, event_types=["order.created", "station.*"]),
        "accounting": await up.subscribe("accounting", event_types=["order.status_changed"]),
        "loyalty": await up.subscribe(
            "loyalty", headers={"x-answer": "404"}, retry_schedule="10ms", event_types=["order.created"]
        ),
    }
    await up.look()
    for number in range(ORDERS):
        placed = up.sandbox.world.place(BRAND, 1 + number % 2)
        await up.events(1, subject=f"order/{placed.id}")
        if number % 3:
            up.sandbox.world.accept(placed)
            await up.events(2, subject=f"order/{placed.id}")
        if number % 3 == 2:  # noqa: PLR2004  a third of them
            up.sandbox.world.deliver(placed)
            await up.events(3, subject=f"order/{placed.id}")
    await up.until_dead(made["loyalty"], 3)
    return made


async def _make_up_a_past(up: House, names: list[str]) -> None:
    """Give the charts two hours of attempts."""
    redis: Any = up.relay.redis
    draw = random.Random(7)  # noqa: S311  what it draws is a picture
    present = int(time.time() * 1000) // STAT_SLOT_MS
    for name in names:
        for back in range(1, SLOTS):
            busy = round(60 + 40 * math.sin(back / 4) + draw.random() * 10)
            failed = draw.choice([0, 0, 0, 1, 2])
            await redis.hset(f"{keys.lane(name)}:stat:{present - back}", mapping={"ok": busy, "failed": failed})


async def main() -> None:
    """Take them."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            async with house(server.url, answer=_answer) as up, chromium() as browser:
                made = await _furnish(up)
                await _make_up_a_past(up, [made[name]["id"] for name in ("courier", "accounting")])
                (event, *_) = await up.events(1, type="order.status_changed")
                context = await browser.new_context(viewport={"width": 1180, "height": 1180}, color_scheme="light")
                page = await context.new_page()
                await sign_in(page, up.url)
                for name, path in {
                    "overview": "",
                    "subscription": f"/subscriptions/{made['courier']['id']}",
                    "event": f"/events/{event['id']}",
                }.items():
                    await page.goto(f"{up.url}/ui{path}")
                    await page.screenshot(path=IMAGES / f"{name}.png")
                await context.close()
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(main())
