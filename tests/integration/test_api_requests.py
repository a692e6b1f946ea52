"""Paths, methods, headers, repeats: B39, B42, B43, B44, B49 to B54."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from relay.store.idempotency import RUN_MS
from tests.integration.apis import SUBSCRIPTION, Api, client_of, pointers, running_api
from tests.integration.relays import order

UNKNOWN = "sub_aaaaaaaaaaaaaaaaaaaa"


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url) as up:
        yield up


@pytest.mark.parametrize(
    "path",
    [
        "/v1/subscriptions/sub_aaaaaaaaaaaaaaaaaaaa",
        "/v1/subscriptions/nothing",
        "/v1/subscriptions/key_aaaaaaaaaaaaaaaaaaaa",
        "/v1/subscriptions/SUB_AAAAAAAAAAAAAAAAAAAA",
        "/v1/subscriptions/" + "x" * 10_000,
        "/v1/subscriptions/%2e%2e",
        "/v1/subscriptions/..%2f..%2fv1",
        "/v1/subscriptions/*",
        "/v1/subscriptions/%3f",
        "/v1/subscriptions/%7Bx%7D:",
        "/v1/subscriptions/%00",
        "/v1/subscriptions/%ff",
        "/v1/subscriptions/\u0441ub",
        "/v1/subscriptions/names",
        "/v1/brands/nothing",
        "/v1/brands/%2a",
        "/v1/brands/openapitest:epoch",
        "/v1/deliveries/dlv_aaaaaaaaaaaaaaaaaaaa_1",
        "/v1/deliveries/dlv_*_1",
        "/v1/deliveries/dlv__",
        "/v1/deliveries/dlv_aaaaaaaaaaaaaaaaaaaa_zzzzzzzzzzzzzzzzz",
        "/v1/events/evt_00000000000000000000000000000000",
        "/v1/events/evt_*",
        "/v1/replays/rpl_aaaaaaaaaaaaaaaaaaaa",
        "/v1/brands/openapitest/orders/abc",
        "/v1/brands/openapitest/orders/-1",
        "/v1/brands/openapitest/orders/99999999999999999999",
        "/v1/brands/openapitest/orders/1",
        "/V1/brands",
        "/v1/Brands",
        "/v1/brands/",
        "/v1//brands",
        "//v1/brands",
        "/v1/brands%2fopenapitest",
        "/v1",
        "/",
        "/nothing",
    ],
)
async def test_what_is_not_there_is_a_404(api: Api, path: str) -> None:
    await api.brand()
    missing = await api.admin.get(path)
    assert missing.status_code == 404
    assert missing.json()["code"] == "not_found"


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "DELETE", "BREW"])
async def test_another_method_is_a_405_that_names_those_there_are(api: Api, method: str) -> None:
    for path, allowed in (("/v1/brands", "GET, HEAD, POST"), ("/v1/audit", "GET, HEAD"), ("/livez", "GET, HEAD")):
        refused = await api.admin.request(method, path)
        assert refused.status_code == 405
        assert {part.strip() for part in refused.headers["allow"].split(",")} == set(allowed.split(", "))
        assert refused.json()["code"] == "method_not_allowed"


async def test_an_override_of_the_method_is_ignored(api: Api) -> None:
    made = await api.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    answer = await api.admin.get(path, headers={"x-http-method-override": "DELETE"})
    assert answer.status_code == 200
    assert (await api.admin.get(path)).status_code == 200


async def test_head_is_get_without_the_body(api: Api) -> None:
    made = await api.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    got, headed = await api.admin.get(path), await api.admin.head(path)
    assert headed.status_code == 200
    assert headed.content == b""
    for name in ("content-type", "content-length", "etag"):
        assert headed.headers[name] == got.headers[name]
    assert (await api.admin.head(f"/v1/subscriptions/{UNKNOWN}")).status_code == 404


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "nonsense"])
async def test_whatever_is_accepted_the_answer_is_json(api: Api, accept: str) -> None:
    answer = await api.admin.get("/v1/brands", headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


async def test_the_host_and_forwarded_headers_of_a_request_turn_up_nowhere(api: Api) -> None:
    odd = {"host": "evil.example", "x-forwarded-for": "203.0.113.7", "x-forwarded-host": "evil.example",
           "forwarded": "for=203.0.113.7;host=evil.example"}  # fmt: skip
    made = await api.admin.post("/v1/subscriptions", json=SUBSCRIPTION, headers=odd)
    document = await api.admin.get("/openapi.json", headers=odd)
    audit = await api.admin.get("/v1/audit", headers=odd)
    for answer in (made, document, audit):
        assert "evil.example" not in answer.text + str(answer.headers)
        assert "203.0.113.7" not in answer.text


async def test_every_answer_has_an_id_and_is_not_to_be_kept(api: Api) -> None:
    answers = [await api.admin.get("/v1/brands"), await api.admin.get("/nothing"), await api.nobody.get("/v1/brands")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    assert {answer.headers["x-content-type-options"] for answer in answers} == {"nosniff"}


async def test_a_head_with_too_many_or_too_long_headers_is_a_431(api: Api) -> None:
    many = [(f"x-{n}", "a") for n in range(1000)]
    assert (await api.admin.get("/v1/brands", headers=many)).status_code == 431
    assert (await api.admin.get("/v1/brands", headers={"x-long": "a" * 65_536})).status_code == 431


# ---- lists ----


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=201", "limit=ten", "limit=1e9", "limit=1.5", "limit=", "limit=5&limit=5", "page=2"],
)
async def test_a_wrong_parameter_is_a_422_that_names_it(api: Api, query: str) -> None:
    for path in ("/v1/brands", "/v1/subscriptions", "/v1/events", "/v1/deliveries", "/v1/audit", "/v1/api-keys"):
        refused = await api.admin.get(f"{path}?{query}")
        assert pointers(refused) == {"/" + query.partition("=")[0]}, path
        assert {error["in"] for error in refused.json()["errors"]} == {"query"}


@pytest.mark.parametrize(
    "moment",
    [
        "yesterday",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-02-02T13:45:53",
        "2026-02-02",
        "9999-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "2026-02-02T13:45:53+25:00",
        "2026-02-02T25:00:00Z",
        "1770039953",
    ],
)
async def test_a_filter_that_is_no_time_is_a_422(api: Api, moment: str) -> None:
    for path in ("/v1/events", "/v1/deliveries", "/v1/ledger"):
        refused = await api.admin.get(path, params={"since": moment})
        assert pointers(refused) == {"/since"}, path


async def test_a_stretch_must_not_end_before_it_begins(api: Api) -> None:
    refused = await api.admin.get("/v1/events?since=2026-02-02T00:00:00Z&until=2026-02-01T00:00:00Z")
    assert pointers(refused) == {"/until"}


@pytest.mark.parametrize("cursor", ["x", "!!!", "", "e30", "W10", "WyJhIl0", "WzEsMiwzXQ", "%00", "x" * 300])
async def test_what_is_no_cursor_is_a_400(api: Api, cursor: str) -> None:
    for path in ("/v1/brands", "/v1/subscriptions", "/v1/events", "/v1/deliveries", "/v1/audit", "/v1/api-keys"):
        refused = await api.admin.get(f"{path}?cursor={cursor}")
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor"), path


@pytest.mark.parametrize("place", [-1, 2**63, 2**64 - 1])
async def test_a_cursor_of_ones_own_making_is_a_400(api: Api, place: int) -> None:
    await api.brand()
    for number in range(2):
        await api.see(order(number + 1))
        await api.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, "name": f"s{number}"})
    for path in ("/v1/events", "/v1/audit"):
        good = (await api.admin.get(f"{path}?limit=1")).json()["next_cursor"]
        bound, first, *more = orjson.loads(base64.urlsafe_b64decode(good + "=" * (-len(good) % 4)))
        assert isinstance(first, int)
        forged = base64.urlsafe_b64encode(orjson.dumps([bound, place, *more])).decode().rstrip("=")
        refused = await api.admin.get(f"{path}?limit=1&cursor={forged}")
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor"), path


async def test_a_cursor_is_good_for_its_list_its_filters_and_its_caller(api: Api) -> None:
    await api.brand()
    for number in range(3):
        await api.see(order(number + 1))
        await api.subscription(name=f"s{number}")
    events = (await api.admin.get("/v1/events?limit=1&brand=openapitest")).json()["next_cursor"]
    subscriptions = (await api.admin.get("/v1/subscriptions?limit=1")).json()["next_cursor"]
    good = await api.admin.get("/v1/events", params={"limit": 2, "brand": "openapitest", "cursor": events})
    assert good.status_code == 200
    for path, params in (
        ("/v1/events", {"cursor": events}),
        ("/v1/events", {"cursor": events, "brand": "openapitest", "type": "order.*"}),
        ("/v1/subscriptions", {"cursor": events}),
        ("/v1/events", {"cursor": subscriptions}),
    ):
        refused = await api.admin.get(path, params=params)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")
    viewer = await api.key("viewer")
    assert (await viewer.get(f"/v1/subscriptions?cursor={subscriptions}")).status_code == 400


async def test_pages_neither_repeat_nor_leave_out_while_rows_are_added(api: Api) -> None:
    await api.brand()
    before = {(await api.subscription(name=f"before {n}"))["id"] for n in range(9)}
    for number in range(9):
        await api.see(order(number + 1))
    for path, key in (("/v1/subscriptions", "id"), ("/v1/events", "id"), ("/v1/events?order=asc", "id")):
        expected = {row[key] for row in (await api.admin.get(path, params={"limit": 200})).json()["data"]}
        seen: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await api.admin.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
            seen += [row[key] for row in page["data"]]
            cursor = page["next_cursor"]
            await api.subscription(name=f"during {path} {len(seen)}")
            if "asc" not in path:
                await api.see(order(1000 + len(seen)))
            assert len(seen) < 100
        assert len(seen) == len(set(seen)), path
        assert expected <= set(seen), path
    assert before


# ---- repeats ----


async def test_a_repeat_with_the_same_key_gets_the_same_answer_secret_included(api: Api) -> None:
    headers = {"idempotency-key": "order-4711"}
    first = await api.admin.post("/v1/subscriptions", json=SUBSCRIPTION, headers=headers)
    again = await api.admin.post("/v1/subscriptions", json=SUBSCRIPTION, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["etag"] == first.headers["etag"]
    assert len((await api.admin.get("/v1/subscriptions")).json()["data"]) == 1
    entries = (await api.admin.get("/v1/audit")).json()["data"]
    assert [entry["action"] for entry in entries] == ["subscription.create"]
    reordered = dict(reversed(SUBSCRIPTION.items()))
    assert (await api.admin.post("/v1/subscriptions", json=reordered, headers=headers)).content == first.content


async def test_the_same_key_for_another_request_is_a_422(api: Api) -> None:
    headers = {"idempotency-key": "k"}
    made = (await api.admin.post("/v1/subscriptions", json=SUBSCRIPTION, headers=headers)).json()
    other = await api.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, "name": "b"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    elsewhere = await api.admin.post(f"/v1/subscriptions/{made['id']}/pause", headers=headers)
    assert elsewhere.status_code == 422


async def test_keys_of_two_callers_have_nothing_to_do_with_each_other(api: Api) -> None:
    headers = {"idempotency-key": "k"}
    other = await api.key("admin")
    first = await api.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, "name": None}, headers=headers)
    second = await other.post("/v1/subscriptions", json={**SUBSCRIPTION, "name": None}, headers=headers)
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize("key", ["", "k" * 256, "k" * 300, " ", "a\tb", "\xfc"])
async def test_a_key_that_is_none_is_a_400(api: Api, key: str) -> None:
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    refused = await api.admin.post("/v1/brands", json={}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_header")


async def test_a_request_that_failed_may_be_made_again_with_its_key(api: Api) -> None:
    headers = {"idempotency-key": "k"}
    wrong = await api.admin.post("/v1/subscriptions", json={}, headers=headers)
    assert wrong.status_code == 422
    assert wrong.json()["code"] == "invalid"
    again = await api.admin.post("/v1/subscriptions", json={}, headers=headers)
    assert again.json()["code"] == "invalid"


async def test_of_many_at_once_one_runs_and_the_others_wait_or_get_its_answer(api: Api) -> None:
    headers = {"idempotency-key": "k"}
    answers = await asyncio.gather(
        *[api.admin.post("/v1/subscriptions", json=SUBSCRIPTION, headers=headers) for _ in range(20)]
    )
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    for answer in answers:
        assert answer.status_code == 201 or (answer.status_code, answer.json()["code"]) == (409, "running")
    assert len((await api.admin.get("/v1/subscriptions")).json()["data"]) == 1


async def test_a_request_cut_off_before_its_answer_was_kept_is_found_by_its_repeat(api: Api) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/subscriptions", {**SUBSCRIPTION, "name": None}),
        ("/v1/api-keys", {"name": "a key", "role": "viewer"}),
        ("/v1/brands", {"brand": "b", "client_id": "c", "client_secret": "s", "integrator_id": "i"}),
    ]
    for path, body in bodies:
        headers = {"idempotency-key": path}
        first = await api.admin.post(path, json=body, headers=headers)
        assert first.status_code == 201
        (key,) = [key async for key in api.relay.redis.scan_iter("relay:idem:*")]
        await api.relay.redis.hdel(key, "answer")  # as if the process had been killed before it wrote that down
        running = await api.admin.post(path, json=body, headers=headers)
        assert (running.status_code, running.json()["code"]) == (409, "running")
        assert 0 < int(running.headers["retry-after"]) <= RUN_MS / 1000
        await api.relay.redis.hset(key, "until", "0")  # a minute later
        again = await api.admin.post(path, json=body, headers=headers)
        assert again.status_code == 201, again.text
        differing = {name for name, value in first.json().items() if again.json()[name] != value}
        assert differing <= {"state"}, path
        assert len((await api.admin.get(path)).json()["data"]) == 1
        await api.relay.redis.delete(key)


async def test_an_answer_is_remembered_sealed_and_for_a_day(api: Api) -> None:
    made = await api.admin.post("/v1/subscriptions", json=SUBSCRIPTION, headers={"idempotency-key": "k"})
    (key,) = [key async for key in api.relay.redis.scan_iter("relay:idem:*")]
    kept: Any = await api.relay.redis.hgetall(key)
    assert made.json()["secret"].encode() not in b"".join(kept.values())
    assert 86_000 < await api.relay.redis.ttl(key) <= 86_400


async def test_a_client_that_goes_away_leaves_nothing_half_done(api: Api) -> None:
    slow = replace(api.services, lookup=_slow_lookup)
    async with client_of(slow, "admin-token-of-the-tests-0123456789") as client:
        request = asyncio.create_task(
            client.post("/v1/subscriptions", json=SUBSCRIPTION, headers={"idempotency-key": "k"})
        )
        await asyncio.sleep(0.05)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    made = await api.admin.post("/v1/subscriptions", json=SUBSCRIPTION, headers={"idempotency-key": "k"})
    assert made.status_code == 201
    assert len((await api.admin.get("/v1/subscriptions")).json()["data"]) == 1


async def _slow_lookup(_host: str) -> list[Any]:
    started_s = time.monotonic()
    await asyncio.sleep(0.5)
    raise OSError(time.monotonic() - started_s)
