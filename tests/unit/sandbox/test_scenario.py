from typing import Protocol

import pytest

from relay.sandbox import documented
from relay.sandbox.model import Change
from relay.sandbox.scenario import PROFILES, Scenario
from relay.sandbox.world import World


class Clock(Protocol):
    now_s: float

    def __call__(self) -> float: ...
    def forward(self, seconds: float) -> None: ...


def evening(clock: Clock, name: str, *, seed: int, for_s: float, meddle: bool = False) -> World:
    world = World(clock=clock)
    documented.seed(world)
    scenario = Scenario(world, name, seed=seed)
    end_s = clock() + for_s
    while scenario.next_s <= end_s:
        clock.now_s = scenario.next_s
        scenario.run_until(clock.now_s)
        if meddle and len(world.history) == 20:
            world.ignore(world.order("openapitest", 1, 109))
    return world


def what_happened(world: World, start_s: float) -> list[tuple[float, str, int, object]]:
    return [(round(c.at_s - start_s, 6), c.what, c.subject_id, c.status) for c in world.history]


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile])
def test_the_same_seed_makes_the_same_evening(clock: Clock, name: str) -> None:
    start_s = clock.now_s
    first = evening(clock, name, seed=7, for_s=120)
    clock.now_s = start_s
    second = evening(clock, name, seed=7, for_s=120)

    assert what_happened(first, start_s) == what_happened(second, start_s)
    assert [o.row() for o in first.brand("openapitest").orders.of_venue(1)] == [
        o.row() for o in second.brand("openapitest").orders.of_venue(1)
    ]


def test_another_seed_makes_another_evening(clock: Clock) -> None:
    start_s = clock.now_s
    first = evening(clock, "evening", seed=1, for_s=60)
    clock.now_s = start_s
    second = evening(clock, "evening", seed=2, for_s=60)

    assert what_happened(first, start_s) != what_happened(second, start_s)


@pytest.mark.parametrize("seed", range(20))
def test_an_evening_shows_several_order_events_in_its_first_ten_seconds(clock: Clock, seed: int) -> None:
    world = evening(clock, "evening", seed=seed, for_s=10)

    assert len([c for c in world.history if c.what.startswith("order.")]) >= 3


def test_an_evening_has_everything_in_it(clock: Clock) -> None:
    world = evening(clock, "evening", seed=0, for_s=900)
    seen = {(c.what, c.status) for c in world.history}

    assert {("order.status", status) for status in ("RECEIVED", "READY", "DELIVERED", "IGNORE")} <= seen
    assert {("station.changed", 0), ("station.changed", 1), ("order.edited", "RECEIVED")} <= seen
    assert {c.venue_id for c in world.history} == {1, 2}


def test_meddling_with_one_order_does_not_change_what_becomes_of_the_others(clock: Clock) -> None:
    start_s = clock.now_s
    untouched = evening(clock, "evening", seed=3, for_s=300)
    clock.now_s = start_s
    meddled = evening(clock, "evening", seed=3, for_s=300, meddle=True)

    def of_others(world: World) -> list[Change]:
        return [c for c in world.history if c.subject_id != 109]

    assert of_others(meddled) == of_others(untouched)
    assert meddled.order("openapitest", 1, 109).status == "IGNORE"


def test_an_unknown_scenario_and_none_are_refused(world: World) -> None:
    for name in ("none", "picnic"):
        with pytest.raises(ValueError, match="no scenario"):
            Scenario(world, name)
