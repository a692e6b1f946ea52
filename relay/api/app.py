"""The whole API as one ASGI application."""

import functools
import secrets
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay import logs
from relay.api import (
    api_keys,
    audit,
    brands,
    deliveries,
    event_types,
    events,
    ledger,
    orders,
    pull,
    replays,
    stations,
    subscription_actions,
    subscriptions,
)
from relay.api.dispatch import PathEndpoint
from relay.api.docs_page import docs_routes
from relay.api.limits import check_head
from relay.api.operations import Operation
from relay.api.probes import probes
from relay.api.problems import ProblemError, respond, translate
from relay.api.scrape import scrape_route
from relay.api.services import Services
from relay.api.trail import Trail
from relay.api.ui.routes import routes as ui_routes

OPERATIONS: Final[Sequence[Operation]] = (
    *brands.OPERATIONS,
    *subscriptions.OPERATIONS,
    *subscription_actions.OPERATIONS,
    *pull.OPERATIONS,
    *replays.OPERATIONS,
    *deliveries.OPERATIONS,
    *events.OPERATIONS,
    *orders.OPERATIONS,
    *stations.OPERATIONS,
    *event_types.OPERATIONS,
    *ledger.OPERATIONS,
    *api_keys.OPERATIONS,
    *audit.OPERATIONS,
)
"""Everything that the API can do, in the order of its documentation."""

_NOTHING_HERE: Final = "There is nothing at this path: /docs lists all there is."
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""What every answer has, unless it says otherwise itself."""


def create_app(services: Services) -> ASGIApp:
    """Put the operations, and what needs no token, on HTTP."""
    trail = Trail(services.audit, now_ms=services.now_ms)
    by_path = groupby(sorted(OPERATIONS, key=lambda each: each.path), key=lambda each: each.path)
    routes = [Route(path, PathEndpoint(services, list(group), trail)) for path, group in by_path]
    metrics = scrape_route(services.scraper, metrics_digest=services.metrics_digest)
    app = Starlette(
        routes=[*probes(services), metrics, *_docs(), *ui_routes(services, OPERATIONS, trail), *routes],
        exception_handlers={HTTPException: _http_error, Exception: _error},
    )
    app.router.redirect_slashes = False
    return _Envelope(app)


@functools.cache
def _docs() -> list[Route]:
    """Described once for a process: it never changes."""
    return docs_routes(OPERATIONS)


class _Envelope:
    """Gives each request an id, and each answer the headers that all have."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope["relay.request_id"] = request_id

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                names = {name for name, _ in headers}
                headers += [header for header in _HEADERS if header[0] not in names]
                message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
            await send(message)

        refused = check_head(scope["headers"])
        if refused is not None:
            await respond(refused)(scope, receive, answer)
            return
        if b"%2f" in scope["raw_path"].lower():  # a slash within a name: no name here has one
            await respond(ProblemError("not_found", _NOTHING_HERE))(scope, receive, answer)
            return
        with logs.about(request=request_id):
            await self._app(scope, receive, answer)


async def _http_error(_request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, or a method of a route that is no operation."""
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for nothing else)
    if error.status_code == 405:  # noqa: PLR2004
        allow = (error.headers or {}).get("allow", "GET, HEAD")
        return respond(ProblemError("method_not_allowed", f"This path takes {allow}.", headers={"allow": allow}))
    if error.status_code == 404:  # noqa: PLR2004
        return respond(ProblemError("not_found", _NOTHING_HERE))
    return respond(ProblemError("malformed", "The request cannot be read."))


async def _error(_request: Request, error: Exception) -> Response:
    logs.event("request failed", level="error", exc=error)
    return respond(translate(error).problem)
