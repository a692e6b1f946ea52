"""The control side: it plays the restaurant, the operator and the bad network. No part of Clopos; asks for no token."""

from inspect import getdoc

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.sandbox.answers import plain
from relay.sandbox.control_orders import order_commands
from relay.sandbox.control_service import service_commands
from relay.sandbox.controls import Command, NotUnderstoodError
from relay.sandbox.faults import KINDS, BadFaultError, Fault, FaultBook
from relay.sandbox.service import Service
from relay.sandbox.switches import BadSwitchError, Switches
from relay.sandbox.world import UnknownError

PREFIX = "/control"


def control(service: Service, faults: FaultBook) -> list[Route]:
    """Make the control side's routes, an index page that lists them among them."""
    commands = [*order_commands(service.world), *service_commands(service, faults)]

    async def index(_: Request) -> Response:
        lines = [f"{command.method:<6} {PREFIX}{command.path}\n       {command.about}" for command in commands]
        kinds = [f"{kind:<13} {about}" for kind, about in KINDS.items()]
        parts = [__doc__, *lines, "", "FAULTS", "", *kinds, "", getdoc(Fault), "", "SWITCHES", "", getdoc(Switches), ""]
        text = "\n".join(part or "" for part in parts)
        return Response(text, media_type="text/plain")

    return [Route(PREFIX, index), Route(f"{PREFIX}/", index), *(_route(command) for command in commands)]


def _route(command: Command) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return plain(await command.act(request) or {"ok": True})
        except UnknownError as error:
            return plain({"error": str(error)}, status=404)
        except (NotUnderstoodError, BadFaultError, BadSwitchError) as error:
            return plain({"error": str(error)}, status=400)

    return Route(PREFIX + command.path, endpoint, methods=[command.method])
