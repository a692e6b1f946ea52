"""What happened and what became of it: events, deliveries, retry, replay, pulling, the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from tests.integration.apis import LOOPBACK, Api, Clock, pointers, running_api
from tests.integration.relays import Call, Partner, order, partner


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url, allow_networks=LOOPBACK, retry_schedule=(0.01,)) as up:
        await up.brand(venues=[1])
        yield up


async def refuse(_call: Call) -> web.StreamResponse:
    return web.Response(status=500, text="not today")


@pytest.fixture
async def endpoint() -> AsyncIterator[Partner]:
    async with partner() as up:
        yield up


async def rows(api: Api, path: str, **params: Any) -> list[dict[str, Any]]:
    answer = await api.admin.get(path, params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def test_an_event_is_shown_as_it_is_sent_with_its_deliveries(api: Api, endpoint: Partner) -> None:
    made = await api.subscription(url=endpoint.url)
    await api.see(order(1))
    await api.see(order(1, "accepted"))
    await api.deliver()
    listed = await rows(api, "/v1/events")
    assert [event["type"] for event in listed] == ["order.status_changed", "order.created"]
    assert [event["previous_sequence"] for event in listed] == [listed[1]["sequence"], None]
    calls = {call.id: call.event for call in endpoint.calls}
    assert [calls[event["id"]] for event in listed] == listed
    one = (await api.admin.get(f"/v1/events/{listed[0]['id']}")).json()
    deliveries = one.pop("deliveries")
    assert one == listed[0]
    assert [(d["subscription"], d["status"], d["event"]) for d in deliveries] == [
        (made["id"], "delivered", listed[0]["id"])
    ]


async def test_events_are_filtered_by_brand_venue_type_subject_and_time(api: Api) -> None:
    await api.brand(brand="other")
    await api.see(order(1))
    await api.see(order(1, "accepted"), order(2))
    assert len(await rows(api, "/v1/events")) == 3
    assert len(await rows(api, "/v1/events", brand="openapitest")) == 3
    assert await rows(api, "/v1/events", brand="other") == []
    assert len(await rows(api, "/v1/events", venue_id=1)) == 3
    assert await rows(api, "/v1/events", venue_id=2) == []
    assert len(await rows(api, "/v1/events", type="order.created")) == 2
    assert len(await rows(api, "/v1/events", type="order.*")) == 3
    assert await rows(api, "/v1/events", type="station.*") == []
    assert {event["subject"] for event in await rows(api, "/v1/events", subject="order/2")} == {"order/2"}
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await rows(api, "/v1/events", since=soon) == []
    assert len(await rows(api, "/v1/events", until=soon)) == 3
    oldest_first = await rows(api, "/v1/events", order="asc")
    assert oldest_first == (await rows(api, "/v1/events"))[::-1]
    for wrong in ({"type": "order.creatd"}, {"brand": "a b"}, {"venue_id": 0}, {"order": "up"}):
        assert pointers(await api.admin.get("/v1/events", params=wrong)) == {f"/{next(iter(wrong))}"}


async def test_a_delivery_tells_every_attempt(api: Api) -> None:
    async with partner(refuse) as endpoint:
        made = await api.subscription(url=endpoint.url)
        await api.see(order(1))
        (pending,) = await rows(api, "/v1/deliveries")
        assert (pending["status"], pending["attempt_count"], pending["last_error"]) == ("pending", 0, None)
        await api.deliver()
        (dead,) = await rows(api, "/v1/deliveries", subscription=made["id"], status="dead")
        assert dead["id"] == pending["id"]
        one = (await api.admin.get(f"/v1/deliveries/{dead['id']}")).json()
        assert [attempt["number"] for attempt in one["attempts"]] == [1, 2]
        assert {attempt["status_code"] for attempt in one["attempts"]} == {500}
        assert {attempt["response_excerpt"] for attempt in one["attempts"]} == {"not today"}
        assert all(attempt["error"] and attempt["duration_ms"] >= 0 and attempt["at"] for attempt in one["attempts"])
        assert (one["attempt_count"], one["last_status_code"]) == (2, 500)


async def test_deliveries_are_filtered_by_subscription_status_event_and_time(api: Api, endpoint: Partner) -> None:
    first = await api.subscription(url=endpoint.url)
    second = await api.subscription(name="second", url=endpoint.url, enabled=False)
    report = await api.see(order(1), order(2))
    event_id = report.events[0][2]
    await api.deliver()
    assert len(await rows(api, "/v1/deliveries")) == 4
    assert {d["status"] for d in await rows(api, "/v1/deliveries", subscription=first["id"])} == {"delivered"}
    assert {d["subscription"] for d in await rows(api, "/v1/deliveries", status="pending")} == {second["id"]}
    assert len(await rows(api, "/v1/deliveries", event=event_id)) == 2
    (one,) = await rows(api, "/v1/deliveries", event=event_id, status="pending")
    assert one["subscription"] == second["id"]
    assert await rows(api, "/v1/deliveries", event="evt_" + "0" * 32) == []
    assert await rows(api, "/v1/deliveries", subscription="sub_" + "a" * 20) == []
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await rows(api, "/v1/deliveries", since=soon) == []
    assert pointers(await api.admin.get("/v1/deliveries?status=lost")) == {"/status"}


async def test_pages_of_deliveries_hold_each_once(api: Api) -> None:
    for name in ("a", "b", "c"):
        await api.subscription(name=name)
    for number in range(7):
        await api.see(order(number + 1))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"limit": 4, **({} if cursor is None else {"cursor": cursor})}
        page = (await api.admin.get("/v1/deliveries", params=params)).json()
        seen += [row["id"] for row in page["data"]]
        cursor = page["next_cursor"]
        await api.see(order(100 + len(seen)))
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 21


async def test_a_retry_makes_a_delivery_pending_and_attempt_numbers_go_on(api: Api) -> None:
    answers = iter([500, 500, 204, 204])

    async def answer(_call: Call) -> web.StreamResponse:
        return web.Response(status=next(answers))

    async with partner(answer) as endpoint:
        await api.subscription(url=endpoint.url)
        await api.see(order(1))
        await api.deliver()
        (dead,) = await rows(api, "/v1/deliveries", status="dead")
        again = await api.admin.post(f"/v1/deliveries/{dead['id']}/retry")
        assert again.status_code == 202
        assert again.json()["status"] == "pending"
        await api.deliver()
        one = (await api.admin.get(f"/v1/deliveries/{dead['id']}")).json()
        assert one["status"] == "delivered"
        assert [attempt["number"] for attempt in one["attempts"]] == [1, 2, 3]
        await api.admin.post(f"/v1/deliveries/{dead['id']}/retry")
        await api.deliver()
        assert [call.headers["relay-attempt"] for call in endpoint.calls] == ["1", "2", "3", "4"]
        assert len({call.body for call in endpoint.calls}) == 1


async def test_a_delivery_of_a_deleted_subscription_can_be_seen_and_not_retried(api: Api) -> None:
    made = await api.subscription()
    await api.see(order(1))
    (row,) = await rows(api, "/v1/deliveries")
    await api.admin.delete(f"/v1/subscriptions/{made['id']}")
    assert (await api.admin.get(f"/v1/deliveries/{row['id']}")).status_code == 200
    assert (await api.admin.post(f"/v1/deliveries/{row['id']}/retry")).status_code == 409


async def test_a_partner_sees_its_own_deliveries_of_its_own_brands(api: Api, endpoint: Partner) -> None:
    await api.brand(brand="other")
    ours = await api.key("partner", partner="ours", brands=["openapitest"])
    theirs = await api.key("partner", partner="theirs", brands=["openapitest"])
    made = await api.subscription(partner="ours", url=endpoint.url, brands=["openapitest", "other"])
    await api.subscription(name="operator's", url=endpoint.url)
    await api.see(order(1))
    (row,) = (await ours.get("/v1/deliveries")).json()["data"]
    assert row["subscription"] == made["id"]
    assert (await ours.get(f"/v1/deliveries/{row['id']}")).status_code == 200
    assert (await theirs.get("/v1/deliveries")).json()["data"] == []
    assert (await theirs.get(f"/v1/deliveries/{row['id']}")).status_code == 404
    assert (await theirs.post(f"/v1/deliveries/{row['id']}/retry")).status_code == 404
    for other in await rows(api, "/v1/deliveries"):
        if other["subscription"] != made["id"]:
            assert (await ours.get(f"/v1/deliveries/{other['id']}")).status_code == 404


# ---- replay ----


async def test_a_replay_sends_again_in_order_and_tells_how_far_it_is(api: Api, endpoint: Partner) -> None:
    made = await api.subscription(url=endpoint.url)
    for status in ("pending", "accepted", "delivered"):
        await api.see(order(1, status))
    await api.deliver()
    started = await api.admin.post(f"/v1/subscriptions/{made['id']}/replay")
    assert started.status_code == 202
    assert started.json()["deliveries"] == 3
    assert started.headers["location"] == f"/v1/replays/{started.json()['replay_id']}"
    await api.deliver()
    assert [call.id for call in endpoint.calls[3:]] == [call.id for call in endpoint.calls[:3]]
    assert [call.headers["relay-attempt"] for call in endpoint.calls[3:]] == ["2", "2", "2"]
    shown = (await api.admin.get(started.headers["location"])).json()
    assert (shown["status"], shown["deliveries"], shown["queued"]) == ("done", 3, 3)
    assert shown["subscription"] == made["id"]
    ledger = (await api.admin.get("/v1/ledger")).json()
    assert (ledger["matched"], ledger["delivered"], ledger["unaccounted"]) == (3, 3, 0)


async def test_a_replay_takes_only_what_was_asked_for(api: Api, endpoint: Partner) -> None:
    made = await api.subscription(url=endpoint.url)
    report = await api.see(order(1), order(2), order(3))
    await api.see(order(1, "accepted"))
    await api.deliver()
    path = f"/v1/subscriptions/{made['id']}/replay"

    async def selected(**body: Any) -> int:
        answer = await api.admin.post(path, json=body)
        assert answer.status_code == 202, answer.text
        await api.deliver()
        return int(answer.json()["deliveries"])

    assert await selected(event_types=["order.created"]) == 3
    assert await selected(event_types=["order.status_changed"]) == 1
    assert await selected(event_ids=[report.events[0][2], report.events[2][2]]) == 2
    assert await selected(status="dead") == 0
    assert await selected(status="delivered") == 4
    assert await selected(until="2026-01-01T00:00:00Z") == 0
    assert await selected(since="2026-01-01T00:00:00Z") == 4


async def test_a_replay_also_makes_deliveries_of_what_was_never_delivered(api: Api, endpoint: Partner) -> None:
    await api.see(order(1), order(2))
    made = await api.subscription(url=endpoint.url)
    answer = await api.admin.post(f"/v1/subscriptions/{made['id']}/replay", json={})
    assert answer.json()["deliveries"] == 2
    await api.deliver()
    assert len(endpoint.calls) == 2


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"since": "2099-01-01T00:00:00Z"}, {"/since"}),
        ({"since": "2026-02-02T00:00:00Z", "until": "2026-02-01T00:00:00Z"}, {"/until"}),
        ({"event_ids": []}, {"/event_ids"}),
        ({"event_ids": ["evt_1"]}, {"/event_ids/0"}),
        ({"event_ids": ["evt_" + "0" * 32]}, {"/event_ids/0"}),
        ({"status": "pending"}, {"/status"}),
        ({"event_types": ["order.creatd"]}, {"/event_types/0"}),
        ({"sinse": "x"}, {"/sinse"}),
    ],
)
async def test_a_replay_of_nothing_that_is_there_is_refused(api: Api, body: object, where: set[str]) -> None:
    made = await api.subscription()
    assert pointers(await api.admin.post(f"/v1/subscriptions/{made['id']}/replay", json=body)) == where


async def test_a_replay_to_a_disabled_subscription_queues_up(api: Api) -> None:
    made = await api.subscription(enabled=False)
    started = await api.admin.post(f"/v1/subscriptions/{made['id']}/replay", json={})
    assert started.status_code == 202
    assert (await api.admin.get(f"/v1/subscriptions/{made['id']}")).json()["state"]["status"] == "disabled"


async def test_a_partner_does_not_replay_anothers_event_nor_see_its_replay(api: Api) -> None:
    await api.brand(brand="other")
    ours = await api.key("partner", partner="ours", brands=["other"])
    made = (await ours.post("/v1/subscriptions", json={"url": None, "event_types": ["*"]})).json()
    report = await api.see(order(1))
    path = f"/v1/subscriptions/{made['id']}/replay"
    for event_id in (report.events[0][2], "evt_" + "0" * 32):
        assert (await ours.post(path, json={"event_ids": [event_id]})).status_code == 404
    started = await ours.post(path, json={})
    assert started.status_code == 202
    replay_path = f"/v1/replays/{started.json()['replay_id']}"
    assert (await ours.get(replay_path)).status_code == 200
    theirs = await api.key("partner", partner="theirs", brands=["other"])
    assert (await theirs.get(replay_path)).status_code == 404
    assert (await theirs.delete(replay_path)).status_code == 404


async def test_a_replay_is_stopped_and_what_it_queued_is_discarded(api: Api, endpoint: Partner) -> None:
    made = await api.subscription(url=endpoint.url)
    await api.see(order(1), order(2))
    await api.deliver()
    await api.admin.post(f"/v1/subscriptions/{made['id']}/pause")
    started = (await api.admin.post(f"/v1/subscriptions/{made['id']}/replay", json={})).json()
    assert len(await rows(api, "/v1/deliveries", status="pending")) == 2
    path = f"/v1/replays/{started['replay_id']}"
    assert (await api.admin.get(path)).json()["status"] == "done"  # all of it is queued
    assert (await api.admin.delete(path)).status_code == 204
    for method in ("GET", "DELETE"):
        again = await api.admin.request(method, path)
        assert (again.status_code, again.json()["detail"][:24]) == (404, "This replay was stopped.")
    assert len(await rows(api, "/v1/deliveries", status="discarded")) == 2
    assert (await api.admin.get("/v1/ledger")).json()["unaccounted"] == 0


# ---- pulling ----


async def test_pulling_gives_events_in_log_order_from_a_cursor_the_client_keeps(api: Api) -> None:
    made = await api.subscription(url=None)
    path = f"/v1/subscriptions/{made['id']}/events"
    nothing = (await api.admin.get(path)).json()
    assert nothing["data"] == []
    assert nothing["next_cursor"] is not None
    for number in range(5):
        await api.see(order(number + 1))
    first = (await api.admin.get(path, params={"cursor": nothing["next_cursor"], "limit": 2})).json()
    second = (await api.admin.get(path, params={"cursor": first["next_cursor"]})).json()
    subjects = [event["subject"] for page in (first, second) for event in page["data"]]
    assert subjects == [f"order/{number + 1}" for number in range(5)]
    assert (await api.admin.get(path, params={"cursor": second["next_cursor"]})).json()["data"] == []
    again = (await api.admin.get(path)).json()["data"]
    assert [event["subject"] for event in again] == subjects
    listed = await rows(api, "/v1/events", order="asc")
    assert again == listed


async def test_pulling_beside_being_pushed_to_gives_the_same_bodies(api: Api, endpoint: Partner) -> None:
    made = await api.subscription(url=endpoint.url, redact=["customer"], event_types=["order.created"])
    await api.see(order(1, customer={"id": 1, "name": "A"}))
    await api.see(order(1, "accepted", customer={"id": 1, "name": "A"}))
    await api.deliver()
    pulled = (await api.admin.get(f"/v1/subscriptions/{made['id']}/events")).json()["data"]
    assert pulled == [call.event for call in endpoint.calls]
    assert [event["data"]["order"]["customer"] for event in pulled] == [None]


async def test_a_pull_waits_until_there_is_an_event(api: Api) -> None:
    made = await api.subscription(url=None)
    path = f"/v1/subscriptions/{made['id']}/events"
    cursor = (await api.admin.get(path)).json()["next_cursor"]
    waiting = asyncio.create_task(api.admin.get(path, params={"cursor": cursor, "wait": "60s"}))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await api.see(order(1))
    async with asyncio.timeout(30):  # half of what it would wait for nothing
        answer = (await waiting).json()
    assert [event["subject"] for event in answer["data"]] == ["order/1"]
    started_s = time.monotonic()
    nothing = (await api.admin.get(path, params={"cursor": answer["next_cursor"], "wait": "300ms"})).json()
    assert nothing["data"] == []
    assert time.monotonic() - started_s > 0.25
    for wrong in ("20", "61s", "-1s", "soon"):
        assert pointers(await api.admin.get(path, params={"wait": wrong})) == {"/wait"}


async def test_those_who_wait_are_let_go_when_the_process_ends(api: Api) -> None:
    made = await api.subscription(url=None)
    path = f"/v1/subscriptions/{made['id']}/events?wait=60s"
    waiting = [asyncio.create_task(api.admin.get(path)) for _ in range(3)]
    await asyncio.sleep(0.2)
    api.services.waiting.close()
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {200}


async def test_a_cursor_of_another_subscription_or_older_than_what_is_retained_is_refused(redis_url: str) -> None:
    clock = Clock()
    async with running_api(redis_url, now_ms=clock, retention_s=3600.0) as api:
        first = await api.subscription(url=None)
        second = await api.subscription(name="b", url=None)
        cursor = (await api.admin.get(f"/v1/subscriptions/{first['id']}/events")).json()["next_cursor"]
        path = f"/v1/subscriptions/{second['id']}/events"
        for wrong in (cursor, "x", ""):
            assert (await api.admin.get(path, params={"cursor": wrong})).status_code == 400
        clock.ms += 4 * 3_600_000
        old = await api.admin.get(f"/v1/subscriptions/{first['id']}/events", params={"cursor": cursor})
        assert (old.status_code, old.json()["code"]) == (400, "bad_cursor")


# ---- the ledger ----


async def test_the_ledger_counts_whole_and_by_subscription_brand_and_time(api: Api, endpoint: Partner) -> None:
    await api.brand(brand="other")
    first = await api.subscription(url=endpoint.url)
    second = await api.subscription(name="second", url=endpoint.url, enabled=False)
    await api.see(order(1), order(2))
    await api.deliver()
    ledger = (await api.admin.get("/v1/ledger")).json()
    whole = {name: ledger[name] for name in ("events", "matched", "delivered", "pending", "dead", "unaccounted")}
    assert whole == {"events": 2, "matched": 4, "delivered": 2, "pending": 2, "dead": 0, "unaccounted": 0}
    by_subscription = {row["subscription"]: row for row in ledger["subscriptions"]}
    assert by_subscription[first["id"]]["delivered"] == 2
    assert by_subscription[second["id"]]["pending"] == 2
    same = (await api.admin.get("/v1/ledger?brand=openapitest&since=2026-01-01T00:00:00Z")).json()
    assert {name: same[name] for name in whole} == whole
    other = (await api.admin.get("/v1/ledger?brand=other")).json()
    assert (other["events"], other["matched"]) == (0, 0)


async def test_a_subscription_shows_how_it_is_doing(api: Api, endpoint: Partner) -> None:
    made = await api.subscription(url=endpoint.url)
    await api.see(order(1), order(2))
    path = f"/v1/subscriptions/{made['id']}"
    waiting = (await api.admin.get(path)).json()["state"]
    assert (waiting["pending"], waiting["unverified"]) == (2, True)
    assert waiting["oldest_pending_at"] is not None
    await api.deliver()
    done = (await api.admin.get(path)).json()["state"]
    assert (done["pending"], done["oldest_pending_at"], done["success_rate_1h"]) == (0, None, 1.0)
    assert done["unverified"] is False
    assert done["latency_p95_ms_1h"] > 0
