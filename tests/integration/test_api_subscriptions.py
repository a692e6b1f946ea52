"""Subscriptions: made, changed, paused, given new secrets, deleted."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from relay.core import signing
from tests.integration.apis import LOOPBACK, SUBSCRIPTION, Api, pointers, running_api
from tests.integration.examples import assert_like_its_example
from tests.integration.relays import Call, order, partner

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url) as up:
        yield up


async def test_a_subscription_is_made_with_a_secret_that_is_never_shown_again(api: Api) -> None:
    made = await api.admin.post("/v1/subscriptions", json=SUBSCRIPTION)
    assert made.status_code == 201
    body = made.json()
    signing.parse_secret(body["secret"])
    assert made.headers["location"] == f"/v1/subscriptions/{body['id']}"
    shown = await api.admin.get(f"/v1/subscriptions/{body['id']}")
    assert shown.headers["etag"] == made.headers["etag"]
    assert shown.json() == {key: value for key, value in body.items() if key != "secret"}
    assert body["state"] == {
        "status": "active",
        "disabled_reason": None,
        "pending": 0,
        "dead": 0,
        "oldest_pending_at": None,
        "success_rate_1h": None,
        "latency_p95_ms_1h": None,
        "failing_since": None,
        "held_until": None,
        "unverified": True,
    }
    stored = await api.services.subscriptions.get(body["id"])
    assert stored is not None
    assert body["secret"] not in str(stored)


async def test_everything_that_was_set_is_shown_but_secrets_and_header_values(api: Api) -> None:
    await api.brand()
    sent = {
        "name": "courier: ünïcode 🚚",
        "url": "https://courier.example:8443/hooks?a=b",
        "event_types": ["order.created", "station.*"],
        "brands": ["openapitest"],
        "venues": [1, 2],
        "description": "for the night shift",
        "partner": "courier",
        "redact": ["customer.phone", "comment"],
        "include_raw": True,
        "ordering": "none",
        "max_concurrency": 25,
        "rate_limit": "50/s",
        "retry_schedule": "1s,1s,90s",
        "max_age": "10m",
    }
    answer = await api.admin.post(
        "/v1/subscriptions", json={**sent, "secret": SECRET, "headers": {"X-Key": "hidden-value", "x-b": "c"}}
    )
    body = answer.json()
    assert {key: body[key] for key in sent} == sent
    assert body["secret"] == SECRET
    assert body["headers"] == {"x-key": None, "x-b": None}
    assert "hidden-value" not in answer.text
    listed = await api.admin.get("/v1/subscriptions")
    assert "hidden-value" not in listed.text
    assert SECRET not in listed.text


async def test_a_schedule_may_be_a_list(api: Api) -> None:
    assert (await api.subscription(retry_schedule=["5s", "5m"]))["retry_schedule"] == "5s,5m"


async def test_v1a_comes_with_a_public_key_that_every_answer_shows(api: Api) -> None:
    made = await api.subscription(signature="v1a")
    signing.parse_public_key(made["public_key"])
    assert signing.parse_private_key(made["secret"]).public() == made["public_key"]
    shown = (await api.admin.get(f"/v1/subscriptions/{made['id']}")).json()
    assert shown["public_key"] == made["public_key"]
    rotated = (await api.admin.post(f"/v1/subscriptions/{made['id']}/rotate-secret")).json()
    assert rotated["public_key"] not in (None, made["public_key"])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "   ",
        "https://courier.example/" + "x" * 8200,
        "http://courier.example/",
        "ftp://courier.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//courier.example/",
        "https://u:p@courier.example/",
        "https://courier.example/#x",
        "https://courier.example:0/",
        "https://courier.example:65536/",
        "https://courier.example:-1/",
        "https://courier.example:/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::ffff:10.0.0.1]/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0/",
        "https://127\u30020\u30020\u30021/",
        "https://localhost/",
        "https://localhost./",
        "https://LOCALHOST/",
        "https://x.localhost/",
        "https://printer.local/",
        "https://redis.svc.cluster.local/",
        "https://metadata.google.internal/",
        "https://intranet/",
        "https://inside.example/",
        "https://mixed.example/",
        "http://good\\@127.0.0.1/",
        "https://127.0.0.1#@good.example/",
        "https://courier.example%00/",
        "https://courier%2fexample/",
        "https://courier .example/",
        "https://courier.example\t/",
        "https://courier.example\r\n/",
        "https://xn--/",
        "https://xn--zzzzzzz-/",
        "https://" + "a" * 64 + ".example/",
        "https://" + ".".join(["a" * 60] * 5) + ".example/",
        "https://a..example/",
    ],
)
async def test_a_url_that_must_not_be_called_is_refused_with_its_reason(api: Api, url: str) -> None:
    refused = await api.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, "url": url})
    assert pointers(refused) == {"/url"}
    if url.strip():
        assert url not in refused.text.replace("https://[2001:4860:4860::8888]/", "")


async def test_a_missing_url_is_refused_and_null_is_for_pulling(api: Api) -> None:
    assert pointers(await api.admin.post("/v1/subscriptions", json={"event_types": ["*"]})) == {"/url"}
    assert (await api.subscription(url=None))["url"] is None


async def test_a_name_that_does_not_resolve_at_the_moment_is_accepted(api: Api) -> None:
    made = await api.subscription(url="https://not-yet.example/")
    assert made["url"] == "https://not-yet.example/"
    assert made["state"]["unverified"] is True


async def test_urls_are_stored_in_one_spelling(api: Api) -> None:
    made = await api.subscription(url="HTTPS://B\u00fccher.example:443")
    assert made["url"] == "https://xn--bcher-kva.example/"


async def test_plain_http_is_accepted_only_into_the_operators_networks(redis_url: str) -> None:
    async with running_api(redis_url, allow_networks=LOOPBACK) as api:
        assert (await api.subscription(url="http://127.0.0.1:9000/hooks"))["url"] == "http://127.0.0.1:9000/hooks"
        for url in ("http://courier.example/", "http://not-yet.example/", "http://10.0.0.1/", "https://intranet/"):
            refused = await api.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, "name": None, "url": url})
            assert pointers(refused) == {"/url"}, url


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"event_types": []}, {"/event_types"}),
        ({"event_types": ["order.creatd"]}, {"/event_types/0"}),
        ({"event_types": ["order.*", "order.*"]}, {"/event_types/1"}),
        ({"event_types": ["order.created\n"]}, {"/event_types/0"}),
        ({"event_types": ["order.*"] * 1000}, {"/event_types"}),
        ({"event_types": ["ORDER.*"]}, {"/event_types/0"}),
        ({"venues": []}, {"/venues"}),
        ({"venues": [-1]}, {"/venues/0"}),
        ({"venues": ["1"]}, {"/venues/0"}),
        ({"venues": [2**53]}, {"/venues/0"}),
        ({"venues": [1, 1]}, {"/venues"}),
        ({"brands": ["nowhere"]}, {"/brands/0"}),
        ({"brands": ["a b"]}, {"/brands/0"}),
        ({"headers": {"": "x"}}, {"/headers/"}),
        ({"headers": {"x y": "x"}}, {"/headers/x y"}),
        ({"headers": {"x:y": "x"}}, {"/headers/x:y"}),
        ({"headers": {"x\r\ny": "x"}}, {"/headers/…"}),
        ({"headers": {"x" * 300: "x"}}, {"/headers/…"}),
        ({"headers": {"Host": "x", "content-LENGTH": "1", "Cookie": "x", "webhook-id": "x", "X-Forwarded-For": "x",
                      "Proxy-Authorization": "x", "User-Agent": "x", "TE": "x"}},
         {"/headers/Host", "/headers/content-LENGTH", "/headers/Cookie", "/headers/webhook-id",
          "/headers/X-Forwarded-For", "/headers/Proxy-Authorization", "/headers/User-Agent", "/headers/TE"}),
        ({"headers": {"x-a": "1", "X-A": "2"}}, {"/headers/X-A"}),
        ({"headers": {"x-a": "a\r\nb"}}, {"/headers/x-a"}),
        ({"headers": {"x-a": "a\x01b"}}, {"/headers/x-a"}),
        ({"headers": {"x-a": " a"}}, {"/headers/x-a"}),
        ({"headers": {"x-a": "\t"}}, {"/headers/x-a"}),
        ({"headers": {"x-a": "\u4e00"}}, {"/headers/x-a"}),
        ({"headers": {"x-a": "a" * 4097}}, {"/headers/x-a"}),
        ({"headers": {f"x-{n}": "a" for n in range(21)}}, {"/headers/x-20"}),
        ({"secret": "whsec_"}, {"/secret"}),
        ({"secret": "whsec_c2hvcnQ="}, {"/secret"}),
        ({"secret": "whsec_" + base64.b64encode(bytes(65)).decode()}, {"/secret"}),
        ({"secret": SECRET[:-1]}, {"/secret"}),
        ({"secret": "whsec_" + "!" * 43 + "="}, {"/secret"}),
        ({"secret": SECRET.removeprefix("whsec_")}, {"/secret"}),
        ({"secret": "whpk_" + base64.b64encode(bytes(32)).decode()}, {"/secret"}),
        ({"secret": f" {SECRET} "}, {"/secret"}),
        ({"secret": SECRET, "signature": "v1a"}, {"/secret"}),
        ({"secret": "whsk_" + base64.b64encode(bytes(32)).decode()}, {"/secret"}),
        ({"redact": ["customer.fone"]}, {"/redact/0"}),
        ({"redact": ["data.customer.*", "..", "__proto__", "id"]}, {f"/redact/{n}" for n in range(4)}),
        ({"redact": ["customer.phone"] * 10_000}, {"/redact"}),
        ({"max_concurrency": 0}, {"/max_concurrency"}),
        ({"max_concurrency": 10**9}, {"/max_concurrency"}),
        ({"max_concurrency": 1.5}, {"/max_concurrency"}),
        ({"rate_limit": "0/s"}, {"/rate_limit"}),
        ({"rate_limit": "5"}, {"/rate_limit"}),
        ({"rate_limit": "999999999/s"}, {"/rate_limit"}),
        ({"retry_schedule": "5m,5s"}, {"/retry_schedule"}),
        ({"retry_schedule": ",".join(["1s"] * 21)}, {"/retry_schedule"}),
        ({"retry_schedule": "20d,20d"}, {"/retry_schedule"}),
        ({"retry_schedule": "0s"}, {"/retry_schedule"}),
        ({"retry_schedule": []}, {"/retry_schedule"}),
        ({"max_age": "0s"}, {"/max_age"}),
        ({"max_age": "1y"}, {"/max_age"}),
        ({"max_age": 600}, {"/max_age"}),
        ({"start": "then"}, {"/start"}),
        ({"start": "2099-01-01T00:00:00Z"}, {"/start"}),
        ({"start": "2026-01-01T00:00:00"}, {"/start"}),
        ({"ordering": "brand"}, {"/ordering"}),
        ({"signature": "v2"}, {"/signature"}),
        ({"name": "x" * 10_000}, {"/name"}),
        ({"name": "   "}, {"/name"}),
        ({"name": ""}, {"/name"}),
        ({"name": "a\nb"}, {"/name"}),
        ({"name": "\x1b[31mred"}, {"/name"}),
        ({"description": "a\u202eb"}, {"/description"}),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_told_by_its_place(api: Api, fields: dict[str, Any], where: set[str]) -> None:
    refused = await api.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, **fields})
    assert pointers(refused) == where
    made = await api.subscription(name=None)
    if "start" not in fields and "signature" not in fields:
        assert pointers(await api.admin.patch(f"/v1/subscriptions/{made['id']}", json=fields)) == where


async def test_odd_but_harmless_names_are_kept_as_they_are(api: Api) -> None:
    for name in ("<script>alert(1)</script>", "😀", "x" * 256, "'; DROP TABLE"):
        assert (await api.subscription(name=name))["name"] == name


async def test_a_name_is_unique(api: Api) -> None:
    await api.subscription()
    refused = await api.admin.post("/v1/subscriptions", json=SUBSCRIPTION)
    assert (refused.status_code, refused.json()["code"]) == (409, "exists")
    other = await api.subscription(name="other")
    taken = await api.admin.patch(f"/v1/subscriptions/{other['id']}", json={"name": "courier"})
    assert taken.status_code == 409
    renamed = await api.admin.patch(f"/v1/subscriptions/{other['id']}", json={"name": "third"})
    assert renamed.status_code == 200
    assert (await api.subscription(name="other"))["name"] == "other"


async def test_a_secret_of_another_endpoint_is_refused_without_saying_whose(api: Api) -> None:
    first = await api.subscription(secret=SECRET)
    reused = await api.admin.post(
        "/v1/subscriptions", json={**SUBSCRIPTION, "name": "b", "url": "https://other.example/", "secret": SECRET}
    )
    assert pointers(reused) == {"/secret"}
    assert first["id"] not in reused.text
    assert (await api.subscription(name="c", secret=SECRET))["secret"] == SECRET  # the same endpoint's own


async def test_a_mask_in_place_of_a_secret_is_never_stored(api: Api) -> None:
    made = await api.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    assert pointers(await api.admin.patch(path, json={"secret": "whsec_****"})) == {"/secret"}
    changed = await api.admin.patch(path, json={"secret": OTHER_SECRET})
    assert changed.status_code == 200
    assert OTHER_SECRET not in changed.text
    stored = await api.services.subscriptions.get(made["id"])
    assert stored is not None
    assert [api.services.vault.open(secret.sealed) for secret in stored.value.secrets] == [OTHER_SECRET]


async def test_a_change_answers_with_the_whole_and_what_is_the_same_changes_nothing(api: Api) -> None:
    made = await api.subscription(secret=SECRET, headers={"x-a": "b"})
    path = f"/v1/subscriptions/{made['id']}"
    before = await api.admin.get(path)
    for same in (
        {},
        {"name": "courier"},
        {"secret": SECRET},
        {"headers": {"X-A": "b"}},
        {"enabled": True, "signature": "v1"},
        {"url": "https://courier.example:443/hooks", "event_types": ["order.*"], "redact": []},
    ):
        kept = await api.admin.patch(path, json=same)
        assert kept.status_code == 200, same
        assert kept.headers["etag"] == before.headers["etag"], same
    changed = await api.admin.patch(path, json={"description": "new", "max_age": "1h", "rate_limit": None})
    assert changed.status_code == 200
    assert changed.headers["etag"] != before.headers["etag"]
    assert (changed.json()["description"], changed.json()["max_age"]) == ("new", "1h")
    assert (await api.admin.patch(path, json={"max_age": None})).json()["max_age"] is None


async def test_null_for_what_is_needed_is_refused(api: Api) -> None:
    made = await api.subscription()
    refused = await api.admin.patch(
        f"/v1/subscriptions/{made['id']}",
        json={"event_types": None, "enabled": None, "max_concurrency": None, "ordering": None, "redact": None},
    )
    assert pointers(refused) == {"/event_types", "/enabled", "/max_concurrency", "/ordering", "/redact"}


async def test_the_signature_stays_as_it_was_made(api: Api) -> None:
    made = await api.subscription()
    refused = await api.admin.patch(f"/v1/subscriptions/{made['id']}", json={"signature": "v1a"})
    assert pointers(refused) == {"/signature"}


async def test_if_match_guards_a_change_and_a_deletion(api: Api) -> None:
    made = await api.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    etag = (await api.admin.get(path)).headers["etag"]
    fresh = await api.admin.patch(path, json={"description": "a"}, headers={"if-match": etag})
    assert fresh.status_code == 200
    for method, content in (("PATCH", {"description": "b"}), ("DELETE", None)):
        for stale in (etag, '"x"', f"W/{fresh.headers['etag']}"):
            refused = await api.admin.request(method, path, json=content, headers={"if-match": stale})
            assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
        for malformed in ("3", '"3', "", "W/3"):
            wrong = await api.admin.request(method, path, json=content, headers={"if-match": malformed})
            assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_header")
    several = f'"old", {fresh.headers["etag"]}'
    assert (await api.admin.patch(path, json={"description": "c"}, headers={"if-match": several})).status_code == 200
    assert (await api.admin.patch(path, json={"description": "d"}, headers={"if-match": "*"})).status_code == 200
    assert (await api.admin.delete(path, headers={"if-match": "*"})).status_code == 204


async def test_fifty_changes_at_once_lose_none(api: Api) -> None:
    made = await api.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    bodies: list[dict[str, Any]] = [
        {"max_concurrency": n + 100} if n % 2 else {"description": f"d{n}"} for n in range(50)
    ]

    async def change(body: dict[str, Any]) -> None:
        while (answer := await api.admin.patch(path, json=body)).status_code == 503:
            assert answer.headers["retry-after"]  # a slow machine; it may have been done all the same
        assert answer.status_code == 200

    await asyncio.gather(*[change(body) for body in bodies])
    version = int((await api.admin.get(path)).headers["etag"].strip('"').split("-")[0])
    assert version >= 51
    etag = (await api.admin.get(path)).headers["etag"]
    guarded = await asyncio.gather(
        *[api.admin.patch(path, json={"description": f"g{n}"}, headers={"if-match": etag}) for n in range(20)]
    )
    assert sorted(answer.status_code for answer in guarded) == [200] + [412] * 19


async def test_deleting_twice_is_204_and_then_404(api: Api) -> None:
    made = await api.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    assert (await api.admin.delete(path)).status_code == 204
    assert (await api.admin.delete(path)).status_code == 404
    assert (await api.admin.get(path)).status_code == 404
    assert (await api.admin.patch(path, json={})).status_code == 404


async def test_pause_resume_and_disable(api: Api) -> None:
    made = await api.subscription()
    path = f"/v1/subscriptions/{made['id']}"

    async def state(**change: Any) -> tuple[str, str | None]:
        answer = await (api.admin.patch(path, json=change) if change else api.admin.get(path))
        assert answer.status_code == 200
        shown = answer.json()["state"]
        return shown["status"], shown["disabled_reason"]

    assert (await api.admin.post(f"{path}/pause")).json()["state"]["status"] == "paused"
    assert (await api.admin.post(f"{path}/pause", json={})).json()["state"]["status"] == "paused"
    assert await state(enabled=True) == ("active", None)
    assert await state(enabled=False) == ("disabled", "by the operator")
    assert (await api.admin.patch(path, json={"description": "changed while disabled"})).status_code == 200
    assert (await api.admin.post(f"{path}/pause")).json()["state"]["status"] == "disabled"
    assert (await api.admin.post(f"{path}/resume")).json()["state"]["status"] == "active"
    assert (await api.admin.get(path)).json()["enabled"] is True
    off = await api.subscription(name="off", enabled=False)
    assert (off["enabled"], off["state"]["status"]) == (False, "disabled")


async def test_disabling_and_enabling_are_told_to_who_asks_for_it(api: Api) -> None:
    watcher = await api.subscription(name="watcher", url=None, event_types=["relay.*"])
    made = await api.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    await api.admin.patch(path, json={"enabled": False})
    await api.admin.post(f"{path}/resume")
    await api.admin.post(f"{path}/pause")
    pulled = (await api.admin.get(f"/v1/subscriptions/{watcher['id']}/events")).json()["data"]
    assert [event["type"] for event in pulled] == ["relay.subscription_disabled", "relay.subscription_enabled"]
    assert {event["data"]["subscription"] for event in pulled} == {made["id"]}


async def test_what_the_relay_says_of_a_subscription_is_what_partners_are_shown_as_an_example(redis_url: str) -> None:
    async def answer(call: Call) -> web.Response:
        return web.Response(status=int(call.headers["x-answer"]))

    async with running_api(redis_url, allow_networks=LOOPBACK) as api, partner(answer) as endpoint:
        watcher = await api.subscription(name="watcher", url=None, event_types=["relay.*"])
        await api.brand()
        gone = await api.subscription(name="gone", url=endpoint.url, headers={"x-answer": "410"})
        await api.subscription(name="busy", url=endpoint.url, headers={"x-answer": "503"}, retry_schedule="1ms")
        tested = await api.subscription(name="tested", url=endpoint.url, headers={"x-answer": "200"})
        await api.see(order(1))
        await api.deliver()
        await api.admin.post(f"/v1/subscriptions/{gone['id']}/resume")
        await api.admin.post(f"/v1/subscriptions/{tested['id']}/test")
        told = (await api.admin.get(f"/v1/subscriptions/{watcher['id']}/events")).json()["data"]
        told.append(endpoint.calls[-1].event)
    assert {event["type"] for event in told} == {
        *("relay.subscription_disabled", "relay.subscription_enabled", "relay.delivery_dead", "relay.test")
    }
    for event in told:
        assert_like_its_example(event)


async def test_rotation_lets_both_secrets_sign_for_a_while(api: Api) -> None:
    made = await api.subscription(secret=SECRET)
    path = f"/v1/subscriptions/{made['id']}/rotate-secret"
    rotated = await api.admin.post(path, json={"overlap": "1h"})
    assert rotated.status_code == 200
    body = rotated.json()
    assert body["secret"] not in (SECRET, None)
    until = datetime.fromisoformat(body["old_secret_until"])
    assert timedelta(minutes=59) < until - datetime.now(UTC) < timedelta(minutes=61)
    again = await api.admin.post(path, json={"overlap": "1h"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    at_once = (await api.admin.post(path, json={"overlap": "0s", "secret": OTHER_SECRET})).json()
    assert (at_once["secret"], at_once["old_secret_until"]) == (OTHER_SECRET, None)
    for wrong in ("-1h", "3650d", "", 5):
        assert pointers(await api.admin.post(path, json={"overlap": wrong})) == {"/overlap"}


async def test_masks_change_for_events_to_come_and_not_for_those_that_wait(api: Api) -> None:
    await api.brand()
    made = await api.subscription(url=None)
    path = f"/v1/subscriptions/{made['id']}"
    await api.see(order(1, comment="first"))
    assert (await api.admin.patch(path, json={"redact": ["comment"]})).json()["redact"] == ["comment"]
    await api.see(order(2, comment="second"))
    await api.admin.patch(path, json={"redact": []})
    await api.see(order(3, comment="third"))
    pulled = (await api.admin.get(f"{path}/events")).json()["data"]
    assert [event["data"]["order"]["comment"] for event in pulled] == ["first", None, "third"]


async def test_a_start_in_the_past_tells_of_what_was_in_its_order(api: Api) -> None:
    await api.brand(venues=[1])
    report = await api.see(order(1), order(2, "delivered"), order(3, "accepted"))
    await api.see(order(1, "accepted"))
    since = await api.subscription(name="since", url=None, start="2026-01-01T00:00:00Z", event_types=["order.created"])
    await api.see(order(4))
    pulled = (await api.admin.get(f"/v1/subscriptions/{since['id']}/events")).json()["data"]
    assert [event["id"] for event in pulled[:3]] == [event_id for _, _, event_id, _, _ in report.events]
    assert [event["subject"] for event in pulled[3:]] == ["order/4"]
    nothing = await api.subscription(name="now", url=None)
    assert (await api.admin.get(f"/v1/subscriptions/{nothing['id']}/events")).json()["data"] == []


async def test_a_test_is_sent_now_and_answers_with_the_attempt_whatever_it_was(redis_url: str) -> None:
    async with running_api(redis_url, allow_networks=LOOPBACK) as api, partner() as endpoint:
        made = await api.subscription(url=endpoint.url, secret=SECRET, headers={"x-tenant": "42"})
        path = f"/v1/subscriptions/{made['id']}"
        answer = (await api.admin.post(f"{path}/test")).json()
        assert (answer["success"], answer["status_code"], answer["number"], answer["error"]) == (True, 204, 1, None)
        (call,) = endpoint.calls
        assert call.event["type"] == "relay.test"
        assert call.event["id"] == call.id == answer["event"]
        assert call.headers["x-tenant"] == "42"
        assert call.headers["relay-subscription"] == made["id"]
        key = signing.parse_secret(SECRET)
        assert signing.verify([key], call.headers, call.body, now_s=int(call.headers["webhook-timestamp"])) is None
        await api.admin.post(f"{path}/pause")
        assert (await api.admin.post(f"{path}/test")).json()["success"] is True
        await api.admin.patch(path, json={"enabled": False})
        second = (await api.admin.post(f"{path}/test")).json()
        assert second["success"] is True
        assert second["event"] != answer["event"]
        ledger = (await api.admin.get("/v1/ledger")).json()
        assert ledger["matched"] == 0
        await api.admin.patch(path, json={"url": "http://127.0.0.1:9/"})
        failed = await api.admin.post(f"{path}/test")
        assert failed.status_code == 200
        assert (failed.json()["success"], failed.json()["status_code"]) == (False, None)
        assert failed.json()["error"].startswith("connect")


async def test_tests_are_sent_a_few_at_a_time(redis_url: str) -> None:
    async with running_api(redis_url, allow_networks=LOOPBACK) as api, partner() as endpoint:
        made = await api.subscription(url=endpoint.url)
        answers = [await api.admin.post(f"/v1/subscriptions/{made['id']}/test") for _ in range(15)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 0 < len(endpoint.calls) <= 11
        assert len(refused) + len(endpoint.calls) == 15
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


async def test_a_subscription_without_url_has_nothing_to_test(api: Api) -> None:
    made = await api.subscription(url=None)
    assert (await api.admin.post(f"/v1/subscriptions/{made['id']}/test")).status_code == 409


async def test_what_is_queued_is_discarded_when_its_subscription_is_deleted(api: Api) -> None:
    await api.brand()
    made = await api.subscription()
    await api.see(order(1))
    await api.admin.delete(f"/v1/subscriptions/{made['id']}")
    ledger = (await api.admin.get("/v1/ledger")).json()
    assert [row["subscription"] for row in ledger["subscriptions"]] == [made["id"]]
    assert ledger["unaccounted"] == 0
