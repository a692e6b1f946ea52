"""The control side's restaurant: orders, stations, the stop-list."""

from typing import Any

from starlette.requests import Request

from relay.sandbox.controls import Command, NotUnderstoodError, only, told, whole
from relay.sandbox.documented import BRAND
from relay.sandbox.model import DELIVERED, IGNORE, RECEIVED, Order
from relay.sandbox.service import Service
from relay.sandbox.world import UnknownError, World

_MOST_AT_ONCE = 200_000
_TARGET = "?brand=&venue_id= where the id alone is not enough"


def order_commands(service: Service) -> list[Command]:
    """The commands that act as the restaurant."""
    world = service.world

    async def place(request: Request) -> dict[str, Any]:
        brand, venue_id = request.path_params["brand"], request.path_params["venue_id"]
        fields = await told(request)
        if "id" in fields and (isinstance(fields["id"], bool) or not isinstance(fields["id"], int)):
            raise NotUnderstoodError("id is a whole number; for anything else PUT the order's raw text")
        return world.place(brand, venue_id, **_named(fields)).row()

    async def place_many(request: Request) -> dict[str, Any]:
        brand, venue_id = request.path_params["brand"], request.path_params["venue_id"]
        body = await told(request)
        count = whole(body.pop("count", 1), "count")
        if not 0 < count <= _MOST_AT_ONCE:
            raise NotUnderstoodError(f"count is between 1 and {_MOST_AT_ONCE}")
        first = world.place(brand, venue_id, **_named(body))
        last = first
        for _ in range(count - 1):
            last = world.place(brand, venue_id, **_named(body))
        return {"count": count, "first_id": first.id, "last_id": last.id}

    async def show(request: Request) -> dict[str, Any]:
        return _order(world, request).row()

    def becoming(status: str) -> Any:
        async def act(request: Request) -> dict[str, Any]:
            order = _order(world, request)
            world.set_status(order, status)
            return order.head()

        return act

    async def become(request: Request) -> dict[str, Any]:
        order = _order(world, request)
        world.set_status(order, request.path_params["status"])
        return order.head()

    async def edit(request: Request) -> dict[str, Any]:
        order = _order(world, request)
        fields = await told(request)
        merge, touch = fields.pop("merge", None), fields.pop("touch", True)
        if not isinstance(touch, bool) or not (merge is None or isinstance(merge, dict)):
            raise NotUnderstoodError("merge is an object to merge into the payload, touch is true or false")
        world.edit(order, touch=touch, merge=merge, **_named(fields))
        return order.row()

    async def write_raw(request: Request) -> dict[str, Any]:
        order = _order(world, request)
        text = (await request.body()).decode(errors="surrogateescape")
        world.write_raw(order, text or None)
        return {"id": order.id, "raw": order.raw is not None}

    async def vanish(request: Request) -> None:
        world.remove(_order(world, request))

    async def put_station(request: Request) -> dict[str, Any]:
        body = await told(request)
        brand, venue_id, station_id = _station_target(world, request, body)
        return world.put_station(brand, venue_id, station_id, **_named(body)).row()

    async def remove_station(request: Request) -> None:
        world.remove_station(*_station_target(world, request, {}))

    async def stop(request: Request) -> None:
        body = only(await told(request), "brand", "venue_id", "product_id", "limit")
        limit = body.get("limit")
        if isinstance(limit, bool) or not (limit is None or isinstance(limit, int | float)):
            raise NotUnderstoodError("limit is a number, or null to lift it")
        venue_id = whole(body.get("venue_id", 1), "venue_id")
        world.set_stop(str(body.get("brand", BRAND)), venue_id, whole(body.get("product_id"), "product_id"), limit)

    orders = "/brands/{brand}/venues/{venue_id:int}/orders"
    return [
        Command("POST", orders, "place an order; the body's fields replace the made-up ones", place),
        Command("POST", f"{orders}/bulk", "place many: {count, and fields for all}", place_many),
        Command("GET", "/orders/{id:int}", f"the row, and its true payload; {_TARGET}", show),
        Command("POST", "/orders/{id:int}/accept", "a clerk accepts: RECEIVED", becoming(RECEIVED)),
        Command("POST", "/orders/{id:int}/deliver", "it arrives: DELIVERED", becoming(DELIVERED)),
        Command("POST", "/orders/{id:int}/ignore", "it is cancelled: IGNORE", becoming(IGNORE)),
        Command("POST", "/orders/{id:int}/status/{status}", "any status, known or not", become),
        Command(
            "PATCH",
            "/orders/{id:int}",
            "edit: row fields, payload (whole), merge (into the payload), touch: false leaves updated_at alone",
            edit,
        ),
        Command(
            "PUT", "/orders/{id:int}/raw", "the body is the row from now on, verbatim; an empty one ends it", write_raw
        ),
        Command("DELETE", "/orders/{id:int}", "it vanishes", vanish),
        Command("POST", "/stations/{id:int}", "change or make a station: {status, name, type, printable}", put_station),
        Command("DELETE", "/stations/{id:int}", "it disappears", remove_station),
        Command("POST", "/stop-list", "{product_id, limit (null lifts it), venue_id?, brand?}", stop),
    ]


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields for a row, none of which would be taken for an argument of ours."""
    if clash := {"brand", "venue_id", "order", "self"} & set(fields):
        raise NotUnderstoodError(f"{', '.join(sorted(clash))}: cannot be set")
    return fields


def _order(world: World, request: Request) -> Order:
    """The order that a command is about: by id, and by brand and venue where given.

    Raises:
        UnknownError: there is none, or more than one.
    """
    order_id, query = request.path_params["id"], request.query_params
    brands = [world.brand(query["brand"])] if "brand" in query else list(world.brands.values())
    found = [order for brand in brands for order in brand.orders.find(order_id)]
    if "venue_id" in query:
        found = [order for order in found if order.venue_id == whole(query["venue_id"], "venue_id")]
    if len(found) != 1:
        count = "no" if not found else f"{len(found)} orders"
        raise UnknownError(f"{count} order {order_id} there; {_TARGET}")
    return found[0]


def _station_target(world: World, request: Request, body: dict[str, Any]) -> tuple[str, int, int]:
    """Brand, venue and id of the station meant; where no venue is named, the one that has it, else the first."""
    station_id, query = request.path_params["id"], request.query_params
    brand = world.brand(str(body.pop("brand", query.get("brand", BRAND))))
    named = body.pop("venue_id", query.get("venue_id"))
    if named is not None:
        return brand.name, whole(named, "venue_id"), station_id
    holders = [venue.id for venue in brand.venues.values() if station_id in venue.stations]
    return brand.name, (holders or [min(brand.venues, default=0)])[0], station_id
