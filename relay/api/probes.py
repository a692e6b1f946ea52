"""Does this process live, and can it use Redis?"""

import asyncio
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.api.problems import respond, translate
from relay.api.services import Services

READY_S: Final = 1.5


async def livez(_request: Request) -> Response:
    """Say that the process lives, whatever Redis does."""
    return _ok("alive")


def probes(services: Services) -> list[Route]:
    """The two probes."""

    async def readyz(_request: Request) -> Response:
        """Say whether requests can be answered: Redis answers."""
        try:
            async with asyncio.timeout(READY_S):
                await services.log.last()
        except Exception as error:  # noqa: BLE001  (whatever it is: not ready)
            return respond(translate(error).problem)
        return _ok("ready")

    return [Route("/livez", livez, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])]


def _ok(status: str) -> Response:
    return Response(orjson.dumps({"status": status}), media_type="application/json")
