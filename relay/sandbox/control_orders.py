"""The control side's restaurant: orders, stations, the stop-list."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from relay.sandbox.controls import Command, NotUnderstoodError, only, told, whole
from relay.sandbox.documented import BRAND
from relay.sandbox.model import DELIVERED, IGNORE, RECEIVED, Order
from relay.sandbox.world import UnknownError, World

_MOST_AT_ONCE = 200_000
_TARGET = "?brand=&venue_id= where the id alone is not enough"
_ORDERS = "/brands/{brand}/venues/{venue_id:int}/orders"
_OURS = frozenset({"self", "brand", "venue_id", "order", "station_id", "count", "spacing_s", "merge", "touch"})


def order_commands(world: World) -> list[Command]:
    """The commands that act as the restaurant."""
    orders, stations = _Orders(world), _Stations(world)
    return [
        Command("POST", _ORDERS, "place an order; the body's fields replace the made-up ones", orders.place),
        Command(
            "POST",
            f"{_ORDERS}/bulk",
            "place many: {count, spacing_s: how far apart they lie, the last one now; and fields for all}",
            orders.place_many,
        ),
        Command("GET", "/orders/{id:int}", f"the true row; {_TARGET}", orders.show),
        Command("POST", "/orders/{id:int}/accept", "a clerk accepts: RECEIVED", orders.becoming(RECEIVED)),
        Command("POST", "/orders/{id:int}/deliver", "it arrives: DELIVERED", orders.becoming(DELIVERED)),
        Command("POST", "/orders/{id:int}/ignore", "it is cancelled: IGNORE", orders.becoming(IGNORE)),
        Command("POST", "/orders/{id:int}/status/{status}", "any status, known or not", orders.become),
        Command(
            "PATCH",
            "/orders/{id:int}",
            "edit: row fields, payload (whole), merge (into the payload), touch: false leaves updated_at alone",
            orders.edit,
        ),
        Command("PUT", "/orders/{id:int}/raw", "the row is this text from now on; empty: no more", orders.write_raw),
        Command("DELETE", "/orders/{id:int}", "it vanishes", orders.vanish),
        Command("POST", "/stations/{id:int}", "change or make one: {status, name, type, printable}", stations.put),
        Command("DELETE", "/stations/{id:int}", "it disappears", stations.remove),
        Command("POST", "/stop-list", "{product_id, limit (null lifts it), venue_id?, brand?}", stations.stop),
    ]


class _Orders:
    def __init__(self, world: World) -> None:
        self._world = world

    async def place(self, request: Request) -> dict[str, Any]:
        brand, venue_id = request.path_params["brand"], request.path_params["venue_id"]
        fields = _row_fields(await told(request))
        if "id" in fields and (isinstance(fields["id"], bool) or not isinstance(fields["id"], int)):
            raise NotUnderstoodError("id is a whole number; for anything else PUT the order's raw text")
        return self._world.place(brand, venue_id, **fields).row()

    async def place_many(self, request: Request) -> dict[str, Any]:
        brand, venue_id = request.path_params["brand"], request.path_params["venue_id"]
        body = await told(request)
        count = whole(body.pop("count", 1), "count")
        if not 0 < count <= _MOST_AT_ONCE:
            raise NotUnderstoodError(f"count is between 1 and {_MOST_AT_ONCE}")
        spacing_s = body.pop("spacing_s", 0)
        if isinstance(spacing_s, bool) or not isinstance(spacing_s, int | float):
            raise NotUnderstoodError("spacing_s is a number of seconds")
        if "id" in body:
            raise NotUnderstoodError("id: many orders cannot share one")
        placed = self._world.place_many(brand, venue_id, count=count, spacing_s=spacing_s, **_row_fields(body))
        return {"count": count, "first_id": placed[0].id, "last_id": placed[-1].id}

    async def show(self, request: Request) -> dict[str, Any]:
        return self._meant(request).row()

    def becoming(self, status: str) -> Callable[[Request], Awaitable[dict[str, Any]]]:
        async def act(request: Request) -> dict[str, Any]:
            order = self._meant(request)
            self._world.set_status(order, status)
            return order.head()

        return act

    async def become(self, request: Request) -> dict[str, Any]:
        return await self.becoming(request.path_params["status"])(request)

    async def edit(self, request: Request) -> dict[str, Any]:
        order = self._meant(request)
        fields = await told(request)
        merge, touch = fields.pop("merge", None), fields.pop("touch", True)
        if not isinstance(touch, bool) or not (merge is None or isinstance(merge, dict)):
            raise NotUnderstoodError("merge is an object to merge into the payload, touch is true or false")
        self._world.edit(order, touch=touch, merge=merge, **_row_fields(fields))
        return order.row()

    async def write_raw(self, request: Request) -> dict[str, Any]:
        order = self._meant(request)
        text = (await request.body()).decode(errors="surrogateescape")
        self._world.write_raw(order, text or None)
        return {"id": order.id, "raw": order.raw is not None}

    async def vanish(self, request: Request) -> None:
        self._world.remove(self._meant(request))

    def _meant(self, request: Request) -> Order:
        """The order that a command is about: by id, and by brand and venue where given.

        Raises:
            UnknownError: there is none, or more than one.
        """
        order_id, query = request.path_params["id"], request.query_params
        brands = [self._world.brand(query["brand"])] if "brand" in query else list(self._world.brands.values())
        found = [order for brand in brands for order in brand.orders.find(order_id)]
        if "venue_id" in query:
            found = [order for order in found if order.venue_id == whole(query["venue_id"], "venue_id")]
        if len(found) != 1:
            raise UnknownError(f"{len(found) or 'no'} orders of id {order_id} there; {_TARGET}")
        return found[0]


class _Stations:
    def __init__(self, world: World) -> None:
        self._world = world

    async def put(self, request: Request) -> dict[str, Any]:
        body = await told(request)
        brand, venue_id, station_id = self._meant(request, body)
        return self._world.put_station(brand, venue_id, station_id, **_row_fields(body)).row()

    async def remove(self, request: Request) -> None:
        self._world.remove_station(*self._meant(request, {}))

    async def stop(self, request: Request) -> None:
        body = only(await told(request), "brand", "venue_id", "product_id", "limit")
        limit = body.get("limit")
        if isinstance(limit, bool) or not (limit is None or isinstance(limit, int | float)):
            raise NotUnderstoodError("limit is a number, or null to lift it")
        venue_id, product_id = whole(body.get("venue_id", 1), "venue_id"), whole(body.get("product_id"), "product_id")
        self._world.set_stop(str(body.get("brand", BRAND)), venue_id, product_id, limit)

    def _meant(self, request: Request, body: dict[str, Any]) -> tuple[str, int, int]:
        """Brand, venue and id of a station; where no venue is named, the one that has it, else the first."""
        station_id, query = request.path_params["id"], request.query_params
        brand = self._world.brand(str(body.pop("brand", query.get("brand", BRAND))))
        named = body.pop("venue_id", query.get("venue_id"))
        if named is not None:
            return brand.name, whole(named, "venue_id"), station_id
        holders = [venue.id for venue in brand.venues.values() if station_id in venue.stations]
        return brand.name, (holders or [min(brand.venues, default=0)])[0], station_id


def _row_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields for a row, none of which would be taken for something else."""
    if clash := _OURS & set(fields):
        raise NotUnderstoodError(f"{', '.join(sorted(clash))}: cannot be set")
    return fields
