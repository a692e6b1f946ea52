"""Deliveries that were given up: which, why, and once more for one, some or all of them."""

from typing import Any, Final

from starlette.responses import Response

from relay.api.delivery_views import rows
from relay.api.problems import ProblemError
from relay.api.reach import sees_brand
from relay.api.ui import gathering
from relay.api.ui.formats import plural
from relay.api.ui.forms import Form
from relay.api.ui.health import name_of
from relay.api.ui.sessions import Notice
from relay.api.ui.statuses import Level
from relay.api.ui.visits import Visit

PAGE: Final = 50
MOST_PAGES: Final = 20
PATH: Final = "/ui/dead"


async def show(visit: Visit) -> Response:
    """The last that died first."""
    chosen = visit.param("subscription")
    number = _page_number(visit)
    everything = [each for each in await gathering.subscriptions(visit) if each["state"]["dead"]]
    wanted = [each for each in everything if chosen in ("", each["id"])]
    found = await visit.services.activity.dead(
        [each["id"] for each in wanted], limit=PAGE + 1, skip=(number - 1) * PAGE
    )
    deliveries = await visit.services.deliveries.many([(each.subscription_id, each.position) for each in found[:PAGE]])
    seen = [each for each in deliveries if each is not None and sees_brand(visit.session.principal, each.brand)]
    died = {(each.subscription_id, each.position): each.died_ms for each in found}
    shown = [
        (row.model_dump(mode="json"), died[each.subscription_id, each.position])
        for row, each in zip(await rows(visit.services, seen), seen, strict=True)
    ]
    return visit.show(
        "dead.html",
        rows=shown,
        chosen=chosen,
        subscriptions=everything,
        names={each["id"]: name_of(each) for each in everything},
        dead=sum(each["state"]["dead"] for each in wanted),
        number=number,
        more=len(found) > PAGE and number < MOST_PAGES,
    )


async def retry(visit: Visit, form: Form) -> Response:
    """Once more: those that were ticked, or all."""
    chosen = form.get("subscription")
    back = f"{PATH}?subscription={chosen}" if _is_plain(chosen) else PATH
    notice = await (_retry_all(visit, chosen) if form.get("what") == "all" else _retry_some(visit, form.all("id")))
    return await visit.tell(back, notice)


async def _retry_some(visit: Visit, ids: list[str]) -> Notice:
    done, why = 0, dict[str, None]()
    for delivery_id in list(dict.fromkeys(ids))[:PAGE]:
        try:
            await visit.ask("retry_delivery", path={"id": delivery_id})
            done += 1
        except ProblemError as problem:
            if problem.kind.status == 503:  # noqa: PLR2004
                raise
            why[problem.detail] = None
    if not ids:
        return Notice(level=Level.WARN, text="Nothing was ticked: tick the deliveries to retry, or retry all.")
    return _told(plural(done, "delivery is", "deliveries are") + " pending again.", list(why), done=done)


async def _retry_all(visit: Visit, chosen: str) -> Notice:
    """By a replay of what is dead, for each subscription: it goes on in the background, however many they are."""
    begun, why = 0, []
    for subscription in await gathering.subscriptions(visit):
        if not subscription["state"]["dead"] or chosen not in ("", subscription["id"]):
            continue
        try:
            answer: Any = await visit.ask("replay", path={"id": subscription["id"]}, body={"status": "dead"})
            begun += answer["deliveries"]
        except ProblemError as problem:
            if problem.kind.status == 503:  # noqa: PLR2004
                raise
            why.append(f"{name_of(subscription)}: {problem.detail}")
    return _told(plural(begun, "delivery is", "deliveries are") + " being queued again.", why, done=begun)


def _told(text: str, why: list[str], *, done: int) -> Notice:
    level = Level.OK if done and not why else Level.WARN if done else Level.BAD
    return Notice(level=level, text=" ".join([text, *why[:5]]))


def _page_number(visit: Visit) -> int:
    text = visit.param("page")
    return min(int(text), MOST_PAGES) if text.isascii() and text.isdigit() and 0 < len(text) <= 3 and int(text) else 1  # noqa: PLR2004


def _is_plain(text: str) -> bool:
    return text != "" and text.isascii() and text.replace("_", "").isalnum()
