"""What becomes of the heads that were handed out?  Those that can be sent are begun; the others end, or go back."""

from collections.abc import Callable, Sequence

from relay import logs
from relay.core.deliveries import BY_HAND, FRESH, Record, State
from relay.core.errors import CorruptStateError
from relay.core.events import StoredEvent, render
from relay.core.shaping import Shape
from relay.pipeline.attempt import BACK, DISCARDED, EXPIRED, Head, unreadable, unsent
from relay.pipeline.deliver_context import DeliverContext
from relay.pipeline.endpoints import Endpoint
from relay.pipeline.in_hand import InHand
from relay.pipeline.lane_run import UNSENDABLE_MS, LaneRun
from relay.store.lanes import ENDED, UNREADABLE, TakenHead, Takings
from relay.store.log import stored_event

NO_ROOM_MS = 50
NEWER_WAIT_MS = 60_000
"""How long an event waits here that a newer version of the relay has packed: a newer worker may take it meanwhile."""


class HandingOut:
    """Looks at heads: at their events, their age, their brand. An event that many lanes wait for is looked at once."""

    def __init__(self, ctx: DeliverContext, hand: InHand, *, now_ms: Callable[[], int]) -> None:
        self._ctx = ctx
        self._hand = hand
        self._now_ms = now_ms
        self._brands: frozenset[str] = frozenset()
        self._brands_epoch = -1
        self._takings: Takings | None = None
        self._events: dict[int, StoredEvent] = {}
        self._bodies: dict[tuple[int, Shape], bytes] = {}

    async def refresh(self, takings: Takings) -> None:
        """Read subscriptions and brands again where they have changed since."""
        if takings.subscriptions_epoch != self._ctx.endpoints.epoch:
            await self._ctx.endpoints.refresh()
        if takings.brands_epoch != self._brands_epoch:
            self._brands_epoch, stored = await self._ctx.brands.snapshot()
            self._brands = frozenset(stored)

    def open(self, takings: Takings) -> None:
        """Look at these from now on."""
        self._takings = takings
        self._events.clear()
        self._bodies.clear()

    def begin(self, lane: LaneRun, heads: Sequence[TakenHead]) -> None:
        """Begin attempts of a lane's heads."""
        endpoint = self._ctx.endpoints.get(lane.subscription_id)
        if endpoint is None:
            for head in heads:
                self._end(lane, head, _record(lane, head), BACK)
            lane.set_aside(self._now_ms() + UNSENDABLE_MS)
            return
        lane.fit(endpoint)
        lane.fruitful = lane.fruitful or bool(heads)
        for head in heads:
            self._begin_one(lane, endpoint, head)

    def _begin_one(self, lane: LaneRun, endpoint: Endpoint, head: TakenHead) -> None:
        record = _record(lane, head)
        if head.attempts == ENDED:
            self._end(lane, head, record, BACK)
            return
        try:
            event = self._event(head)
        except (CorruptStateError, ValueError) as error:
            self._cannot_read(lane, head, record, error)
            return
        max_age_s = endpoint.subscription.max_age_s
        now_ms = self._now_ms()
        if event is None:
            self._end(lane, head, record, EXPIRED)
        elif event.brand is not None and event.brand not in self._brands:
            self._end(lane, head, record, DISCARDED)
        elif max_age_s is not None and not record.opened and now_ms - event.timestamp_ms > max_age_s * 1000:
            self._end(lane, head, record, EXPIRED)
        else:
            body = self._body(head.event, event, endpoint.shape_at(head.position))
            if self._hand.fits(len(body)):
                self._hand.begin(lane, endpoint, Head(head.queue, head.position, record, event, body))
            else:
                self._end(lane, head, record, BACK)
                lane.wait_until(now_ms + NO_ROOM_MS)

    def _event(self, head: TakenHead) -> StoredEvent | None:
        """The event of a head; None where the log has it no more.

        Raises:
            CorruptStateError, ValueError: it cannot be read.
        """
        event = self._events.get(head.event)
        if event is None and self._takings is not None:
            static, sequence, previous = self._takings.events[head.event - 1]
            if static is None:
                return None
            event = self._events[head.event] = stored_event(head.position, static, sequence, previous)
        return event

    def _body(self, number: int, event: StoredEvent, shape: Shape) -> bytes:
        body = self._bodies.get((number, shape))
        if body is None:
            body = self._bodies[number, shape] = render(event, shape)
        return body

    def _cannot_read(self, lane: LaneRun, head: TakenHead, record: Record, error: Exception) -> None:
        logs.event(
            "event unreadable", level="error", exc=error, subscription=lane.subscription_id, position=head.position
        )
        if isinstance(error, CorruptStateError) and error.reason == "newer_version":
            due_ms = self._now_ms() + NEWER_WAIT_MS
            self._hand.end(lane, unsent(head.queue, head.position, record, verdict=BACK, due_ms=due_ms))
        else:
            self._hand.end(lane, unreadable(head.queue, head.position, record, at_s=self._ctx.wall_s()))

    def _end(self, lane: LaneRun, head: TakenHead, record: Record, verdict: str) -> None:
        lane.hungry = True
        self._hand.end(lane, unsent(head.queue, head.position, record, verdict=verdict))


def _record(lane: LaneRun, head: TakenHead) -> Record:
    if head.attempts == UNREADABLE:
        # Its history is lost, the event is not: it starts anew, and the settlement writes a sound record.
        logs.event("delivery unreadable", level="error", subscription=lane.subscription_id, position=head.position)
        return FRESH
    if head.attempts <= 0 and not head.opened:
        return FRESH
    return Record(State.PENDING, max(head.attempts, 0), replay=BY_HAND if head.opened else "")
