"""Commands that look at a running relay, by its API: brands, subscriptions, events, deliveries; and replay."""

import asyncio
import sys
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import click

from relay.cli.base import as_json_option, main, print_json, print_table
from relay.cli.lists import (
    BRANDS,
    DELIVERIES,
    EVENTS,
    FOLLOW_EVERY_S,
    SUBSCRIPTIONS,
    Kept,
    open_api,
    show_kept,
    show_latest,
    show_one,
    subscription_id,
)
from relay.client import Client, segment
from relay.core.durations import parse_duration
from relay.core.subscriptions import PATTERNS

STATES = ("pending", "delivered", "dead", "expired", "discarded")


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """A time with its zone as it is; a duration is so long ago."""
    if text is None:
        return None
    try:
        return (datetime.now(UTC) - parse_duration(text)).isoformat()
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(
            f"{text!r} is neither how long ago (10m, 2h, 1d) nor a time with its zone (2026-02-02T13:45:53Z)"
        )
    return moment.isoformat()


_limit = click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
_follow = click.option(
    "--follow", is_flag=True, help="Go on with what comes; Ctrl-C ends it. With --json: a line each."
)
_since = click.option("--since", callback=_moment, help="How long ago (10m, 2h, 1d), or a time (RFC 3339).")
_until = click.option("--until", callback=_moment, help="How long ago (10m, 2h, 1d), or a time (RFC 3339).")


def _types(_context: click.Context, _option: click.Parameter, begun: str) -> list[str]:
    return [pattern for pattern in PATTERNS if pattern.startswith(begun)]


@main.command(
    examples={
        "brands": "Is each brand looked at, and if not, why not?",
        "brands openapitest": "One whole, as JSON: its venues, quota, rows set aside.",
        "brands --follow": "A line whenever one is doing better or worse.",
    }
)
@click.argument("brand", required=False)
@_follow
@as_json_option
def brands(brand: str | None, *, follow: bool, as_json: bool) -> None:
    """Show the brands and how they are doing. Or one of them, whole."""
    show_kept(Kept("/v1/brands", BRANDS, "QUOTA"), brand, follow=follow, as_json=as_json)


@main.command(
    examples={
        "subscriptions": "Whom do we tell, and what waits?",
        "subscriptions courier": "One whole, as JSON.",
        "subscriptions --follow --json": "A line of JSON whenever one of them has changed.",
    }
)
@click.argument("subscription", required=False)
@_follow
@as_json_option
def subscriptions(subscription: str | None, *, follow: bool, as_json: bool) -> None:
    """Show the subscriptions and what waits in them. Or one, by id or name, whole."""
    show_kept(Kept("/v1/subscriptions", SUBSCRIPTIONS, "OLDEST"), subscription, follow=follow, as_json=as_json)


@main.command(
    examples={
        "events --follow": "What happens, as it happens.",
        "events --since 2h --type order.status_changed": "What changed status in the last two hours.",
        "events --subject order/1 --json": "The life of one order, for a program.",
        "events evt_0fkq3v8m2n": "One event whole, with its deliveries.",
    }
)
@click.argument("event", required=False)
@click.option("--brand", help="Of that brand.")
@click.option("--venue", "venue_id", type=int, help="Of that venue.")
@click.option("--type", "type_", help="Of that type, or order.* and the like.", shell_complete=_types)
@click.option("--subject", help="About that: order/1.")
@_since
@_until
@_limit
@_follow
@as_json_option
def events(event: str | None, *, type_: str | None, limit: int, follow: bool, as_json: bool, **filters: Any) -> None:
    """Show the log of events, the latest last. Or one event, whole, with its deliveries."""
    if event is not None:
        show_one("/v1/events", event)
    else:
        show_latest("/v1/events", {**filters, "type": type_}, EVENTS, limit=limit, follow=follow, as_json=as_json)


@main.command(
    examples={
        "deliveries --follow": "What becomes of each event, as it becomes it.",
        "deliveries --subscription courier --status pending": "What waits for one partner, and why.",
        "deliveries --event evt_0fkq3v8m2n": "Who was told of one event?",
        "deliveries dlv_0fkq3v8m2n": "One whole, with its attempts.",
    }
)
@click.argument("delivery", required=False)
@click.option("--subscription", help="To that one, by id or name.")
@click.option("--status", type=click.Choice(STATES), help="In that state.")
@click.option("--event", help="Of that event, by id.")
@_since
@_limit
@_follow
@as_json_option
def deliveries(delivery: str | None, *, limit: int, follow: bool, as_json: bool, **filters: Any) -> None:
    """Show deliveries, the latest last. Or one, whole, with its attempts."""
    if delivery is not None:
        show_one("/v1/deliveries", delivery)
    else:
        show_latest("/v1/deliveries", filters, DELIVERIES, limit=limit, follow=follow, as_json=as_json)


@main.command(
    examples={
        "dead": "What was given up, and with which error.",
        "dead --subscription courier --since 1d": "One partner's, of the last day.",
        "replay courier --status dead": "Send them once more.",
    }
)
@click.option("--subscription", help="To that one, by id or name.")
@_since
@_limit
@_follow
@as_json_option
def dead(*, limit: int, follow: bool, as_json: bool, **filters: Any) -> None:
    """Show deliveries that were given up. `relay replay` sends them once more."""
    filters["status"] = "dead"
    show_latest("/v1/deliveries", filters, DELIVERIES, limit=limit, follow=follow, as_json=as_json)


@main.command(
    examples={
        "replay courier --status dead": "What was given up, once more.",
        "replay courier --since 2h --wait": "All of the last two hours; wait, and show how far it is.",
        "replay courier --event evt_0fkq3v8m2n": "One event.",
    }
)
@click.argument("subscription")
@_since
@_until
@click.option("--event", "event_ids", multiple=True, help="That one, by id; may be given more than once.")
@click.option("--status", type=click.Choice(["dead", "delivered", "all"]), help="Only what is in that state.")
@click.option(
    "--type", "event_types", multiple=True, help="Of that type; may be given more than once.", shell_complete=_types
)
@click.option("--wait", is_flag=True, help="Wait until all of it is queued, and show how far it is.")
@as_json_option
def replay(subscription: str, *, wait: bool, as_json: bool, **what: Any) -> None:
    """Send events once more to a subscription. Named by id or name; each subject's events keep their order."""

    async def run() -> Any:
        async with open_api() as client:
            path = f"/v1/subscriptions/{segment(await subscription_id(client, subscription))}/replay"
            body = {name: [*value] if isinstance(value, tuple) else value for name, value in what.items() if value}
            begun = await client.call("POST", path, json=body)
            return await _until_queued(client, begun["replay_id"]) if wait else begun

    done = asyncio.run(run())
    if as_json:
        print_json(done)
    else:
        print_table({name.upper(): itemgetter(name) for name in done}, [done])


async def _until_queued(client: Client, replay_id: str) -> Any:
    """Wait for a replay: a bar on a terminal, else a line whenever there is more of it."""
    path = f"/v1/replays/{segment(replay_id)}"
    progress = await client.call("GET", path)
    watched = sys.stderr.isatty()
    with click.progressbar(
        length=progress["deliveries"], label="queued", show_pos=True, file=sys.stderr, hidden=not watched
    ) as bar:
        shown = -1
        while True:
            if not watched and progress["queued"] != shown:
                click.echo(f"{progress['queued']} of {progress['deliveries']} queued", err=True)
            bar.update(progress["queued"] - max(shown, 0))
            shown = progress["queued"]
            if progress["status"] != "running":
                return progress
            await asyncio.sleep(FOLLOW_EVERY_S)
            progress = await client.call("GET", path)
