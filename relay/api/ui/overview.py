"""The overview: is everything well?"""

import asyncio

from starlette.responses import Response

from relay.api.ui import gathering
from relay.api.ui.health import findings
from relay.api.ui.overview_view import overview
from relay.api.ui.visits import Visit


async def show(visit: Visit) -> Response:
    """Answer at a glance, and go on answering while the page is open."""
    brands, subscriptions, machinery = await asyncio.gather(
        gathering.brands(visit), gathering.subscriptions(visit), gathering.machinery(visit)
    )
    slots, errors = await asyncio.gather(
        gathering.slots(visit, [each["id"] for each in subscriptions]), gathering.last_errors(visit, subscriptions)
    )
    now_ms = visit.services.now_ms()
    found = findings(
        brands=brands,
        subscriptions=subscriptions,
        errors=errors,
        machinery=machinery,
        now_ms=now_ms,
    )
    view = overview(
        brands=brands,
        subscriptions=subscriptions,
        found=found,
        slots=slots,
        now_ms=now_ms,
        partner=visit.is_partner,
    )
    return visit.show("overview.html", part="_overview.html", view=view, machinery=machinery)
