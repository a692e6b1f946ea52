"""How does a list of a running relay's get onto the screen? As a table or JSON, once, or followed as it changes."""

import asyncio
import difflib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from relay.cli.base import WRONG_USAGE, Table, print_json, quit_with, read_settings
from relay.client import ApiError, Client, segment
from relay.settings import Role
from relay.supervise.data_dir import DataDir

FOLLOW_EVERY_S = 1.0
FOLLOW_AT_MOST = 200
SEEN_AT_MOST = 10_000

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
DELIVERIES: Columns = {
    "AT": lambda row: row["created_at"],
    "STATUS": lambda row: row["status"],
    "TRIES": lambda row: row["attempt_count"],
    "TYPE": lambda row: row["type"],
    "SUBJECT": lambda row: row["subject"],
    "SUBSCRIPTION": lambda row: row.get("subscription_name") or row["subscription"],
    "LAST ERROR": lambda row: row["last_error"],
    "ID": lambda row: row["id"],
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
        quit_with(
            WRONG_USAGE,
            f"RELAY_TOKEN is missing, and {settings.data_dir} holds none: "
            "set it, or RELAY_DATA_DIR to where `relay up` or `relay demo` keeps its own",
        )
    async with Client(settings.url, token) as client:
        yield client


async def subscription_id(client: Client, name: str) -> str:
    """Find a subscription that was named by its id or its name."""
    if name.startswith("sub_"):
        return name
    known = {row["name"]: row["id"] async for row in client.each("/v1/subscriptions") if row["name"]}
    if name in known:
        return str(known[name])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f": did you mean {near[0]!r}?" if near else f"; there are: {', '.join(sorted(known)) or 'none'}"
    raise ApiError(f"no subscription is named {name!r}{hint}")


@dataclass(frozen=True, slots=True)
class Kept:
    """A list that is short, and shown whole.

    Attributes:
        path: of the API.
        columns: of the table.
        restless: the column that moves all the time, and alone is no reason to show a row again.
    """

    path: str
    columns: Columns
    restless: str

    def look_of(self, row: Row) -> tuple[Any, ...]:
        """What makes a row worth showing again."""
        return tuple(read(row) for heading, read in self.columns.items() if heading != self.restless)


def show_kept(kept: Kept, name: str | None, *, follow: bool, as_json: bool) -> None:
    """Show a list whole, or one of its rows; followed, each row again when it looks different."""
    if name is not None and not follow:
        show_one(kept.path, name)
        return

    async def run() -> None:
        table, shown = Table(kept.columns), dict[Any, Any]()
        async with open_api() as client:
            named = name and (await subscription_id(client, name) if kept.path == "/v1/subscriptions" else name)
            while True:
                rows = [row async for row in client.each(kept.path)]
                if named and not (rows := [row for row in rows if named in (row.get("id"), row.get("brand"))]):
                    rows = [
                        await client.call("GET", f"{kept.path}/{segment(named)}")
                    ]  # which says that it is not there
                known = {row.get("id") or row["brand"]: kept.look_of(row) for row in rows}
                news = [row for row in rows if shown.get(key := row.get("id") or row["brand"]) != known[key]]
                first, shown = not shown, known
                _print_rows(table, news, first=first, as_json=as_json, follow=follow)
                if not follow:
                    break
                await asyncio.sleep(FOLLOW_EVERY_S)
        if not rows:
            click.echo(
                "relay: there are none yet: `relay apply FILE` makes them from a file (relay apply --help)", err=True
            )

    asyncio.run(run())


def _print_rows(table: Table, rows: Sequence[Row], *, first: bool, as_json: bool, follow: bool) -> None:
    """Print some rows: of a list that is followed each as it comes, of another all at once."""
    if not as_json:
        if rows or first:
            table.print(rows, heading=first)
    elif follow:
        for row in rows:
            print_json(row)
    else:
        print_json(rows)


def show_one(path: str, name: str) -> None:
    """Show one row whole, as JSON."""

    async def ask() -> Any:
        async with open_api() as client:
            found = await subscription_id(client, name) if path == "/v1/subscriptions" else name
            return await client.call("GET", f"{path}/{segment(found)}")

    print_json(asyncio.run(ask()), readable=sys.stdout.isatty())


def show_latest(
    path: str, filters: dict[str, Any], columns: Columns, *, limit: int, follow: bool, as_json: bool
) -> None:
    """Show the latest rows of a list that has the newest first, the newest last; and what comes after them."""

    async def run() -> None:
        table = Table(columns)
        async with open_api() as client:
            if filters.get("subscription"):
                filters["subscription"] = await subscription_id(client, filters["subscription"])
            names = {} if as_json or columns is not DELIVERIES else await _names(client)
            rows = [row async for row in client.each(path, filters, at_most=limit)][::-1]
            _print_rows(table, [_named(row, names) for row in rows], first=True, as_json=as_json, follow=follow)
            if not rows and not follow:
                click.echo("relay: there are none like that", err=True)
            if follow:
                async for row in _follow_list(client, path, filters, rows):
                    _print_rows(table, [_named(row, names)], first=False, as_json=as_json, follow=True)

    asyncio.run(run())


async def _names(client: Client) -> dict[str, str]:
    """What people call each subscription."""
    return {row["id"]: row["name"] async for row in client.each("/v1/subscriptions") if row["name"]}


def _named(row: Row, names: Mapping[str, str]) -> Row:
    return {**row, "subscription_name": names[row["subscription"]]} if row.get("subscription") in names else row


async def _follow_list(
    client: Client, path: str, filters: Mapping[str, Any], shown: Sequence[Row]
) -> AsyncIterator[Row]:
    """Go on from what was shown; of events every one, of deliveries what becomes of the latest ones."""
    seen = dict.fromkeys(map(_state_of, shown))
    if path == "/v1/deliveries":
        seen |= dict.fromkeys([_state_of(row) async for row in client.each(path, filters, at_most=FOLLOW_AT_MOST)])
    since = shown[-1]["timestamp"] if shown and "timestamp" in shown[-1] else datetime.now(UTC).isoformat()
    while True:
        await asyncio.sleep(FOLLOW_EVERY_S)
        if path == "/v1/events":
            rows = [row async for row in client.each(path, {**filters, "order": "asc", "since": since})]
            since = rows[-1]["timestamp"] if rows else since
        else:
            rows = [row async for row in client.each(path, filters, at_most=FOLLOW_AT_MOST)][::-1]
        for row in rows:
            if _state_of(row) not in seen:
                seen[_state_of(row)] = None
                yield row
        for old in list(seen)[:-SEEN_AT_MOST]:
            del seen[old]


def _state_of(row: Row) -> tuple[Any, ...]:
    """What makes a row worth showing again: a delivery's state moves on, an event's does not."""
    return (row["id"], row.get("status"), row.get("attempt_count"))
