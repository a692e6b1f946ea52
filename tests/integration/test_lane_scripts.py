"""What the scripts of lanes promise, each asked by itself."""

from __future__ import annotations

import pytest

from relay.core.deliveries import State
from relay.pipeline.attempt import BACK, DEAD, DELIVERED, DISCARDED, EXPIRED, RETRY
from relay.store import keys
from relay.store.lanes import LEASE_MS, Claimed, LaneNote, Settled, Settlement, Taken, Takings, Wanted
from relay.store.subscriptions import Subscription
from tests.integration.relays import Parts, order

URL = "http://127.0.0.1:9/hooks"


async def claim(parts: Parts, owner: str = "a", most: int = 10) -> list[Claimed]:
    (reply,) = await parts.lanes.run([parts.lanes.claim_call(owner, most=most)])
    return list(parts.lanes.claims(reply).lanes)


async def takings(parts: Parts, *wanted: tuple[Claimed, int]) -> Takings:
    asked = [Wanted(lane.subscription_id, lane.fence, most, most) for lane, most in wanted]
    (reply,) = await parts.lanes.run([parts.lanes.take_call(asked)])
    return parts.lanes.takings(reply)


async def take(parts: Parts, lane: Claimed, most: int = 10) -> Taken:
    return (await takings(parts, (lane, most))).lanes[0]


async def settle(
    parts: Parts, lane: Claimed, *settlements: Settlement, note: LaneNote | None = None, fence: int | None = None
) -> list[int]:
    rows = [Settled(lane.subscription_id, lane.fence if fence is None else fence, settlements, note)]
    (reply,) = await parts.lanes.run([parts.lanes.settle_call(rows)])
    return parts.lanes.outcomes(rows, reply)[0]


async def give_back(parts: Parts, lane: Claimed) -> tuple[int, list[int]]:
    (reply,) = await parts.lanes.run([parts.lanes.keep_call([], [(lane.subscription_id, lane.fence)])])
    return reply[0], reply[1]


def ended(head: object, verdict: str, *, number: int = 1, due_ms: int = 0) -> Settlement:
    tried = verdict in (DELIVERED, RETRY, DEAD)
    return Settlement(
        queue=str(getattr(head, "queue")),  # noqa: B009  (heads of takings, and what stands for them)
        position=str(getattr(head, "position")),  # noqa: B009
        number=number,
        verdict=verdict,
        due_ms=due_ms,
        attempt='{"number":1}' if tried else "",
        status_class="2xx" if tried else "",
    )


def note(**fields: object) -> LaneNote:
    made = {"circuit": "", "failing_since_ms": 0, "hold_until_ms": 0, "rate_tat_ms": "", "release_waiting": False}
    return LaneNote(**{**made, **fields})  # type: ignore[arg-type]  # the builder's defaults are of several types


async def one_lane(parts: Parts, *statuses: str, **fields: object) -> tuple[Subscription, Claimed]:
    """A lane with the story of order 1 in it, owned."""
    subscription = await parts.subscribe(URL, **fields)
    for status in statuses or ("pending",):
        await parts.see(order(1, status))
    (lane,) = await claim(parts)
    return subscription, lane


async def test_a_lane_has_one_owner_until_its_lease_ends(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    assert await claim(parts, "b") == []
    due_ms = await parts.redis.zscore(keys.LANES_DUE, subscription.id)
    assert LEASE_MS - 1000 < due_ms - await parts.maintenance.now_ms() <= LEASE_MS
    await parts.due_now(subscription)
    (again,) = await claim(parts, "b")
    assert again.fence == lane.fence + 1
    assert (await take(parts, lane)).state == "lost"
    (reply,) = await parts.lanes.run([parts.lanes.keep_call([(lane.subscription_id, lane.fence)], [])])
    assert reply[1] == [-1]


async def test_a_head_is_handed_out_once(parts: Parts) -> None:
    _, lane = await one_lane(parts, "pending", "accepted")
    first = await take(parts, lane)
    assert len(first.heads) == 1  # the second waits for the first
    assert (await take(parts, lane)).heads == []


async def test_what_an_owner_had_in_hand_waits_again_for_the_next(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    await parts.due_now(subscription)
    (heir,) = await claim(parts, "b")
    assert (await take(parts, heir)).heads == [head]


async def test_a_lane_given_back_is_due_at_once_while_something_waits(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    await take(parts, lane)
    soonest_ms, outcomes = await give_back(parts, lane)
    assert outcomes == [0]
    assert soonest_ms <= await parts.maintenance.now_ms()
    (again,) = await claim(parts, "b")
    assert len((await take(parts, again)).heads) == 1
    assert (await parts.lane(subscription, "owner")) == b"b"


async def test_a_lane_that_was_given_back_hands_out_nothing_to_the_one_before(parts: Parts) -> None:
    # Whose giving back was executed, and its answer lost: the next owner would be handed the same heads.
    _, lane = await one_lane(parts)
    await give_back(parts, lane)
    assert await take(parts, lane) == Taken("lost", 0, [])
    (reply,) = await parts.lanes.run([parts.lanes.keep_call([(lane.subscription_id, lane.fence)], [])])
    assert reply[1] == [-1]
    (again,) = await claim(parts)
    assert len((await take(parts, again)).heads) == 1


async def test_an_owner_whose_lease_has_ended_is_handed_nothing_though_nobody_has_claimed_the_lane(
    parts: Parts,
) -> None:
    subscription, lane = await one_lane(parts)
    await parts.redis.hset(keys.lane(subscription.id), "until", 1)
    assert (await take(parts, lane)).state == "lost"


async def test_a_lane_with_nothing_in_it_is_due_never(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    assert await settle(parts, lane, ended(head, DELIVERED)) == [1]
    assert await give_back(parts, lane) == (-1, [0])
    assert await parts.redis.zscore(keys.LANES_DUE, subscription.id) is None


async def test_a_settlement_with_an_old_fence_writes_nothing(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    assert await settle(parts, lane, ended(head, DELIVERED), fence=lane.fence - 1) == [0]
    assert (await parts.closes(subscription)).pending == 1
    assert await settle(parts, lane, note=note(circuit="x"), fence=lane.fence - 1) == []
    assert await parts.lane(subscription, "circuit") is None


async def test_a_settlement_that_is_repeated_settles_nothing_more(parts: Parts) -> None:
    subscription, lane = await one_lane(parts, "pending", "accepted")
    (head,) = (await take(parts, lane)).heads
    assert await settle(parts, lane, ended(head, DELIVERED)) == [1]
    assert await settle(parts, lane, ended(head, DELIVERED)) == [2]
    counts = await parts.closes(subscription)
    assert (counts.delivered, counts.pending) == (1, 1)


async def test_garbage_in_the_place_of_counters_keeps_no_settlement_from_being_written(parts: Parts) -> None:
    _, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    await parts.redis.delete(keys.COUNTERS)
    await parts.redis.set(keys.COUNTERS, "something else")
    assert await settle(parts, lane, ended(head, DELIVERED)) == [1]
    assert await settle(parts, lane, ended(head, DELIVERED)) == [2]


async def test_a_failed_attempt_that_is_settled_twice_is_counted_once(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    due_ms = await parts.maintenance.now_ms() + 60_000
    assert await settle(parts, lane, ended(head, RETRY, due_ms=due_ms)) == [1]
    assert await settle(parts, lane, ended(head, RETRY, due_ms=due_ms)) == [2]
    assert (await parts.of(subscription, head.position)).record.attempts == 1
    taken = await take(parts, lane)
    assert (taken.heads, taken.next_ms) == ([], due_ms)
    assert await give_back(parts, lane) == (due_ms, [0])


@pytest.mark.parametrize("verdict", [DELIVERED, DEAD, BACK])
async def test_a_head_that_is_settled_twice_in_one_call_is_settled_once(parts: Parts, verdict: str) -> None:
    """Redis goes back a second: what is in hand is handed out anew, and both attempts end."""
    subscription, lane = await one_lane(parts, "pending", "accepted")
    (head,) = (await take(parts, lane)).heads
    assert await settle(parts, lane, ended(head, verdict), ended(head, DELIVERED)) == [1, 2]
    ledger = await parts.closes(subscription)
    assert ledger.pending == (2 if verdict == BACK else 1)
    (following,) = (await take(parts, lane)).heads
    assert (following.position > head.position) == (verdict != BACK)


async def test_a_settlement_of_before_a_replay_does_not_settle_the_replay(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    assert await settle(parts, lane, ended(head, DELIVERED)) == [1]
    (outcome,) = await parts.deliveries.reopen(subscription.id, [(head.position, head.queue, "openapitest")])
    assert outcome == "reopened"
    assert await settle(parts, lane, ended(head, DELIVERED)) == [2]
    assert (await parts.closes(subscription)).pending == 1


@pytest.mark.parametrize(
    ("verdict", "name"), [(DELIVERED, "delivered"), (DEAD, "dead"), (EXPIRED, "expired"), (DISCARDED, "discarded")]
)
async def test_whatever_ends_a_delivery_makes_the_next_of_its_subject_due(
    parts: Parts, verdict: str, name: str
) -> None:
    subscription, lane = await one_lane(parts, "pending", "accepted")
    (head,) = (await take(parts, lane)).heads
    assert await settle(parts, lane, ended(head, verdict)) == [1]
    counts = await parts.closes(subscription)
    assert (getattr(counts, name), counts.pending) == (1, 1)
    (following,) = (await take(parts, lane)).heads
    assert following.position > head.position


async def test_a_head_given_back_is_as_it_was(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    assert await settle(parts, lane, ended(head, BACK)) == [1]
    assert (await take(parts, lane)).heads == [head]
    due_ms = await parts.maintenance.now_ms() + 60_000
    assert await settle(parts, lane, ended(head, BACK, due_ms=due_ms)) == [1]
    taken = await take(parts, lane)
    assert (taken.heads, taken.next_ms) == ([], due_ms)
    assert (await parts.of(subscription, head.position)).record.attempts == 0


async def test_an_event_that_many_lanes_wait_for_is_handed_out_once(parts: Parts) -> None:
    for _ in range(3):
        await parts.subscribe(URL)
    await parts.see(order(1), order(2))
    lanes = await claim(parts)
    found = await takings(parts, *((lane, 10) for lane in lanes))
    assert [len(lane.heads) for lane in found.lanes] == [2, 2, 2]
    assert len(found.events) == 2
    assert len({(head.position, head.event) for lane in found.lanes for head in lane.heads}) == 2


async def test_first_tries_go_before_late_ones_and_leave_them_a_share(parts: Parts) -> None:
    subscription = await parts.subscribe(URL)
    await parts.see(*(order(n) for n in range(1, 9)))
    (lane,) = await claim(parts)
    for head in (await take(parts, lane, 4)).heads:
        await settle(parts, lane, ended(head, RETRY, due_ms=1))
    (reply,) = await parts.lanes.run([parts.lanes.take_call([Wanted(subscription.id, lane.fence, 3, 4)])])
    assert [head.attempts for head in parts.lanes.takings(reply).lanes[0].heads] == [0, 0, 0, 1]
    rest = await take(parts, lane, 10)
    assert sorted(head.attempts for head in rest.heads) == [0, 1, 1, 1]


async def test_a_released_lane_hands_out_what_was_to_wait(parts: Parts) -> None:
    _, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    later_ms = await parts.maintenance.now_ms() + 3_600_000
    await settle(parts, lane, ended(head, RETRY, due_ms=later_ms))
    await settle(parts, lane, note=note(release_waiting=True))
    (again,) = (await take(parts, lane)).heads
    assert (again.position, again.attempts) == (head.position, 1)


async def test_a_released_lane_that_is_given_back_is_due_at_once(parts: Parts) -> None:
    _, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    later_ms = await parts.maintenance.now_ms() + 3_600_000
    await settle(parts, lane, ended(head, RETRY, due_ms=later_ms), note=note(release_waiting=True))
    soonest_ms, _ = await give_back(parts, lane)
    assert soonest_ms <= await parts.maintenance.now_ms()


async def test_what_is_noted_of_a_lane_reaches_its_next_owner(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    hold_ms = await parts.maintenance.now_ms() + 60_000
    await settle(parts, lane, note=note(circuit="c", rate_tat_ms="17.5", hold_until_ms=hold_ms))
    assert await give_back(parts, lane) == (hold_ms, [0])
    assert await claim(parts, "b") == []
    await parts.see(order(2))  # nor does a new event wake a lane that is held
    assert await claim(parts, "b") == []
    await parts.due_now(subscription)
    (heir,) = await claim(parts, "b")
    assert (heir.circuit, heir.rate_tat_ms) == ("c", 17.5)


async def test_a_paused_lane_hands_out_nothing_and_is_due_never(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    await parts.life.set_status(subscription.id, "paused")
    assert (await take(parts, lane)).state == "shut"
    assert await give_back(parts, lane) == (-1, [0])
    await parts.see(order(2))
    assert await claim(parts, "b") == []
    await parts.life.set_status(subscription.id, "active")
    (heir,) = await claim(parts, "b")
    assert len((await take(parts, heir)).heads) == 2


async def test_a_lane_that_was_paused_while_it_was_due_is_not_claimed_and_due_no_more(parts: Parts) -> None:
    subscription = await parts.subscribe(URL)
    await parts.see(order(1))
    await parts.change(subscription, opens=True, status="paused")
    await parts.due_now(subscription)
    assert await claim(parts) == []
    assert await parts.redis.zscore(keys.LANES_DUE, subscription.id) is None


async def test_a_deleted_subscription_s_owner_has_lost_its_lane(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    await parts.subscriptions.delete(subscription.id)
    assert (await take(parts, lane)).state == "lost"
    assert await settle(parts, lane, ended(head, DELIVERED)) == [0]
    assert (await give_back(parts, lane))[1] == [-1]


async def test_more_settlements_of_a_lane_than_a_script_can_unpack_are_settled(parts: Parts) -> None:
    subscription = await parts.subscribe(URL)
    for start in range(0, 1500, 500):
        await parts.see(*(order(n) for n in range(start + 1, start + 501)))
    (lane,) = await claim(parts)
    heads = [head for _ in range(3) for head in (await take(parts, lane, 500)).heads]
    assert await settle(parts, lane, *(ended(head, DELIVERED) for head in heads)) == [1] * 1500
    assert (await parts.closes(subscription)).delivered == 1500


async def test_a_head_that_has_ended_already_keeps_nothing_waiting(parts: Parts) -> None:
    """It should not stand in a queue; if it does, it must not stand in the way."""
    subscription, lane = await one_lane(parts, "pending", "accepted")
    (first,) = (await take(parts, lane)).heads
    await settle(parts, lane, ended(first, BACK))
    await parts.redis.hset(keys.lane(subscription.id) + ":dlv", str(first.position), "d|1|||")
    (head,) = (await take(parts, lane)).heads
    assert head.attempts == -2
    assert await settle(parts, lane, ended(head, BACK)) == [2]
    (following,) = (await take(parts, lane)).heads
    assert following.position > first.position


async def test_the_counters_that_metrics_show_move_with_the_settlement(parts: Parts) -> None:
    subscription, lane = await one_lane(parts)
    (head,) = (await take(parts, lane)).heads
    await settle(parts, lane, ended(head, DELIVERED))
    counters = await parts.redis.hgetall(keys.COUNTERS)
    assert counters[f"deliveries|{subscription.id}|delivered".encode()] == b"1"
    assert counters[f"attempts|{subscription.id}|2xx".encode()] == b"1"


async def test_of_a_queue_only_what_is_too_old_expires_and_nothing_that_was_opened_again(parts: Parts) -> None:
    subscription = await parts.subscribe(URL)
    positions = [(await parts.see(order(1, status))).events[0][3] for status in ("pending", "accepted", "delivered")]
    assert await parts.deliveries.drain(subscription.id, verdict=EXPIRED, below=positions[1]) == 1
    assert [(await parts.of(subscription, each)).record.state for each in positions] == [
        State.EXPIRED,
        State.PENDING,
        State.PENDING,
    ]
    await parts.deliveries.reopen(subscription.id, [(positions[0], "openapitest/1/order/1", "openapitest")])
    assert await parts.deliveries.drain(subscription.id, verdict=EXPIRED, below=positions[2] + 1) == 2
    assert [(await parts.of(subscription, each)).record.state for each in positions] == [
        State.PENDING,
        State.EXPIRED,
        State.EXPIRED,
    ]
    await parts.closes(subscription)
