"""Which heads wait in this process for a place?  Where one attempt ends the next begins, without asking Redis between.

They are few: no more than have ended of late, so that they begin within a turn or two. One that has waited for
``AHEAD_S`` is not begun: its lane may have been paused or changed meanwhile, so it goes back to its queue.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from relay.pipeline.attempt import Head
from relay.pipeline.lane_run import LaneRun

AHEAD_S: Final = 0.25


class Ahead:
    """Heads by lane, in the order in which they were handed out, and lanes in the order in which they get places.

    Attributes:
        count: heads that wait.
    """

    def __init__(self) -> None:
        self._heads: dict[LaneRun, deque[tuple[float, Head]]] = {}
        self._open: dict[LaneRun, None] = {}
        self.count = 0

    def put(self, lane: LaneRun, head: Head, *, now_s: float) -> None:
        """Let a head wait for a place."""
        self._heads.setdefault(lane, deque()).append((now_s, head))
        lane.waiting += 1
        lane.busy += 1
        self.count += 1
        self.look_again(lane)

    def look_again(self, lane: LaneRun) -> None:
        """Something has happened to a lane: it may have a place, or may not send any more."""
        if lane in self._heads:
            self._open[lane] = None

    def pass_over(self, lane: LaneRun) -> None:
        """A lane has no place: it is not looked at before something happens to it."""
        self._open.pop(lane, None)

    def next_lane(self) -> LaneRun | None:
        """The lane whose turn it is, which becomes the last."""
        lane = next(iter(self._open), None)
        if lane is not None:
            del self._open[lane]
            self._open[lane] = None
        return lane

    def take(self, lane: LaneRun, *, now_s: float) -> Head | None:
        """The first head of a lane, None where it has waited too long."""
        since_s, head = self._heads[lane][0]
        if now_s - since_s >= AHEAD_S:
            return None
        self._take(lane)
        return head

    def give_up(self, lane: LaneRun) -> list[Head]:
        """Every head of a lane; none of them waits any more."""
        return [self._take(lane) for _ in range(lane.waiting)]

    def lanes(self) -> list[LaneRun]:
        """Every lane of which something waits."""
        return list(self._heads)

    def overdue(self, now_s: float) -> Iterator[LaneRun]:
        """Lanes whose first head has waited too long."""
        return (lane for lane in list(self._heads) if now_s - self._heads[lane][0][0] >= AHEAD_S)

    def _take(self, lane: LaneRun) -> Head:
        heads = self._heads[lane]
        _, head = heads.popleft()
        lane.waiting -= 1
        lane.busy -= 1
        self.count -= 1
        if not heads:
            del self._heads[lane]
            self._open.pop(lane, None)
        return head
