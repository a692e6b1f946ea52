"""Commands that look at a running relay, by its API: brands, subscriptions, events, deliveries; and replay."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import click

from relay.cli.base import WRONG_USAGE, as_json_option, main, print_json, print_table, quit_with, read_settings
from relay.client import Client, segment
from relay.settings import Role
from relay.supervise.data_dir import DataDir

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Row], Any]]

BRANDS: Columns = {
    "BRAND": lambda row: row["brand"],
    "STATUS": lambda row: row["state"]["status"],
    "VENUES": lambda row: len(row["state"]["venues"]),
    "OPEN": lambda row: sum(venue["orders"]["open_orders"] for venue in row["state"]["venues"]),
    "QUOTA": lambda row: f"{row['state']['quota']['remaining']}/{row['state']['quota']['limit']}",
    "ERROR": lambda row: row["state"]["error"],
}
SUBSCRIPTIONS: Columns = {
    "ID": lambda row: row["id"],
    "NAME": lambda row: row["name"],
    "STATUS": lambda row: row["state"]["status"],
    "PENDING": lambda row: row["state"]["pending"],
    "DEAD": lambda row: row["state"]["dead"],
    "OLDEST": lambda row: row["state"]["oldest_pending_at"],
    "URL": lambda row: row["url"] or "(pull)",
}
EVENTS: Columns = {
    "AT": lambda row: row["timestamp"],
    "TYPE": lambda row: row["type"],
    "BRAND": lambda row: row["brand"],
    "VENUE": lambda row: row["venue_id"],
    "SUBJECT": lambda row: row["subject"],
    "ORIGIN": lambda row: row["origin"],
    "ID": lambda row: row["id"],
}


@asynccontextmanager
async def open_api() -> AsyncIterator[Client]:
    """Open the API that RELAY_URL and RELAY_TOKEN, or the data directory, lead to."""
    settings = read_settings(Role.COMMAND)
    token = settings.token or settings.admin_token or DataDir(settings.data_dir).known_admin_token()
    if token is None:
        quit_with(WRONG_USAGE, f"RELAY_TOKEN is missing, and {settings.data_dir} holds none: set it, or RELAY_DATA_DIR")
    async with Client(settings.url, token) as client:
        yield client


_limit = click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")


@main.command()
@click.argument("brand", required=False)
@as_json_option
def brands(brand: str | None, *, as_json: bool) -> None:
    """Show the brands and how they are doing, or one of them whole."""
    _show("/v1/brands", brand, BRANDS, as_json=as_json)


@main.command()
@click.argument("subscription", required=False)
@as_json_option
def subscriptions(subscription: str | None, *, as_json: bool) -> None:
    """Show the subscriptions and what waits in them, or one (by id or name) whole."""
    _show("/v1/subscriptions", subscription, SUBSCRIPTIONS, as_json=as_json)


def _show(path: str, name: str | None, columns: Columns, *, as_json: bool) -> None:
    async def ask() -> Any:
        async with open_api() as client:
            if name is not None:
                return await client.call("GET", f"{path}/{segment(name)}")
            return [row async for row in client.each(path)]

    found = asyncio.run(ask())
    if as_json or name is not None:
        print_json(found)
    else:
        print_table(columns, found)
