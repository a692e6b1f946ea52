"""An exception of whatever class within one delivery: that one waits and is tried again, no other notices."""

from __future__ import annotations

import time

import pytest

from relay.core.deliveries import State
from relay.egress.sender import Attempt, OutboundRequest, Sender
from relay.pipeline.deliver import deliver_shift
from relay.pipeline.stop import Stop
from tests.integration.relays import LOOPBACK, Parts, order, partner


class Raising(Sender):
    """Raises in the midst of the delivery of order 1."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(allow=LOOPBACK)
        self._error = error

    async def send(self, request: OutboundRequest) -> Attempt:
        if b'"order/1"' in request.body:
            raise self._error
        return await super().send(request)


ERRORS = [
    ValueError("…"),
    RecursionError(),
    MemoryError(),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    OSError(24, "Too many open files"),
    AssertionError(),
    StopIteration(),
    TimeoutError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_only_that_delivery_waits(parts: Parts, error: BaseException) -> None:
    async with partner() as endpoint, Raising(error) as sender:
        subscription = await parts.subscribe(endpoint.url)
        report = await parts.see(*(order(number) for number in range(1, 6)))
        stop = Stop(time.monotonic, 30)
        await deliver_shift(parts.context(sender), owner="w", stop=stop, concurrency=8)
        assert {call.event["subject"] for call in endpoint.calls} == {f"order/{number}" for number in range(2, 6)}
        record = (await parts.of(subscription, report.events[0][3])).record
        assert (record.state, record.attempts) == (State.PENDING, 0)
        await parts.due_now(subscription)
        await parts.deliver(owner="next")
        assert len(endpoint.calls) == 5
    assert (await parts.closes(subscription)).delivered == 5
