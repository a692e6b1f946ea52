"""A customer who is forgotten is nowhere any more: snapshot, log, queues, answers, and what later looks bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from relay.core.errors import CorruptStateError
from relay.core.events import pack_static, unpack_static
from relay.core.packing import unpack_lines
from relay.store import keys
from relay.store.rewriting import PART, Rewriting
from tests.integration.apis import LOOPBACK, Api, running_api
from tests.integration.relays import ORDERS, Call, Partner, partner
from tests.integration.test_api_brands import whole

PHONE = "+994705550199"
PERSONAL = {
    "customer": {"id": 7, "name": "Aysel", "phone": PHONE, "address": "9 Hidden St", "ref": "r-77"},
    "comment": "call Aysel at +994 70 555 01 99",
}
TEXTS = (PHONE, "Aysel", "9 Hidden St", "r-77", "555 01 99")
PATH = "/v1/brands/openapitest/orders/1/customer"


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url, allow_networks=LOOPBACK) as up:
        await up.brand(venues=[1])
        yield up


@pytest.fixture
async def endpoint() -> AsyncIterator[Partner]:
    async with partner() as up:
        yield up


def personal(order_id: int = 1, status: str = "pending", **fields: Any) -> dict[str, Any]:
    return {**whole(order_id, status), **PERSONAL, **fields}


async def everything(api: Api) -> str:
    """All that Redis holds, unpacked where it is packed."""
    redis: Any = api.relay.redis
    found = [await redis.dump(key) or b"" async for key in redis.scan_iter()]
    for entry in await _log(api):
        event = unpack_static(entry)
        found += [event.data, event.raw or b""]
    async for key in redis.scan_iter("relay:snap:*:o"):
        found += [b"\n".join(unpack_lines(blob, 2)) for blob in await redis.hvals(key)]
    return b"\n".join(found).decode("utf-8", "replace")


async def _log(api: Api) -> list[bytes]:
    redis: Any = api.relay.redis
    return [fields[b"s"] for _, fields in await redis.xrange(keys.LOG)]


async def test_a_forgotten_customer_is_nowhere_any_more(api: Api, endpoint: Partner) -> None:
    await api.subscription(name="off", url=endpoint.url, enabled=False, include_raw=True)
    await api.see(personal())
    await api.see(personal(status="accepted"), whole(2))
    before = (await api.admin.get("/v1/events?order=asc")).json()["data"]
    known = await everything(api)
    assert [text for text in TEXTS if text not in known] == []
    forgotten = await api.admin.delete(PATH)
    assert (forgotten.status_code, forgotten.content) == (204, b"")
    kept = await everything(api)
    assert [text for text in TEXTS if text in kept] == []
    order = (await api.admin.get("/v1/brands/openapitest/orders/1")).json()
    assert (order["customer"], order["comment"], order["status"]) == (None, None, "accepted")
    assert order["items"]
    assert order["items"][0]["name"]
    other = (await api.admin.get("/v1/brands/openapitest/orders/2")).json()
    assert other["customer"] == whole(2)["customer"]
    after = (await api.admin.get("/v1/events?order=asc")).json()["data"]
    assert [event["id"] for event in after] == [event["id"] for event in before]
    assert [event["sequence"] for event in after] == [event["sequence"] for event in before]
    mine = [event for event in after if event["subject"] == "order/1"]
    assert [event["type"] for event in mine] == ["order.created", "order.status_changed"]
    assert {str(event["data"]["order"]["customer"]) for event in mine} == {"None"}
    assert PHONE not in str(mine)


async def test_what_waits_is_sent_without_the_customer_and_so_is_what_comes_later(api: Api, endpoint: Partner) -> None:
    made = await api.subscription(url=endpoint.url)
    path = f"/v1/subscriptions/{made['id']}"
    await api.admin.post(f"{path}/pause")
    await api.see(personal())
    await api.admin.delete(PATH)
    await api.admin.post(f"{path}/resume")
    await api.deliver()
    (call,) = endpoint.calls
    assert call.event["data"]["order"]["customer"] is None
    assert PHONE not in call.body.decode()
    ledger = (await api.admin.get("/v1/ledger")).json()
    assert (ledger["delivered"], ledger["unaccounted"]) == (1, 0)


async def test_what_a_partner_answered_may_quote_the_customer_and_is_forgotten_too(api: Api) -> None:
    async def echo(call: Call) -> web.StreamResponse:
        return web.Response(status=200, body=call.body)

    async with partner(echo) as endpoint:
        await api.subscription(url=endpoint.url)
        await api.see(personal())
        await api.deliver()
        (made,) = (await api.admin.get("/v1/deliveries")).json()["data"]
        assert PHONE in (await api.admin.get(f"/v1/deliveries/{made['id']}")).text
        assert (await api.admin.delete(PATH)).status_code == 204
    kept = (await api.admin.get(f"/v1/deliveries/{made['id']}")).json()
    assert (kept["status"], kept["attempts"][0]["status_code"]) == ("delivered", 200)
    assert kept["attempts"][0]["response_excerpt"] is None
    assert PHONE not in await everything(api)


async def test_forgetting_is_marked_on_the_snapshot_and_may_be_repeated(api: Api) -> None:
    await api.see(personal())
    for _ in range(2):
        assert (await api.admin.delete(PATH)).status_code == 204
    (head,) = await api.services.snapshots.heads(ORDERS, [1])
    assert head is not None
    assert "f" in head.flags
    entries = (await api.admin.get("/v1/audit")).json()["data"]
    assert {entry["action"] for entry in entries if "order" in str(entry["target"])} == {"order.forget_customer"}


async def test_what_is_not_there_or_in_two_venues_is_told(api: Api) -> None:
    assert (await api.admin.delete("/v1/brands/openapitest/orders/9/customer")).status_code == 404
    assert (await api.admin.delete("/v1/brands/nothing/orders/1/customer")).status_code == 404
    viewer = await api.key("viewer")
    assert (await viewer.delete(PATH)).status_code == 403


async def test_a_long_log_is_copied_while_events_are_added(api: Api) -> None:
    made = await api.subscription(url=None)
    for start in range(0, PART * 2, 100):
        await api.see(*[personal(number) for number in range(start + 1, start + 101)])
    adding = True

    async def add() -> int:
        number = 10_000
        while adding:
            number += 1
            await api.see(personal(number))
        return number - 10_000

    task = asyncio.create_task(add())
    assert (await api.admin.delete(PATH)).status_code == 204
    adding = False
    added = await task
    pulled: list[dict[str, Any]] = []
    cursor = None
    while True:
        params: dict[str, Any] = {"limit": 200, **({} if cursor is None else {"cursor": cursor})}
        page = (await api.admin.get(f"/v1/subscriptions/{made['id']}/events", params=params)).json()
        if not page["data"]:
            break
        pulled += page["data"]
        cursor = page["next_cursor"]
    assert len(pulled) == len({event["id"] for event in pulled}) == PART * 2 + added
    assert [event["subject"] for event in pulled if event["data"]["order"]["customer"] is None] == ["order/1"]
    assert await api.relay.redis.exists(keys.LOG_COPY, keys.LOG_REWRITING) == 0


async def test_two_rewritings_do_not_run_at_once_and_a_dead_one_stops_nobody_for_long(api: Api) -> None:
    await api.see(personal(), personal(2), personal(3))
    answers = await asyncio.gather(*[api.admin.delete(PATH.replace("/1/", f"/{n}/")) for n in (1, 2, 3)])
    assert {answer.status_code for answer in answers} == {204}
    assert PHONE not in str((await api.admin.get("/v1/events")).json())
    rewriting = Rewriting(api.relay.redis, api.relay.scripts)
    await api.relay.redis.set(keys.LOG_REWRITING, "another", px=60_000)
    assert await rewriting.run(lambda _: None, owner="me") is None
    assert await api.relay.redis.get(keys.LOG_REWRITING) == b"another"
    assert 0 < await api.relay.redis.pttl(keys.LOG_REWRITING) <= 60_000


async def test_what_was_trimmed_meanwhile_does_not_come_back(api: Api) -> None:
    await api.see(personal())
    await api.see(personal(2))
    redis: Any = api.relay.redis
    first, second = [entry_id for entry_id, _ in await redis.xrange(keys.LOG)]

    def change(static: bytes) -> bytes | None:
        return pack_static(unpack_static(static))

    rewriting = Rewriting(api.relay.redis, api.relay.scripts)
    await redis.set(keys.LOG_REWRITING, "me", px=60_000)
    await redis.copy(keys.LOG, keys.LOG_COPY)
    await redis.xtrim(keys.LOG, minid=second, approximate=False)
    assert (
        await api.relay.scripts.run("swap_log", [keys.LOG, keys.LOG_COPY, keys.LOG_REWRITING], ["me", second, 10]) == 1
    )
    assert [entry_id for entry_id, _ in await redis.xrange(keys.LOG)] == [second]
    assert first != second
    assert await rewriting.run(change, owner="me") == 1
    assert await redis.ttl(keys.LOG) == -1


async def test_a_swap_is_refused_when_too_much_came_or_the_lock_is_anothers(api: Api) -> None:
    await api.see(personal(), personal(2), personal(3))
    swap = [keys.LOG, keys.LOG_COPY, keys.LOG_REWRITING]
    assert await api.relay.scripts.run("swap_log", swap, ["me", "0-0", 10]) == -1
    await api.relay.redis.set(keys.LOG_REWRITING, "me")
    assert await api.relay.scripts.run("swap_log", swap, ["me", "0-0", 2]) == 0
    assert len(await _log(api)) == 3


async def test_an_event_that_cannot_be_read_is_copied_as_it_is(api: Api) -> None:
    await api.see(personal())
    redis: Any = api.relay.redis
    await redis.xadd(keys.LOG, {"s": b"\xffgarbage", "q": "1", "p": ""})
    with pytest.raises(CorruptStateError):
        unpack_static(b"\xffgarbage")
    assert (await api.admin.delete(PATH)).status_code == 204
    assert (await _log(api))[1] == b"\xffgarbage"
