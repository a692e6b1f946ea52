from relay.core.addresses import NOWHERE
from relay.core.breaker import HEALTHY, start_concurrency
from relay.core.deliveries import FRESH
from relay.core.events import StoredEvent
from relay.core.netpolicy import check_url
from relay.core.rates import parse_rate
from relay.core.retry import RetryPolicy
from relay.pipeline.ahead import AHEAD_S, Ahead
from relay.pipeline.attempt import Head
from relay.pipeline.endpoints import Endpoint
from relay.pipeline.lane_run import LaneRun
from relay.store.subscriptions import ShapeSince, Subscription

URL = "https://partner.example/hooks"
EVENT = StoredEvent(1, "evt_1", "order.created", "openapitest", 1, "order/1", "poll", 1, None, 0, b"{}")


def lane(name: str) -> LaneRun:
    return LaneRun(name, 1, HEALTHY, start_concurrency(4))


def head(name: str) -> Head:
    return Head(name, 1, FRESH, EVENT, b"{}")


def begun(ahead: Ahead, count: int) -> list[str]:
    """Begin so many, each lane in its turn."""
    names = []
    for _ in range(count):
        following = ahead.next_lane()
        assert following is not None
        taken = ahead.take(following, now_s=0.0)
        assert taken is not None
        names.append(taken.queue)
    return names


def test_lanes_get_places_in_turn_and_each_in_the_order_it_was_given() -> None:
    ahead, many, few = Ahead(), lane("many"), lane("few")
    for name in ("m1", "m2", "m3"):
        ahead.put(many, head(name), now_s=0.0)
    ahead.put(few, head("f1"), now_s=0.0)
    assert begun(ahead, 4) == ["m1", "f1", "m2", "m3"]
    assert ahead.count == 0
    assert ahead.next_lane() is None


def test_a_lane_without_a_place_keeps_nobody_waiting_until_something_happens_to_it() -> None:
    ahead, full, free = Ahead(), lane("full"), lane("free")
    ahead.put(full, head("a"), now_s=0.0)
    ahead.put(free, head("b"), now_s=0.0)
    ahead.pass_over(full)
    assert begun(ahead, 1) == ["b"]
    assert ahead.next_lane() is None
    ahead.look_again(full)
    assert begun(ahead, 1) == ["a"]


def test_what_has_waited_too_long_is_not_begun() -> None:
    ahead, owner = Ahead(), lane("a")
    ahead.put(owner, head("late"), now_s=0.0)
    assert list(ahead.overdue(AHEAD_S / 2)) == []
    assert ahead.take(owner, now_s=AHEAD_S) is None
    assert list(ahead.overdue(AHEAD_S)) == [owner]
    assert [each.queue for each in ahead.give_up(owner)] == ["late"]
    assert (ahead.count, owner.waiting, owner.busy) == (0, 0, 0)


def test_a_lane_is_busy_as_long_as_something_of_it_waits() -> None:
    ahead, owner = Ahead(), lane("a")
    ahead.put(owner, head("a"), now_s=0.0)
    assert (owner.waiting, owner.busy) == (1, 1)
    assert not owner.finished(0, stopping=True)
    begun(ahead, 1)
    assert (owner.waiting, owner.busy) == (0, 0)


def endpoint(rate: str | None = None) -> Endpoint:
    subscription = Subscription(
        id="a",
        url=URL,
        event_types=("*",),
        secrets=(),
        shapes=(ShapeSince(position=0),),
        created_at="2026-02-02T00:00:00.000Z",
        updated_at="2026-02-02T00:00:00.000Z",
    )
    limit = None if rate is None else parse_rate(rate)
    return Endpoint(subscription, check_url(URL, allow=NOWHERE), {}, (), RetryPolicy(delays_s=()), limit, ())


def test_as_many_wait_as_ended_lately() -> None:
    ahead, owner = Ahead(), lane("a")
    owner.in_flight = 4
    assert owner.room(endpoint(), now_ms=0, process_room=100) == 0
    owner.hungry, owner.lately = True, 3
    assert owner.room(endpoint(), now_ms=0, process_room=100) == 3
    for name in ("a1", "a2", "a3"):
        ahead.put(owner, head(name), now_s=0.0)
    owner.hungry, owner.lately = True, 3
    assert owner.room(endpoint(), now_ms=0, process_room=100) == 0


def test_what_waits_for_a_place_has_used_up_its_share_of_the_rate() -> None:
    ahead, owner = Ahead(), lane("a")
    limited = endpoint("1/s")
    assert owner.room(limited, now_ms=0, process_room=100) == 1
    ahead.put(owner, head("a1"), now_s=0.0)
    owner.hungry = True
    assert owner.room(limited, now_ms=0, process_room=100) == 0
    assert not owner.hungry
