"""Pages of the UI asked for without a browser: odd addresses, odd forms, an absent Redis, long histories."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2 as httpx
import pytest
from cryptography.fernet import Fernet

from relay.api.app import create_app
from relay.api.services import Services
from relay.core.changes import Feed, compare
from relay.core.operational import rfc3339
from relay.pipeline.commit import Proposal
from relay.store import keys
from relay.store.snapshots import Scope
from relay.store.vault import Vault
from tests.conftest import RedisServer
from tests.integration.apis import ADMIN, Api, running_api

ORIGIN = {"origin": "http://relay.test"}
ORDERS = Scope("openapitest", 1, "orders")
ORDER: dict[str, Any] = {"venue_id": 1, "source_status": "X", "channel": {}, "customer": None, "items": []}
PAGES = ("", "/brands", "/subscriptions", "/events", "/deliveries", "/dead", "/audit")
ODD = ("%00", "*", "?", "{x}:", "%F0%9F%8D%95", "x" * 10_000, "%2e%2e", "evt_*", "sub_[a-z]", "<b>")


@pytest.fixture
async def api(own_redis: RedisServer) -> AsyncIterator[Api]:
    async with running_api(own_redis.url) as up:
        yield up


def browser_of(services: Services) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=create_app(services)), base_url="http://relay.test")


async def visitor(api: Api, token: str = ADMIN) -> httpx.AsyncClient:
    """Somebody who has signed in."""
    client = browser_of(api.services)
    await sign_in(client, token)
    return client


async def sign_in(client: httpx.AsyncClient, token: str = ADMIN) -> None:
    answer = await client.post(
        "/ui/sign-in", data={"token": token, "csrf": await csrf_of(client, "/ui/sign-in")}, headers=ORIGIN
    )
    assert answer.status_code == 303, answer.text


async def csrf_of(client: httpx.AsyncClient, path: str = "/ui") -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await client.get(path)).text)
    assert found is not None
    return found[1]


async def see(api: Api, order_id: int, status: str) -> None:
    """Commit what a look at one order would."""
    snapshots, thing = api.relay.stores.snapshots, {"id": order_id, "status": status, **ORDER}
    started = await snapshots.begin()
    (head,), (known,) = await snapshots.heads(ORDERS, [order_id]), await snapshots.objects(ORDERS, [order_id])
    proposal = Proposal(
        entity=order_id,
        subject=f"order/{order_id}",
        venue_id=1,
        head=head,
        object=thing,
        raw=None,
        fingerprint="00",
        change=compare(Feed.ORDERS, None if known is None else known.object, thing),
    )
    await api.relay.committer.commit(ORDERS, [proposal], started=started, fence=None, origin="poll")


async def test_what_is_not_there_is_a_page_that_says_so(api: Api) -> None:
    client = await visitor(api)
    for kind in ("brands", "subscriptions", "events", "deliveries", "replays"):
        for odd in ODD:
            answer = await client.get(f"/ui/{kind}/{odd}")
            assert answer.status_code in (200, 404), (kind, odd)  # "?" is the list
            assert answer.headers["content-type"] == "text/html; charset=utf-8", odd
            assert "Traceback" not in answer.text
    csrf = await csrf_of(client)
    for path in ("brands/none/poll", "subscriptions/none/test", "deliveries/none/retry", "events/none/reveal"):
        answer = await client.post(f"/ui/{path}", data={"csrf": csrf}, headers=ORIGIN)
        assert answer.status_code == 404, path


async def test_filters_that_make_no_sense_are_told_on_the_page(api: Api) -> None:
    client = await visitor(api)
    for query in ("events?venue_id=x", "events?type=nonsense", "events?cursor=zzz", "deliveries?status=odd"):
        answer = await client.get(f"/ui/{query}")
        assert answer.status_code == 200
        assert 'role="alert"' in answer.text
    assert (await client.get("/ui/dead?page=-1&subscription=%00")).status_code == 200
    assert (await client.get("/ui/audit?cursor=zzz")).status_code == 400


async def test_forms_that_cannot_be_read_are_refused(api: Api) -> None:
    client = await visitor(api)
    form = {**ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    csrf = await csrf_of(client)
    for content, status in (
        (b"x=" + b"a" * 70_000, 413),
        (b"x=%ff%fe", 400),
        (b"x=%00", 400),
        ("x=ü".encode(), 400),
        (b"&".join([b"a=b"] * 600), 400),
        (f"csrf={csrf}&csrf=x".encode(), 303),
    ):
        answer = await client.post("/ui/dead/retry", content=content, headers=form)
        assert answer.status_code == status, content[:20]


async def test_pages_say_that_redis_is_away(api: Api, own_redis: RedisServer) -> None:
    client = await visitor(api)
    own_redis.kill()
    for path in (*PAGES, "/sign-in", "/subscriptions/sub_" + "a" * 20):
        answer = await client.get(f"/ui{path}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2"), path
        assert "Redis is away" in answer.text
    assert (await client.get("/ui/static/app.css")).status_code == 200


async def test_a_session_sealed_with_a_key_that_is_gone_is_none(api: Api) -> None:
    client = await visitor(api)
    other = replace(api.services, vault=Vault([Fernet.generate_key().decode()]))
    async with browser_of(other) as after:
        after.cookies = client.cookies
        assert (await after.get("/ui")).headers["location"] == "/ui/sign-in"


async def test_redis_holds_no_session_that_could_be_taken_from_it(api: Api) -> None:
    client = await visitor(api)
    cookie = client.cookies["relay_session"]
    dump = b""
    redis: Any = api.relay.redis
    async for key in redis.scan_iter(f"{keys.PREFIX}session:*"):
        assert 0 < await redis.ttl(key) <= 12 * 3600
        dump += key + await redis.get(key)
    assert dump
    assert cookie.encode() not in dump
    assert ADMIN.encode() not in dump
    assert api.services.admin_digest.encode() not in dump


async def test_cookies_are_for_tls_alone_where_the_browser_speaks_it(api: Api) -> None:
    async with browser_of(api.services) as client:
        plain = (await client.get("/ui/sign-in")).headers["set-cookie"]
        behind = (await client.get("/ui/sign-in", headers={"x-forwarded-proto": "https"})).headers["set-cookie"]
    assert "Secure" not in plain
    assert "; Secure" in behind
    for cookie in (plain, behind):
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/ui/sign-in" in cookie


async def test_a_link_from_elsewhere_comes_in_by_a_page_of_our_own(api: Api) -> None:
    async with browser_of(api.services) as client:
        answer = await client.get("/ui/events?type=order.%2A", headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code == 200
        assert 'content="0;url=/ui/events?type=order.%2A"' in answer.text
        again = await client.get("/ui/events?type=order.%2A", headers={"sec-fetch-site": "same-origin"})
        assert again.headers["location"] == "/ui/sign-in?next=%2Fui%2Fevents%3Ftype%3Dorder.%252A"
        part = await client.get("/ui/events", headers={"hx-request": "true"})
        assert (part.status_code, part.headers["hx-redirect"]) == (401, "/ui/sign-in?next=%2Fui%2Fevents")


async def test_a_history_is_followed_by_its_chain_whatever_lies_between(api: Api) -> None:
    await api.brand()
    statuses = [f"step {number}" for number in range(30)]
    for number, status in enumerate(statuses):
        await see(api, 1, status)
        await see(api, 100 + number, "pending")
    client = await visitor(api)
    newest, *_ = (await api.admin.get("/v1/events", params={"subject": "order/1"})).json()["data"]
    page = (await client.get(f"/ui/events/{newest['id']}")).text
    shown = re.findall(r"<span>(step \d+)</span>", page.partition("History of")[2].partition("</section>")[0])
    assert shown == statuses[-21:]
    assert "What was before is not retained" in page
    middle = (await api.admin.get("/v1/events", params={"subject": "order/1", "limit": 15})).json()["data"][-1]
    page = (await client.get(f"/ui/events/{middle['id']}")).text
    shown = re.findall(r"<span>(step \d+)</span>", page.partition("History of")[2].partition("</section>")[0])
    assert shown == statuses
    assert "What was before is not retained" not in page


async def test_what_a_page_tells_is_told_once_and_to_its_session_alone(api: Api) -> None:
    made = await api.subscription(url=None)
    client, other = await visitor(api), await visitor(api)
    path = f"/ui/subscriptions/{made['id']}"
    answer = await client.post(f"{path}/rotate-secret", data={"csrf": await csrf_of(client)}, headers=ORIGIN)
    told = answer.headers["location"]
    assert "whsec_" not in (await other.get(told)).text
    assert "whsec_" not in (await client.get(told, headers={"hx-request": "true"})).text.partition('id="part"')[0]
    again = await client.post(
        f"{path}/rotate-secret", data={"csrf": await csrf_of(client), "overlap": "0s"}, headers=ORIGIN
    )
    assert "whsec_" in (await client.get(again.headers["location"])).text
    assert "whsec_" not in (await client.get(again.headers["location"])).text


async def test_a_replay_takes_the_times_of_a_browser_as_utc(api: Api) -> None:
    await api.brand()
    made = await api.subscription(event_types=["order.*"])
    await see(api, 1, "pending")
    client = await visitor(api)
    path, csrf = f"/ui/subscriptions/{made['id']}/replay", await csrf_of(client)
    now_ms = api.services.now_ms()
    for since_ms, deliveries in ((now_ms - 3_600_000, 1),):
        fields = {"csrf": csrf, "status": "all", "since": rfc3339(since_ms)[:16]}
        answer = await client.post(path, data=fields, headers=ORIGIN)
        assert answer.headers["location"].startswith("/ui/replays/rpl_"), answer.headers["location"]
        page = (await client.get(answer.headers["location"])).text
        assert f"{deliveries} of {deliveries} delivery is queued" in page
