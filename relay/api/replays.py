"""Replays: what a subscription was told, or should have been, once more."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from relay.api.fields import Moment, epoch_ms, parse_moment
from relay.api.identifiers import ID_BYTES, derive, is_id, make_id
from relay.api.nudges import nudge
from relay.api.operations import EVERYBODY, PARTNERS, Call, Operation, Reply, Rfc3339
from relay.api.problems import Fault, ProblemError, not_found
from relay.api.reach import reached, sees, sees_brand
from relay.api.subscription_models import EventTypes
from relay.api.validation import Answer, Body, Sound
from relay.core.deliveries import State
from relay.core.subscriptions import check_event_types
from relay.pipeline.replay import Selection
from relay.store.documents import NameTaken, Stored
from relay.store.positions import LARGEST, first_at
from relay.store.replays import Replay
from relay.store.subscriptions import Subscription

SELECT_DEADLINE_S: Final = 20.0
MOST_IDS: Final = 1000
EventId = Annotated[str, Field(pattern="^evt_[0-9a-v]{32}$")]


class ReplayCreate(Body):
    """What to replay; what is left out does not limit."""

    since: Moment | None = None
    """Events committed at or after that time."""
    until: Moment | None = None
    """Events committed before that time."""
    event_ids: Annotated[list[EventId], Field(min_length=1, max_length=MOST_IDS)] | None = None
    """Those events."""
    status: Literal["dead", "delivered", "all"] = "all"
    """Only deliveries in that state; ``all`` also takes events that match and were never delivered to it."""
    event_types: EventTypes | None = None
    """Only those types."""


class ReplayStarted(Answer):
    """A replay that has begun."""

    replay_id: str
    """``rpl_…``."""
    deliveries: int
    """How many it selected."""


class ReplayAnswer(Answer):
    """How far a replay is."""

    id: str
    """``rpl_…``."""
    subscription: str
    """Whose."""
    status: str = Field(json_schema_extra={"enum": ["running", "done"]})
    """``running`` until all are queued."""
    deliveries: int
    """How many it selected."""
    queued: int
    """How many of them are queued by now."""
    created_at: Rfc3339
    """When it began."""
    ended_at: Rfc3339 | None
    """When all were queued."""


async def check(call: Call, fields: Sound) -> list[Fault]:
    """Look at times and types."""
    faults = []
    since, until = fields.get("since"), fields.get("until")
    if since is not None and epoch_ms(parse_moment(since)) > call.now_ms:
        faults.append(Fault(pointer="/since", detail="Must not lie in the future.", code="range"))
    if since is not None and until is not None and parse_moment(until) <= parse_moment(since):
        faults.append(Fault(pointer="/until", detail="Must be later than since.", code="range"))
    types = fields.get("event_types")
    if types is not None:
        faults += [
            Fault(pointer=f"/event_types{problem.pointer}", detail=problem.detail, code="choice")
            for problem in check_event_types(types)
        ]
    return faults


async def create(call: Call) -> Reply:
    """Begin a replay."""
    body, services = call.body_as(ReplayCreate), call.services
    stored = await reached(call, call.path["id"])
    replay_id = make_id("rpl", derive(call.nonce, "id", ID_BYTES))
    earlier = await services.replay_store.get(replay_id) if call.repeatable else None
    if earlier is not None:
        return _started(earlier)
    await _check_state(call, stored.value)
    await _check_events(call, body)
    selection = Selection(
        first=0 if body.since is None else first_at(epoch_ms(parse_moment(body.since))),
        last=LARGEST if body.until is None else first_at(epoch_ms(parse_moment(body.until))) - 1,
        event_ids=None if body.event_ids is None else tuple(body.event_ids),
        status=None if body.status == "all" else State(body.status),
        event_types=None if body.event_types is None else tuple(body.event_types),
    )
    try:
        made = await services.replays.start(stored.value, selection, replay_id=replay_id)
    except NameTaken:
        raise ProblemError("conflict", "This replay has begun already.") from None
    if await services.replays.step(made.value):
        await nudge(services, "replay")
    await services.wake("deliver")
    return _started(made)


async def _check_state(call: Call, subscription: Subscription) -> None:
    for other in (await call.services.replay_store.all()).values():
        if other.value.subscription_id == subscription.id and other.value.status == "running":
            raise ProblemError(
                "conflict",
                "A replay of this subscription is still running: wait for it, or stop it.",
                extra={"replay_id": other.id},
            )


async def _check_events(call: Call, body: ReplayCreate) -> None:
    """Another's event is not there for a partner's key."""
    if body.event_ids is None or call.principal.role != "partner":
        return
    positions = await call.services.log.positions_of(body.event_ids)
    events = await call.services.log.at([position for position in positions if position is not None])
    if None in positions or any(event is None or not sees_brand(call.principal, event.brand) for event in events):
        raise not_found("event")


def _started(stored: Stored[Replay]) -> Reply:
    return Reply(
        body=ReplayStarted(replay_id=stored.id, deliveries=stored.value.deliveries),
        headers={"location": f"/v1/replays/{stored.id}"},
        target=f"replay/{stored.id}",
    )


async def get_one(call: Call) -> Reply:
    """Show how far a replay is."""
    stored = await _reached(call)
    replay = stored.value
    progress = await call.services.replay_store.progress(stored.id)
    queued = replay.deliveries if replay.status == "done" else min(progress.queued, replay.deliveries)
    return Reply(
        body=ReplayAnswer(
            id=replay.id,
            subscription=replay.subscription_id,
            status=replay.status,
            deliveries=replay.deliveries,
            queued=queued,
            created_at=replay.created_at,
            ended_at=replay.ended_at,
        )
    )


async def stop(call: Call) -> Reply:
    """Stop a replay: what it has queued and is still pending is discarded."""
    stored = await _reached(call)
    await call.services.replays.stop(stored.id)
    return Reply(status=204, target=f"replay/{stored.id}")


async def _reached(call: Call) -> Stored[Replay]:
    replay_id = call.path["id"]
    stored = await call.services.replay_store.get(replay_id) if is_id("rpl", replay_id) else None
    if stored is None:
        raise not_found("replay")
    subscription = await call.services.subscriptions.get(stored.value.subscription_id)
    if call.principal.role == "partner" and (subscription is None or not sees(call.principal, subscription.value)):
        raise not_found("replay", hidden=f"replay/{replay_id}")
    if stored.value.status == "stopped":
        raise ProblemError("not_found", "This replay was stopped. What it had queued is discarded, or was sent before.")
    return stored


_EXAMPLE: Final[dict[str, Any]] = {
    "id": "rpl_k3m5q7r2t4u6v2x4z6b3",
    "subscription": "sub_k3m5q7r2t4u6v2x4z6b3",
    "status": "running",
    "deliveries": 1200,
    "queued": 500,
    "created_at": "2026-02-02T13:46:05.120Z",
    "ended_at": None,
}

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/subscriptions/{id}/replay",
        name="replay",
        tag="replays",
        summary="Deliver once more what is in the log",
        description="Keeps each subject's order, and goes behind what is queued already.",
        handler=create,
        roles=PARTNERS,
        body=ReplayCreate,
        body_optional=True,
        check=check,
        answer=ReplayStarted,
        status=202,
        problems=["not_found", "conflict"],
        action="subscription.replay",
        deadline_s=SELECT_DEADLINE_S,
        example={"replay_id": _EXAMPLE["id"], "deliveries": 1200},
        body_examples={
            "all that died since a time": {"since": "2026-02-02T00:00:00Z", "status": "dead"},
            "one event": {"event_ids": ["evt_0fkq3vq6m8t1c2d4e5g7h9i0j3k5l7n9"]},
        },
    ),
    Operation(
        method="GET",
        path="/v1/replays/{id}",
        name="get_replay",
        tag="replays",
        summary="Show how far a replay is",
        handler=get_one,
        roles=EVERYBODY,
        answer=ReplayAnswer,
        problems=["not_found"],
        etag=True,
        example=_EXAMPLE,
    ),
    Operation(
        method="DELETE",
        path="/v1/replays/{id}",
        name="stop_replay",
        tag="replays",
        summary="Stop a replay",
        description="What it has queued and is still pending is discarded. It is not there any more then.",
        handler=stop,
        roles=PARTNERS,
        status=204,
        problems=["not_found"],
        action="replay.stop",
        deadline_s=SELECT_DEADLINE_S,
    ),
)
