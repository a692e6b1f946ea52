"""Replays: how far one is, and an end to it."""

from starlette.responses import Response

from relay.api.ui.charts import portion
from relay.api.ui.forms import Form
from relay.api.ui.health import name_of
from relay.api.ui.sessions import Notice
from relay.api.ui.statuses import Level
from relay.api.ui.visits import Visit


async def show(visit: Visit) -> Response:
    """One replay, until all of it is queued."""
    replay = await visit.ask("get_replay", path={"id": visit.path("id")})
    subscription = await visit.ask("get_subscription", path={"id": replay["subscription"]})
    done = 100.0 if replay["status"] == "done" else portion(replay["queued"], max(replay["deliveries"], 1))
    return visit.show("replay.html", part="_replay.html", replay=replay, name=name_of(subscription), done=done)


async def stop(visit: Visit, _form: Form) -> Response:
    """Stop it."""
    replay_id = visit.path("id")
    replay = await visit.ask("get_replay", path={"id": replay_id})
    return await visit.attempt(
        f"/ui/subscriptions/{replay['subscription']}",
        visit.ask("stop_replay", path={"id": replay_id}),
        lambda _: Notice(
            level=Level.OK, text="The replay was stopped: what it had queued and was still pending is discarded."
        ),
    )
