"""What goes back over the wire: the success envelopes, and problems in the shape the switches ask for."""

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from relay.sandbox.errors import Problem
from relay.sandbox.model import dumps
from relay.sandbox.query import SORTABLE
from relay.sandbox.service import Service
from relay.sandbox.stamps import stamp

_JSON = "application/json"
_TOOK_MS = 12


def one(service: Service, text: str) -> Response:
    """A single object, given as JSON text."""
    return _success(service, f'"data":{text}', {})


def many(service: Service, texts: Iterable[str], *, total: int | None = None) -> Response:
    """A list of objects, given as JSON texts; without ``total`` where the list, or a switch, has none."""
    counts = {} if total is None or not service.switches.list_total else {"total": total}
    sorts = {"sorts": list(SORTABLE)} if service.switches.live_envelope and total is not None else {}
    return _success(service, f'"data":[{",".join(texts)}]', counts | sorts)


def plain(body: dict[str, Any], *, status: int = 200) -> Response:
    """Any JSON object."""
    return Response(dumps(body), status, media_type=_JSON)


def problem(service: Service, what: Problem, **extra: Any) -> Response:
    """A refusal."""
    return plain(what.body(service.switches.error_shape) | extra, status=what.status)


def throttled(service: Service, what: Problem) -> Response:
    """A 429, whose body nobody documented."""
    if service.switches.throttle_body == "json":
        return problem(service, what)
    text = "Too many requests, please try again later." if service.switches.throttle_body == "text" else ""
    return Response(text, what.status, media_type="text/plain")


def _success(service: Service, data: str, rest: dict[str, Any]) -> Response:
    if service.switches.live_envelope:
        now_s = service.clock()
        rest |= {"time": _TOOK_MS, "timestamp": stamp(now_s), "unix": int(now_s)}
    tail = f",{dumps(rest)[1:-1]}" if rest else ""
    # A raw row may hold bytes that are no UTF-8: they go out as they came in.
    return Response(f'{{"success":true,{data}{tail}}}'.encode(errors="surrogateescape"), media_type=_JSON)
