"""Brands: how each is doing, venue by venue; and a look now."""

from starlette.responses import Response

from relay.api.ui import gathering
from relay.api.ui.forms import Form
from relay.api.ui.health import oldest_look_s
from relay.api.ui.sessions import Notice
from relay.api.ui.statuses import Level
from relay.api.ui.visits import Visit


async def show_all(visit: Visit) -> Response:
    """Every brand."""
    found = await visit.ask("list_brands", query=_paging(visit))
    now_ms = visit.services.now_ms()
    ages = {brand["brand"]: oldest_look_s(brand, now_ms) for brand in found["data"]}
    return visit.show(
        "brands.html", part="_brands.html", brands=found["data"], ages=ages, next_cursor=found["next_cursor"]
    )


async def show_one(visit: Visit) -> Response:
    """One brand."""
    brand = await visit.ask("get_brand", path={"brand": visit.path("brand")})
    subscriptions = [each for each in await gathering.subscriptions(visit) if _wants(each, brand["brand"])]
    return visit.show("brand.html", part="_brand.html", brand=brand, subscriptions=subscriptions)


async def poll(visit: Visit, _form: Form) -> Response:
    """Look now."""
    name = visit.path("brand")
    return await visit.attempt(
        f"/ui/brands/{name}",
        visit.ask("poll_brand", path={"brand": name}),
        lambda _: Notice(
            level=Level.OK, text="A look was asked for: it begins as soon as a worker is free and the quota has room."
        ),
    )


def _wants(subscription: dict[str, list[str] | None], brand: str) -> bool:
    brands = subscription["brands"]
    return brands is None or brand in brands


def _paging(visit: Visit) -> dict[str, str]:
    cursor = visit.param("cursor")
    return {"cursor": cursor} if cursor else {}
