"""Subscriptions: how each is doing; a test, a pause, another secret, and once more what it was told."""

from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from relay.api.problems import ProblemError
from relay.api.ui import gathering
from relay.api.ui.forms import Form
from relay.api.ui.health import name_of
from relay.api.ui.overview_view import attempts_chart
from relay.api.ui.sessions import Notice
from relay.api.ui.statuses import Level, subscription_badge
from relay.api.ui.visits import Visit, refusal
from relay.core.subscriptions import PATTERNS

OVERLAPS: Final = {"24h": "for a day", "1h": "for an hour", "7d": "for a week", "0s": "not at all"}
_NO_EVENTS: Final = "Each must be the id of an event: evt_ and 32 letters and digits; at most 1000 of them."
LATEST: Final = 7
MOST_TYPED: Final = 4000
"""Characters of a field of a form that is shown again."""


async def show_all(visit: Visit) -> Response:
    """Every subscription that the visitor is told of."""
    cursor = visit.param("cursor")
    found = await visit.ask("list_subscriptions", query={"cursor": cursor} if cursor else {})
    return visit.show(
        "subscriptions.html",
        part="_subscriptions.html",
        subscriptions=found["data"],
        next_cursor=found["next_cursor"],
        name_of=name_of,
        state_of=subscription_badge,
    )


async def show_one(visit: Visit) -> Response:
    """One subscription."""
    subscription = await visit.ask("get_subscription", path={"id": visit.path("id")})
    latest = await visit.ask("list_deliveries", query={"subscription": subscription["id"], "limit": LATEST})
    errors = await gathering.last_errors(visit, [subscription])
    slots = await gathering.slots(visit, [subscription["id"]])
    return visit.show(
        "subscription.html",
        part="_subscription.html",
        subscription=subscription,
        name=name_of(subscription),
        state=subscription_badge(subscription["state"]),
        error=errors.get(subscription["id"]),
        latest=latest["data"],
        attempts=attempts_chart(slots),
        replays=await _replays(visit, subscription["id"]),
        overlaps=OVERLAPS,
        types=PATTERNS,
    )


async def test(visit: Visit, _form: Form) -> Response:
    """Send a test, and show how it went."""

    def told(answer: dict[str, Any]) -> Notice:
        if answer["success"]:
            return Notice(level=Level.OK, text="The test was taken.", more={"test": answer})
        return Notice(level=Level.BAD, text="The test was not taken.", more={"test": answer})

    return await visit.attempt(_path(visit), visit.ask("test_subscription", path={"id": visit.path("id")}), told)


async def pause(visit: Visit, _form: Form) -> Response:
    """Send nothing until it is resumed."""
    notice = Notice(level=Level.OK, text="Paused: events queue up, nothing is sent.")
    return await visit.attempt(
        _path(visit), visit.ask("pause_subscription", path={"id": visit.path("id")}), lambda _: notice
    )


async def resume(visit: Visit, _form: Form) -> Response:
    """Send again."""
    notice = Notice(level=Level.OK, text="Resumed: what has queued up is sent.")
    return await visit.attempt(
        _path(visit), visit.ask("resume_subscription", path={"id": visit.path("id")}), lambda _: notice
    )


async def rotate(visit: Visit, form: Form) -> Response:
    """Give it a new secret, and show it once."""

    def told(answer: dict[str, Any]) -> Notice:
        more = {"secret": answer["secret"], "public_key": answer["public_key"], "until": answer["old_secret_until"]}
        return Notice(level=Level.OK, text="This is the new secret. It is shown this once: copy it now.", more=more)

    asked = visit.ask("rotate_secret", path={"id": visit.path("id")}, body={"overlap": form.get("overlap") or "24h"})
    return await visit.attempt(_path(visit), asked, told)


async def replay(visit: Visit, form: Form) -> Response:
    """Deliver once more what is in the log."""
    body: dict[str, Any] = {"status": form.get("status") or "all"}
    for name in ("since", "until"):
        if form.get(name):
            body[name] = moment(form.get(name))
    if form.get("event_type"):
        body["event_types"] = [form.get("event_type")]
    if form.get("event_ids"):
        body["event_ids"] = list(dict.fromkeys(form.get("event_ids").replace(",", " ").split()))
    try:
        answer = await visit.ask("replay", path={"id": visit.path("id")}, body=body)
    except ProblemError as problem:
        if problem.kind.status in (404, 503):
            raise
        told = refusal(problem)
        if "event_ids" in told.faults:
            told = replace(told, text=_NO_EVENTS, faults={**told.faults, "event_ids": _NO_EVENTS})
        values = {name: value for name, value in form.values() if len(value) <= MOST_TYPED}
        return await visit.tell(_path(visit), replace(told, values=values))
    notice = Notice(level=Level.OK, text="The replay has begun.")
    return await visit.tell(f"/ui/replays/{answer['replay_id']}", notice)


def moment(text: str) -> str:
    """What a browser's field for a time holds, as the API takes it: it has no zone, and is in UTC here."""
    if len(text) == len("2026-02-02T13:45"):
        return f"{text}:00Z"
    return f"{text}Z" if len(text) == len("2026-02-02T13:45:53") else text


def _path(visit: Visit) -> str:
    return f"/ui/subscriptions/{visit.path('id')}"


async def _replays(visit: Visit, subscription_id: str) -> list[dict[str, Any]]:
    """The replays of a subscription that are kept, the last first."""
    kept = (await visit.services.replay_store.all()).values()
    mine = sorted(
        (each.value for each in kept if each.value.subscription_id == subscription_id),
        key=lambda each: each.created_at,
        reverse=True,
    )
    return [await visit.ask("get_replay", path={"id": each.id}) for each in mine[:3]]
