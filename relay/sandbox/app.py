"""The whole stand-in as one ASGI app: the API under ``/open-api/v2``, the control side under ``/control``."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

from relay.sandbox.control import control
from relay.sandbox.faults import FaultBook
from relay.sandbox.limits import Limits
from relay.sandbox.routes import api
from relay.sandbox.service import Service
from relay.sandbox.wire import Wire
from relay.sandbox.world import World

API_ROOT = "/open-api/v2"


def create_app(
    world: World,
    *,
    clock: Callable[[], float] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    seed: int = 0,
) -> Starlette:
    """Put a world on HTTP.

    Args:
        world: what exists (see ``documented.seed`` for the documented rows).
        clock: Unix seconds for tokens and rate limits; the world's own when None.
        sleep: how latency and slow faults wait, in seconds.
        seed: of the chance by which faults strike now and then.

    Returns:
        The app; ``app.state.service`` is the ``Service`` behind it and ``app.state.faults`` the ``FaultBook``.
    """
    service = Service(
        world=world,
        clock=clock or world.clock,
        sleep=sleep,
        limits=Limits(world.switches),
        draw=Random(seed),  # noqa: S311 - make-believe, and meant to be repeatable
    )
    faults = FaultBook()

    async def root(_: Request) -> Response:
        return RedirectResponse("/control")

    app = Starlette(
        routes=[
            Route("/", root),
            Mount(API_ROOT, app=Wire(api(service), service=service, faults=faults)),
            *control(service, faults),
        ]
    )
    app.state.service, app.state.faults = service, faults
    return app
