"""The control side's operator: brands, venues, credentials, tokens, limits, switches, faults, and what was seen."""

from dataclasses import asdict
from typing import Any

from starlette.requests import Request

from relay.sandbox.controls import Command, NotUnderstoodError, only, told, whole
from relay.sandbox.documented import BRAND
from relay.sandbox.faults import FaultBook
from relay.sandbox.model import Venue
from relay.sandbox.service import Service


def service_commands(service: Service, faults: FaultBook) -> list[Command]:
    """The commands that change or show the service around the restaurant."""
    return [*_accounts(service), *_behaviour(service, faults), *_views(service)]


def _accounts(service: Service) -> list[Command]:
    world = service.world

    async def put_brand(request: Request) -> None:
        body = only(await told(request), "brand", "is_test", "missing_modules")
        world.add_brand(
            _word(body, "brand"), is_test=_flag(body, "is_test"), missing_modules=_words(body, "missing_modules", [])
        )

    async def put_venue(request: Request) -> None:
        body = only(await told(request), "brand", "id", "name", "is_main")
        brand, venue_id = world.brand(_word(body, "brand", BRAND)), whole(body.get("id"), "id")
        known = brand.venues.get(venue_id)
        venue = known or Venue(venue_id, f"Venue {venue_id}")
        venue.name = _word(body, "name", venue.name)
        venue.is_main = _flag(body, "is_main", default=venue.is_main)
        world.add_venue(brand.name, venue)

    async def remove_venue(request: Request) -> None:
        world.remove_venue(request.query_params.get("brand", BRAND), request.path_params["id"])

    async def put_credentials(request: Request) -> None:
        body = only(await told(request), "client_id", "client_secret", "brands", "enabled", "forbidden")
        client_id = _word(body, "client_id")
        known = world.clients.get(client_id)
        world.add_client(
            client_id,
            _word(body, "client_secret", known.client_secret if known else None),
            brands=_words(body, "brands", sorted(known.brands) if known else [BRAND]),
            enabled=_flag(body, "enabled", default=known.enabled if known else True),
            forbidden=_words(body, "forbidden", sorted(known.forbidden) if known else []),
        )

    async def put_integrator(request: Request) -> None:
        body = only(await told(request), "active", "is_test")
        known = world.integrators.get(request.path_params["id"])
        world.add_integrator(
            request.path_params["id"],
            active=_flag(body, "active", default=known.active if known else True),
            is_test=_flag(body, "is_test", default=known.is_test if known else True),
        )

    async def expire(_: Request) -> dict[str, Any]:
        return {"expired": service.signer.expire_all()}

    async def change_key(_: Request) -> None:
        service.signer.change_key()

    return [
        Command("POST", "/brands", "make or change a brand: {brand, is_test, missing_modules: [orders, …]}", put_brand),
        Command("POST", "/venues", "open or rename a venue: {id, name?, is_main?, brand?}", put_venue),
        Command("DELETE", "/venues/{id:int}", "close it: asking for it is a 404; ?brand=", remove_venue),
        Command(
            "POST",
            "/credentials",
            "make or change a client: {client_id, client_secret, brands, enabled, forbidden: [orders, …]}",
            put_credentials,
        ),
        Command("POST", "/integrators/{id}", "make or change an integrator: {active, is_test}", put_integrator),
        Command("POST", "/tokens/expire", "every token issued so far is expired", expire),
        Command("POST", "/tokens/change-key", "every token issued so far is invalid", change_key),
    ]


def _behaviour(service: Service, faults: FaultBook) -> list[Command]:
    switches = service.switches

    async def show_switches(_: Request) -> dict[str, Any]:
        return switches.as_json()

    async def set_switches(request: Request) -> dict[str, Any]:
        switches.change(await told(request))
        return switches.as_json()

    async def reset_switches(_: Request) -> dict[str, Any]:
        switches.reset()
        return switches.as_json()

    async def add_fault(request: Request) -> dict[str, Any]:
        body = await told(request)
        return asdict(faults.add(str(body.pop("kind", "")), **body))

    async def show_faults(_: Request) -> dict[str, Any]:
        return {"faults": faults.as_json()}

    async def lift_faults(_: Request) -> dict[str, Any]:
        return {"lifted": faults.remove()}

    async def lift_fault(request: Request) -> dict[str, Any]:
        return {"lifted": faults.remove(request.path_params["id"])}

    async def reset_limits(_: Request) -> None:
        service.limits.reset()

    return [
        Command("GET", "/switches", "how the service misbehaves", show_switches),
        Command("PUT", "/switches", "set the switches named, leave the others", set_switches),
        Command("DELETE", "/switches", "back to the defaults", reset_switches),
        Command(
            "POST", "/faults", "make requests fail: {kind, method, path, query, times, after, chance, …}", add_fault
        ),
        Command("GET", "/faults", "the rules, and how often they struck", show_faults),
        Command("DELETE", "/faults", "lift them all", lift_faults),
        Command("DELETE", "/faults/{id:int}", "lift one", lift_fault),
        Command("DELETE", "/limits", "forget what the rate limits counted", reset_limits),
    ]


def _views(service: Service) -> list[Command]:
    world = service.world

    async def show_journal(request: Request) -> dict[str, Any]:
        limit = whole(request.query_params.get("limit", 1000), "limit")
        return service.journal.as_json(limit=limit) | {"limits": service.limits.as_json(service.clock())}

    async def clear_journal(_: Request) -> None:
        service.journal.clear()

    async def show_history(request: Request) -> dict[str, Any]:
        since = whole(request.query_params.get("since", 0), "since")
        return {"next": len(world.history), "changes": [asdict(change) for change in list(world.history)[since:]]}

    async def show_state(_: Request) -> dict[str, Any]:
        return {
            "now_s": service.clock(),
            "brands": {
                brand.name: {
                    "is_test": brand.is_test,
                    "missing_modules": sorted(brand.missing_modules),
                    "venues": {
                        venue.id: {
                            "name": venue.name,
                            "orders": _by_status(order.status for order in brand.orders.of_venue(venue.id)),
                            "stations": [station.row() for station in venue.stations.values()],
                            "receipts": len(venue.receipts),
                            "stop_list": {product: limit for product, (limit, _) in venue.stop_list.items()},
                        }
                        for venue in brand.venues.values()
                    },
                }
                for brand in world.brands.values()
            },
            "integrators": {
                each.integrator_id: {"active": each.active, "is_test": each.is_test}
                for each in world.integrators.values()
            },
            "clients": {
                each.client_id: {"brands": sorted(each.brands), "enabled": each.enabled}
                for each in world.clients.values()
            },
            "tokens_issued": service.signer.issued,
        }

    return [
        Command("GET", "/journal", "requests seen and counts, with the rate limits' peaks; ?limit=", show_journal),
        Command("DELETE", "/journal", "forget them", clear_journal),
        Command("GET", "/history", "what truly happened, oldest first; ?since= a count", show_history),
        Command("GET", "/state", "what exists", show_state),
    ]


def _by_status(statuses: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for status in statuses:
        counts[str(status)] = counts.get(str(status), 0) + 1
    return counts


def _word(body: dict[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or not value:
        raise NotUnderstoodError(f"{name} is a text")
    return value


def _words(body: dict[str, Any], name: str, default: list[str]) -> list[str]:
    value = body.get(name, default)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise NotUnderstoodError(f"{name} is a list of texts")
    return value


def _flag(body: dict[str, Any], name: str, *, default: bool = True) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise NotUnderstoodError(f"{name} is true or false")
    return value
