"""Commands that look at a running relay, by its API: brands, subscriptions, events, deliveries; and replay."""

import asyncio
import difflib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import click

from relay.cli.base import WRONG_USAGE, as_json_option, main, print_json, print_table, quit_with, read_settings
from relay.client import ApiError, Client, segment
from relay.core.durations import parse_duration
from relay.settings import Role
from relay.supervise.data_dir import DataDir

STATES = ("pending", "delivered", "dead", "expired", "discarded")
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
    "SUBSCRIPTION": lambda row: row["subscription"],
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
        quit_with(WRONG_USAGE, f"RELAY_TOKEN is missing, and {settings.data_dir} holds none: set it, or RELAY_DATA_DIR")
    async with Client(settings.url, token) as client:
        yield client


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """An RFC 3339 time as it is; a duration is so long ago."""
    if text is None:
        return None
    try:
        return (datetime.now(UTC) - parse_duration(text)).isoformat()
    except ValueError:
        return text


_limit = click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
_follow = click.option(
    "--follow", is_flag=True, help="Go on with what comes; Ctrl-C ends it. With --json: a line each."
)
_since = click.option("--since", callback=_moment, help="A time (RFC 3339), or how long ago: 10m.")
_until = click.option("--until", callback=_moment, help="A time (RFC 3339), or how long ago: 10m.")


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


@main.command()
@click.argument("event", required=False)
@click.option("--brand", help="Of that brand.")
@click.option("--venue", "venue_id", type=int, help="Of that venue.")
@click.option("--type", "type_", help="Of that type, or order.* and the like.")
@click.option("--subject", help="About that: order/1.")
@_since
@_until
@_limit
@_follow
@as_json_option
def events(event: str | None, *, type_: str | None, limit: int, follow: bool, as_json: bool, **filters: Any) -> None:
    """Show the log, the latest last, or one event whole with its deliveries."""
    if event is not None:
        _show_one("/v1/events", event)
    else:
        _show_latest("/v1/events", {**filters, "type": type_}, EVENTS, limit=limit, follow=follow, as_json=as_json)


@main.command()
@click.argument("delivery", required=False)
@click.option("--subscription", help="To that one, by id or name.")
@click.option("--status", type=click.Choice(STATES), help="In that state.")
@click.option("--event", help="Of that event, by id.")
@_since
@_limit
@_follow
@as_json_option
def deliveries(delivery: str | None, *, limit: int, follow: bool, as_json: bool, **filters: Any) -> None:
    """Show deliveries, the latest last, or one whole with its attempts."""
    if delivery is not None:
        _show_one("/v1/deliveries", delivery)
    else:
        _show_latest("/v1/deliveries", filters, DELIVERIES, limit=limit, follow=follow, as_json=as_json)


@main.command()
@click.option("--subscription", help="To that one, by id or name.")
@_since
@_limit
@_follow
@as_json_option
def dead(*, limit: int, follow: bool, as_json: bool, **filters: Any) -> None:
    """Show deliveries that were given up; `relay replay` sends them once more."""
    filters["status"] = "dead"
    _show_latest("/v1/deliveries", filters, DELIVERIES, limit=limit, follow=follow, as_json=as_json)


@main.command()
@click.argument("subscription")
@_since
@_until
@click.option("--event", "event_ids", multiple=True, help="That one, by id; may be given more than once.")
@click.option("--status", type=click.Choice(["dead", "delivered", "all"]), help="Only what is in that state.")
@click.option("--type", "event_types", multiple=True, help="Of that type; may be given more than once.")
@click.option("--wait", is_flag=True, help="Wait until all of it is queued, and show how far it is.")
@as_json_option
def replay(subscription: str, *, wait: bool, as_json: bool, **what: Any) -> None:
    """Send events of the log once more to a subscription (by id or name), each subject's in order."""

    async def run() -> Any:
        async with open_api() as client:
            path = f"/v1/subscriptions/{segment(await _subscription_id(client, subscription))}/replay"
            body = {name: [*value] if isinstance(value, tuple) else value for name, value in what.items() if value}
            begun = await client.call("POST", path, json=body)
            return await _until_queued(client, begun["replay_id"]) if wait else begun

    done = asyncio.run(run())
    if as_json:
        print_json(done)
    else:
        print_table({name.upper(): itemgetter(name) for name in done}, [done])


async def _until_queued(client: Client, replay_id: str) -> Any:
    while True:
        progress = await client.call("GET", f"/v1/replays/{segment(replay_id)}")
        if progress["status"] != "running":
            return progress
        click.echo(f"{progress['queued']} of {progress['deliveries']} queued", err=True)
        await asyncio.sleep(FOLLOW_EVERY_S)


async def _subscription_id(client: Client, name: str) -> str:
    """Find a subscription that was named by its id or its name."""
    if name.startswith("sub_"):
        return name
    known = {row["name"]: row["id"] async for row in client.each("/v1/subscriptions") if row["name"]}
    if name in known:
        return str(known[name])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f": did you mean {near[0]!r}?" if near else ""
    raise ApiError(f"no subscription is named {name!r}{hint}")


def _show(path: str, name: str | None, columns: Columns, *, as_json: bool) -> None:
    if name is not None:
        _show_one(path, name)
        return

    async def ask() -> list[Row]:
        async with open_api() as client:
            return [row async for row in client.each(path)]

    rows = asyncio.run(ask())
    if as_json:
        print_json(rows)
    else:
        print_table(columns, rows)


def _show_one(path: str, name: str) -> None:
    async def ask() -> Any:
        async with open_api() as client:
            found = await _subscription_id(client, name) if path == "/v1/subscriptions" else name
            return await client.call("GET", f"{path}/{segment(found)}")

    print_json(asyncio.run(ask()), readable=sys.stdout.isatty())


def _show_latest(
    path: str, filters: dict[str, Any], columns: Columns, *, limit: int, follow: bool, as_json: bool
) -> None:
    """Show the latest rows of a list that has the newest first, the newest last; and what comes after them."""

    def show(rows: Sequence[Row], *, first: bool) -> None:
        if not as_json:
            print_table(columns, rows, heading=first)
        elif follow:
            for row in rows:
                print_json(row)
        else:
            print_json(rows)

    async def run() -> None:
        async with open_api() as client:
            if filters.get("subscription"):
                filters["subscription"] = await _subscription_id(client, filters["subscription"])
            rows = [row async for row in client.each(path, filters, at_most=limit)][::-1]
            show(rows, first=True)
            if follow:
                async for row in _follow_list(client, path, filters, rows):
                    show([row], first=False)

    asyncio.run(run())


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
