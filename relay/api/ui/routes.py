"""Which pages are there, and what can be done on them?"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.api.operations import Operation
from relay.api.services import Services
from relay.api.trail import Trail
from relay.api.ui import (
    audit,
    brands,
    dead,
    deliveries,
    events,
    overview,
    replays,
    sign_in,
    static_files,
    subscriptions,
)
from relay.api.ui.calls import Operations
from relay.api.ui.own_operations import OWN
from relay.api.ui.rendering import PREFIX
from relay.api.ui.sessions import Sessions
from relay.api.ui.visits import SIGN_IN, Act, Show, Site, acting, problem_page, shown


def routes(services: Services, operations: Sequence[Operation], trail: Trail) -> list[BaseRoute]:
    """Every route of the page.

    Args:
        services: what the API works with.
        operations: what the API can do: a page does nothing else.
        trail: writes the audit log.
    """
    site = Site(services, Operations.of(services, (*operations, *OWN), trail), Sessions(services))

    def get(path: str, show: Show) -> Route:
        return Route(f"{PREFIX}{path}", shown(site, show), methods=["GET"])

    def post(path: str, act: Act) -> Route:
        return Route(f"{PREFIX}{path}", acting(site, act), methods=["POST"])

    return [
        get("", overview.show),
        get("/brands", brands.show_all),
        get("/brands/{brand}", brands.show_one),
        post("/brands/{brand}/poll", brands.poll),
        get("/subscriptions", subscriptions.show_all),
        get("/subscriptions/{id}", subscriptions.show_one),
        post("/subscriptions/{id}/test", subscriptions.test),
        post("/subscriptions/{id}/pause", subscriptions.pause),
        post("/subscriptions/{id}/resume", subscriptions.resume),
        post("/subscriptions/{id}/rotate-secret", subscriptions.rotate),
        post("/subscriptions/{id}/replay", subscriptions.replay),
        get("/replays/{id}", replays.show),
        post("/replays/{id}/stop", replays.stop),
        get("/events", events.show_all),
        get("/events/{id}", events.show_one),
        post("/events/{id}/reveal", events.reveal),
        get("/deliveries", deliveries.show_all),
        get("/deliveries/{id}", deliveries.show_one),
        post("/deliveries/{id}/retry", deliveries.retry),
        post("/deliveries/{id}/reveal", deliveries.reveal),
        get("/dead", dead.show),
        post("/dead/retry", dead.retry),
        get("/audit", audit.show),
        Route(SIGN_IN, sign_in.showing(site), methods=["GET"]),
        Route(SIGN_IN, sign_in.signing_in(site), methods=["POST"]),
        post("/sign-out", sign_in.sign_out),
        Route(f"{PREFIX}/static/{{name}}", static_files.serve, methods=["GET"]),
        Route(f"{PREFIX}/{{path:path}}", _nowhere, methods=["GET"]),
    ]


async def _nowhere(request: Request) -> Response:
    """What is no page; ``/ui/`` is ``/ui``."""
    if request.path_params["path"] == "":
        return Response(status_code=308, headers={"location": PREFIX})
    return problem_page(404, "Not here", "There is no such page.")
