"""The routes of Open API v2 that the stand-in serves: venues, orders, stations, receipts, the stop-list."""

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.sandbox import answers
from relay.sandbox.errors import (
    NO_SUCH_ROUTE,
    NOT_FOUND,
    SERVER_ERROR,
    STATUS_NOT_ALLOWED,
    WRONG_METHOD,
    Refused,
)
from relay.sandbox.gate import Caller, Handler, guarded, sign_in
from relay.sandbox.model import IGNORE, Order, dumps
from relay.sandbox.query import parameters, read_list
from relay.sandbox.rows import order_text, receipt_row, related
from relay.sandbox.service import Service

_TRUE, _FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})


def api(service: Service) -> Starlette:
    """Make the API's app, rooted at ``/``."""

    def route(path: str, resource: str, handler: Handler, method: str = "GET") -> Route:
        return Route(path, guarded(service, resource, handler), methods=[method])

    orders, stations, receipts = _Orders(service), _Stations(service), _Receipts(service)

    async def venues(_: Request, caller: Caller) -> Response:
        rows = (
            {"id": venue.id, "name": venue.name, "is_main": venue.is_main, "media": []} for venue in _venues(caller)
        )
        return answers.many(service, map(dumps, rows))

    async def stop_list(_: Request, caller: Caller) -> Response:
        stops = caller.venue().stop_list.items()
        rows = ({"id": product, "limit": limit, "timestamp": changed_ms} for product, (limit, changed_ms) in stops)
        return answers.many(service, map(dumps, rows))

    async def lost(_: Request, __: Caller) -> Response:
        raise Refused(NO_SUCH_ROUTE)

    async def http_error(_: Request, error: Exception) -> Response:
        wrong_method = isinstance(error, HTTPException) and error.status_code == WRONG_METHOD.status
        return answers.problem(service, WRONG_METHOD if wrong_method else NO_SUCH_ROUTE)

    async def crash(_: Request, __: Exception) -> Response:
        return answers.problem(service, SERVER_ERROR)

    return Starlette(
        routes=[
            Route("/auth", sign_in(service), methods=["POST"]),
            route("/venues", "venues", venues),
            route("/orders", "orders", orders.many),
            route("/orders/{id}", "orders", orders.one),
            route("/orders/{id}", "orders", orders.update, "PUT"),
            route("/stations", "stations", stations.many),
            route("/stations/{id}", "stations", stations.one),
            route("/receipts", "receipts", receipts.many),
            route("/receipts/{id}", "receipts", receipts.one),
            route("/products/stop-list", "products", stop_list),
            Route("/{path:path}", guarded(service, "anything", lost)),
        ],
        exception_handlers={HTTPException: http_error, 500: crash},
    )


class _Orders:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def many(self, request: Request, caller: Caller) -> Response:
        switches = self._service.switches
        query = read_list(request.url.query, switches)
        everywhere = switches.list_scope == "all_venues" and caller.header_venue is None
        orders, total = caller.brand.orders.page(query, None if everywhere else caller.venue().id)
        texts = (order_text(order, switches, related=_relations(caller, order, query.relations)) for order in orders)
        return answers.many(self._service, texts, total=total)

    async def one(self, request: Request, caller: Caller) -> Response:
        order = self._find(request, caller)
        relations = tuple(parameters(request.url.query).get("with", {}).values())
        text = order_text(order, self._service.switches, related=_relations(caller, order, relations))
        return answers.one(self._service, text)

    async def update(self, request: Request, caller: Caller) -> Response:
        order = self._find(request, caller)
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict) or body.get("status") != IGNORE:
            raise Refused(STATUS_NOT_ALLOWED)
        self._service.world.ignore(order)
        return answers.one(self._service, order_text(order, self._service.switches, payload=False))

    def _find(self, request: Request, caller: Caller) -> Order:
        order = caller.brand.orders.get(caller.venue().id, _path_id(request))
        if order is None:
            raise Refused(NOT_FOUND)
        return order


class _Stations:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def many(self, request: Request, caller: Caller) -> Response:
        query = read_list(request.url.query, self._service.switches)
        given = parameters(request.url.query)
        wanted = {"status": given.get("status", {}).get(""), "printable": given.get("can_print", {}).get("")}
        rows = [station.row() for station in caller.venue().stations.values()]
        rows = [row for row in rows if all(_agrees(row[name], value) for name, value in wanted.items())]
        return _page(self._service, rows, page=query.page, limit=query.limit)

    async def one(self, request: Request, caller: Caller) -> Response:
        station = caller.venue().stations.get(_path_id(request))
        if station is None:
            raise Refused(NOT_FOUND)
        return answers.one(self._service, dumps(station.row()))


class _Receipts:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def many(self, request: Request, caller: Caller) -> Response:
        query = read_list(request.url.query, self._service.switches)
        rows = [receipt_row(receipt) for receipt in caller.venue().receipts.values()]
        if query.descending:
            rows.reverse()
        return _page(self._service, rows, page=query.page, limit=query.limit)

    async def one(self, request: Request, caller: Caller) -> Response:
        receipt = caller.venue().receipts.get(_path_id(request))
        if receipt is None:
            raise Refused(NOT_FOUND)
        return answers.one(self._service, dumps(receipt_row(receipt)))


def _venues(caller: Caller) -> Any:
    return caller.brand.venues.values()


def _relations(caller: Caller, order: Order, relations: tuple[str, ...]) -> Mapping[str, Any] | None:
    venue = caller.brand.venues.get(order.venue_id)
    return related(order, venue, relations) if relations and venue else None


def _page(service: Service, rows: list[dict[str, Any]], *, page: int, limit: int) -> Response:
    first = (page - 1) * limit
    return answers.many(service, map(dumps, rows[first : first + limit]), total=len(rows))


def _agrees(flag: int, wanted: str | None) -> bool:
    """Whether a 0/1 column fits a parameter; a parameter that is neither true nor false is ignored."""
    text = (wanted or "").lower()
    if text in _TRUE:
        return flag == 1
    return flag == 0 if text in _FALSE else True


def _path_id(request: Request) -> int:
    """The id in the path.

    Raises:
        Refused: 404, it is not a number.
    """
    text = request.path_params["id"]
    if not (text.isascii() and text.isdigit()):
        raise Refused(NOT_FOUND)
    return int(text)
