"""What a commit refuses, each asked by itself: an old page, a repeat, a routing or an owner of before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from relay.pipeline.commit import OperationalEvent, encode_announcement
from relay.store import keys
from relay.store.commit import Announcement, Answer, Entry, Fence
from relay.store.documents import VersionMismatch, Write
from relay.store.snapshots import static_head
from relay.store.subscriptions import Subscription
from tests.integration.relays import ORDERS, Parts, order

URL = "http://127.0.0.1:9/hooks"


async def events(parts: Parts) -> int:
    return int(await parts.redis.xlen(keys.LOG))


async def test_a_subscription_made_after_the_routing_was_read_gets_what_is_committed(parts: Parts) -> None:
    await parts.subscribe(URL)
    await parts.see(order(1))  # from here on the committer knows who wants what
    late = await parts.subscribe(URL)
    await parts.see(order(1, "accepted"))
    assert (await parts.counts(late)).matched == 1


async def test_a_subscription_that_was_deleted_after_the_routing_was_read_gets_nothing(parts: Parts) -> None:
    gone = await parts.subscribe(URL)
    await parts.see(order(1))
    await parts.change(gone, event_types=("station.*",))
    await parts.see(order(1, "accepted"))
    assert (await parts.counts(gone)).matched == 1


async def test_the_same_again_is_no_event_whatever_was_known_when_it_was_read(parts: Parts) -> None:
    heads = await parts.snapshots.heads(ORDERS, [1])
    await parts.see(order(1))
    again = await parts.see(order(1), heads=heads)
    assert (again.unchanged, again.conflicts, again.events) == (1, [], [])
    assert await events(parts) == 1


async def test_a_change_of_what_somebody_else_has_written_since_is_a_conflict(parts: Parts) -> None:
    await parts.see(order(1))
    heads = await parts.snapshots.heads(ORDERS, [1])
    await parts.see(order(1, "accepted"))
    late = await parts.see(order(1, "cancelled"), heads=heads)
    assert (late.conflicts, late.events) == ([1], [])
    assert await events(parts) == 2


async def test_a_page_read_before_a_newer_truth_was_written_is_a_conflict_though_its_head_is_the_latest(
    parts: Parts,
) -> None:
    started = await parts.snapshots.begin()
    await parts.tick()  # what is written in the very millisecond was read before it
    await parts.see(order(1))
    late = await parts.see(order(1, "accepted"), started=started)
    assert (late.conflicts, late.events) == ([1], [])


async def test_who_lost_the_brand_commits_nothing(parts: Parts) -> None:
    lease = keys.poll_lease("openapitest")
    await parts.redis.hset(lease, "fence", 3)
    late = await parts.see(order(1), fence=Fence(lease, 2))
    assert late.lost
    assert await events(parts) == 0
    assert await parts.snapshots.heads(ORDERS, [1]) == [None]
    assert len((await parts.see(order(1), fence=Fence(lease, 3))).events) == 1


async def test_sequences_and_positions_rise_though_the_clock_is_behind_the_last(parts: Parts) -> None:
    await parts.see(order(1))
    (head,) = await parts.snapshots.heads(ORDERS, [1])
    assert head is not None
    ahead_ms = head.sequence + 3_600_000
    await parts.redis.set(keys.CLOCK, ahead_ms * keys.STAMPS_PER_MS)
    text = head.text.replace(str(head.sequence).encode(), str(ahead_ms).encode())
    await parts.redis.hset(ORDERS.stem + ":h", "1", text)
    (first,) = (await parts.see(order(1, "accepted"))).events
    (second,) = (await parts.see(order(1, "delivered"))).events
    assert [first[4], second[4]] == [ahead_ms + 1, ahead_ms + 2]
    assert ahead_ms * keys.STAMPS_PER_MS < first[3] < second[3]


async def test_only_what_is_settled_may_be_forgotten_and_only_as_long_as_it_is(parts: Parts) -> None:
    await parts.see(order(1), order(2, "delivered"))
    assert await parts.redis.zrange(ORDERS.stem + ":gone", 0, -1) == [b"2"]
    await parts.see(order(1, "cancelled"), order(2, "accepted"))
    assert await parts.redis.zrange(ORDERS.stem + ":gone", 0, -1) == [b"1"]


async def test_a_lane_that_cannot_be_read_is_named_to_whoever_commits(parts: Parts) -> None:
    broken, sound = await parts.subscribe(URL), await parts.subscribe(URL)
    await parts.redis.delete(keys.lane(broken.id))
    await parts.redis.set(keys.lane(broken.id), "something else")
    announcement = Announcement(
        event_id="evt_1", static=b"packed", counter="", queue="openapitest/1/order/1", references=(broken.id, sound.id)
    )
    head = static_head(normalizer=1, fingerprint="00", content="11", flags="")
    entry = Entry(entity="1", head=None, static_head=head, packed=b"", settled=False, announcement=announcement)
    epoch, _ = await parts.subscriptions.snapshot()
    started = await parts.snapshots.begin()
    answer = await parts.commits.commit(ORDERS, [entry], started=started, fence=None, epoch=epoch)
    assert isinstance(answer, Answer)
    assert answer.corrupt_lanes == (broken.id,)
    assert (await parts.counts(sound)).matched == 1


async def test_what_comes_into_a_lane_that_is_shut_or_held_wakes_nobody(parts: Parts) -> None:
    paused, held = await parts.subscribe(URL, status="paused"), await parts.subscribe(URL)
    await parts.redis.hset(keys.lane(held.id), "hold", await parts.maintenance.now_ms() + 60_000)
    await parts.redis.delete(keys.LANES_DUE)
    await parts.see(order(1))
    assert await parts.redis.zrange(keys.LANES_DUE, 0, -1) == []
    assert [(await parts.counts(each)).pending for each in (paused, held)] == [1, 1]


async def test_of_many_changes_of_one_document_at_once_none_is_lost(parts: Parts) -> None:
    made = await parts.subscribe(URL, event_types=())

    def change(number: int) -> Callable[[Subscription], Write[Subscription]]:
        def changed(present: Subscription) -> Write[Subscription]:
            return Write(
                replace(present, event_types=(*present.event_types, str(number))), name=present.name, gate=None
            )

        return changed

    updates = [
        parts.subscriptions.update(made.id, change(number), name_of=lambda each: each.name) for number in range(8)
    ]
    await asyncio.gather(*updates)
    stored = await parts.subscriptions.get(made.id)
    assert stored is not None
    assert sorted(stored.value.event_types) == [str(number) for number in range(8)]


async def test_a_document_that_was_changed_since_it_was_read_is_not_deleted(parts: Parts) -> None:
    made = await parts.subscribe(URL)
    await parts.change(made, description="changed")
    with pytest.raises(VersionMismatch):
        await parts.subscriptions.delete(made.id, if_version=1)
    assert await parts.subscriptions.get(made.id) is not None
    assert await parts.subscriptions.delete(made.id, if_version=2)
    assert await parts.subscriptions.get(made.id) is None


async def test_an_announcement_is_committed_once_though_a_later_one_of_its_subject_came_between(parts: Parts) -> None:
    first, second = (
        OperationalEvent(type="relay.brand_failing", subject="brand/b", brand="b", data={"error": text}, nonce=text)
        for text in ("one", "two")
    )
    listed = [encode_announcement(each) for each in (first, second)]
    await parts.redis.rpush(keys.ANNOUNCEMENTS, *listed)
    assert await parts.committer.operational(first, listed=listed[0])
    assert await parts.committer.operational(second, listed=listed[1])
    assert not await parts.committer.operational(first, listed=listed[0])  # another worker had read the list before
    assert await events(parts) == 2
