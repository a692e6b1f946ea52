import pytest

from relay.sandbox import documented
from relay.sandbox.world import World

NOON = 1_795_176_000.0  # 2026-11-20T12:00:00Z


class Clock:
    def __init__(self) -> None:
        self.now_s = NOON

    def __call__(self) -> float:
        return self.now_s

    def forward(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    made = World(clock=clock)
    documented.seed(made)
    return made
