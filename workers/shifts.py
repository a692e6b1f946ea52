"""What do shifts of each kind do, given an opened relay?"""

from __future__ import annotations

from collections.abc import Mapping

from relay.bootstrap import Relay
from relay.pipeline.deliver import deliver_shift
from relay.pipeline.poll import poll_shift
from relay.pipeline.stop import ShiftReport, Stop
from relay.pipeline.sweep import maintain_shift
from workers.shift import ShiftFunction


def shifts(relay: Relay, concurrency: int) -> Mapping[str, ShiftFunction]:
    """Make the table of shifts: kind -> what runs.

    Args:
        relay: what they work with.
        concurrency: attempts, or looks, at once in this process.
    """

    async def poll(owner: str, stop: Stop) -> ShiftReport:
        return await poll_shift(relay.poll_context(), owner=owner, stop=stop, concurrency=concurrency)

    async def deliver(owner: str, stop: Stop) -> ShiftReport:
        return await deliver_shift(relay.deliver_context(), owner=owner, stop=stop, concurrency=concurrency)

    async def maintain(owner: str, stop: Stop) -> ShiftReport:
        return await maintain_shift(relay.maintain_context(), owner=owner, stop=stop)

    return {"poll": poll, "deliver": deliver, "maintain": maintain}
