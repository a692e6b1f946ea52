"""Who may call, and what is there for whom: B01 to B05, and the isolation of partners."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from relay.api.app import OPERATIONS
from tests.integration.apis import ADMIN, SUBSCRIPTION, Api, Clock, client_of, pointers, running_api


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url) as up:
        yield up


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRtaW46YWRtaW4=",
        "Bearer " + "x" * len(ADMIN),
        "Bearer x",
        f"Bearer {ADMIN}x",
        f"Bearer {ADMIN[:-1]}",
        "Bearer rk_aaaaaaaaaaaaaaaaaaaa_" + "A" * 43,
        "Bearer " + "k" * 8000,
    ],
)
async def test_without_a_valid_token_every_route_gives_the_same_401(api: Api, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    expected = (await api.nobody.get("/v1/brands")).content
    for operation in OPERATIONS:
        path = operation.path.replace("{", "").replace("}", "")
        refused = await api.nobody.request(operation.method, path, headers=headers)
        assert refused.status_code == 401, operation.name
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.content == expected


async def test_two_authorization_headers_or_bytes_beyond_ascii_are_no_token(api: Api) -> None:
    two = [("authorization", f"Bearer {ADMIN}"), ("authorization", "Bearer x")]
    assert (await api.nobody.get("/v1/brands", headers=two)).status_code == 401
    odd = [(b"authorization", "Bearer \xfcber".encode("latin-1"))]
    assert (await api.nobody.get("/v1/brands", headers=odd)).status_code == 401


async def test_the_scheme_may_be_written_in_any_case(api: Api) -> None:
    assert (await api.nobody.get("/v1/brands", headers={"authorization": f"bearer {ADMIN}"})).status_code == 200


async def test_a_viewer_reads_everything_and_is_told_its_role_when_it_writes(api: Api) -> None:
    made = await api.subscription()
    viewer = await api.key("viewer")
    for path in ("/v1/brands", "/v1/subscriptions", "/v1/events", "/v1/deliveries", "/v1/audit", "/v1/api-keys"):
        assert (await viewer.get(path)).status_code == 200, path
    for method, path in (
        ("POST", "/v1/brands"),
        ("POST", "/v1/subscriptions"),
        ("PATCH", f"/v1/subscriptions/{made['id']}"),
        ("DELETE", f"/v1/subscriptions/{made['id']}"),
        ("POST", f"/v1/subscriptions/{made['id']}/test"),
        ("POST", "/v1/api-keys"),
    ):
        refused = await viewer.request(method, path, json={})
        assert refused.status_code == 403
        assert "viewer" in refused.json()["detail"]


async def test_a_key_is_shown_once_kept_as_a_digest_and_its_use_is_noted(api: Api) -> None:
    made = (await api.admin.post("/v1/api-keys", json={"name": "dashboards", "role": "viewer"})).json()
    assert made["key"].startswith("rk_")
    viewer = await api.client(made["key"])
    assert (await viewer.get("/v1/brands")).status_code == 200
    listed = (await api.admin.get("/v1/api-keys")).json()["data"]
    assert [key["id"] for key in listed] == [made["id"]]
    assert listed[0]["last_used_at"] is not None
    assert "key" not in listed[0]
    stored = await api.services.api_keys.get(made["id"])
    assert stored is not None
    assert made["key"] not in str(stored)


async def test_a_revoked_key_is_refused_by_the_next_request_of_any_process(api: Api) -> None:
    made = (await api.admin.post("/v1/api-keys", json={"name": "short-lived", "role": "admin"})).json()
    here = await api.client(made["key"])
    assert (await here.get("/v1/brands")).status_code == 200
    assert (await api.admin.delete(f"/v1/api-keys/{made['id']}")).status_code == 204
    assert (await here.get("/v1/brands")).status_code == 401
    async with client_of(api.services, made["key"]) as elsewhere:
        assert (await elsewhere.get("/v1/brands")).status_code == 401
    assert (await api.admin.delete(f"/v1/api-keys/{made['id']}")).status_code == 404


async def test_an_expired_key_is_refused(redis_url: str) -> None:
    clock = Clock()
    async with running_api(redis_url, now_ms=clock) as api:
        soon = {"name": "temp", "role": "viewer", "expires_at": "2199-01-01T00:00:00+02:00"}
        made = (await api.admin.post("/v1/api-keys", json=soon)).json()
        assert made["expires_at"] == "2198-12-31T22:00:00.000Z"
        viewer = await api.client(made["key"])
        assert (await viewer.get("/v1/brands")).status_code == 200
        clock.ms = 7_226_589_600_000 + 1
        assert (await viewer.get("/v1/brands")).status_code == 401


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {"/name", "/role"}),
        ({"name": "x", "role": "owner"}, {"/role"}),
        ({"name": "x", "role": "partner"}, {"/partner"}),
        ({"name": "x", "role": "viewer", "partner": "acme", "brands": ["a"], "scopes": ["orders:ignore"]},
         {"/partner", "/brands", "/scopes"}),
        ({"name": "x", "role": "partner", "partner": "acme", "scopes": ["orders:cancel"]}, {"/scopes/0"}),
        ({"name": "x", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}, {"/expires_at"}),
        ({"name": "x", "role": "viewer", "expires_at": "tomorrow"}, {"/expires_at"}),
    ],
)  # fmt: skip
async def test_what_makes_no_key_is_refused_with_every_fault(api: Api, body: object, where: set[str]) -> None:
    assert pointers(await api.admin.post("/v1/api-keys", json=body)) == where


async def test_a_partner_has_its_own_subscriptions_and_nothing_else_is_there(api: Api) -> None:
    await api.brand()
    ours = await api.key("partner", partner="ours", brands=["openapitest"])
    theirs = await api.key("partner", partner="theirs", brands=["openapitest"])
    made = await ours.post("/v1/subscriptions", json={**SUBSCRIPTION, "name": "ours"})
    assert made.status_code == 201
    body = made.json()
    assert (body["partner"], body["brands"]) == ("ours", ["openapitest"])
    operators = await api.subscription(name="operator's")
    assert [s["id"] for s in (await ours.get("/v1/subscriptions")).json()["data"]] == [body["id"]]
    assert (await theirs.get("/v1/subscriptions")).json()["data"] == []
    unknown = (await theirs.get("/v1/subscriptions/sub_aaaaaaaaaaaaaaaaaaaa")).content
    for other in (body["id"], operators["id"]):
        for method, path, content in (
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "/pause", None),
            ("POST", "/resume", None),
            ("POST", "/test", None),
            ("POST", "/rotate-secret", None),
            ("POST", "/replay", None),
            ("GET", "/events", None),
        ):
            hidden = await theirs.request(method, f"/v1/subscriptions/{other}{path}", json=content)
            assert hidden.status_code == 404, path
            assert hidden.content == unknown
    refusals = [e for e in (await api.admin.get("/v1/audit?limit=200")).json()["data"] if e["outcome"] == "refused"]
    assert f"subscription/{body['id']}" in {entry["target"] for entry in refusals}
    assert {entry["actor"]["partner"] for entry in refusals} == {"theirs"}


async def test_what_lies_beyond_a_partners_role_is_403(api: Api) -> None:
    await api.brand()
    partner = await api.key("partner", partner="ours", brands=["openapitest"])
    for path in (
        "/v1/brands",
        "/v1/brands/openapitest",
        "/v1/brands/openapitest/orders",
        "/v1/brands/openapitest/stations",
        "/v1/events",
        "/v1/events/evt_00000000000000000000000000000000",
        "/v1/ledger",
        "/v1/audit",
        "/v1/api-keys",
    ):
        refused = await partner.get(path)
        assert refused.status_code == 403, path
        assert "partner" in refused.json()["detail"]
    assert (await partner.get("/v1/event-types")).status_code == 200
    assert (await partner.post("/v1/brands/openapitest/orders/1/ignore")).status_code == 403


async def test_a_partner_reaches_no_brand_that_it_was_not_given(api: Api) -> None:
    await api.brand()
    await api.brand(brand="other")
    partner = await api.key("partner", partner="ours", brands=["openapitest"])
    for brands in (["other"], ["openapitest", "other"], ["nowhere"]):
        refused = await partner.post("/v1/subscriptions", json={**SUBSCRIPTION, "brands": brands})
        assert refused.status_code == 403
    assert (await partner.post("/v1/subscriptions", json={**SUBSCRIPTION, "partner": "theirs"})).status_code == 403
    made = (await partner.post("/v1/subscriptions", json=SUBSCRIPTION)).json()
    changed = await partner.patch(f"/v1/subscriptions/{made['id']}", json={"brands": None, "partner": None})
    assert (changed.json()["brands"], changed.json()["partner"]) == (["openapitest"], "ours")
    assert (await partner.patch(f"/v1/subscriptions/{made['id']}", json={"brands": ["other"]})).status_code == 403


async def test_a_partners_key_without_brands_gets_none(api: Api) -> None:
    await api.brand()
    partner = await api.key("partner", partner="ours")
    made = (await partner.post("/v1/subscriptions", json=SUBSCRIPTION)).json()
    assert made["brands"] == []
    assert (await partner.get(f"/v1/subscriptions/{made['id']}")).status_code == 200


async def test_a_key_of_fewer_brands_may_not_redirect_what_serves_more(api: Api) -> None:
    await api.brand()
    await api.brand(brand="other")
    made = await api.subscription(partner="ours", brands=["openapitest", "other"])
    partner = await api.key("partner", partner="ours", brands=["openapitest"])
    path = f"/v1/subscriptions/{made['id']}"
    assert (await partner.get(path)).status_code == 200
    assert (await partner.patch(path, json={"url": "https://other.example/"})).status_code == 403
    assert (await partner.patch(path, json={"redact": []})).status_code == 403
    assert (await partner.patch(path, json={"description": "ours"})).status_code == 200


async def test_a_partners_key_of_other_brands_does_not_see_the_partners_other_subscriptions(api: Api) -> None:
    await api.brand()
    await api.brand(brand="other")
    made = await api.subscription(partner="ours", brands=["other"])
    partner = await api.key("partner", partner="ours", brands=["openapitest"])
    assert (await partner.get(f"/v1/subscriptions/{made['id']}")).status_code == 404


async def test_every_change_is_in_the_audit_log_without_values(api: Api) -> None:
    made = await api.subscription(secret="whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=")
    await api.admin.patch(f"/v1/subscriptions/{made['id']}", json={"description": "a new description"})
    await api.admin.delete(f"/v1/subscriptions/{made['id']}")
    answer = await api.admin.get("/v1/audit")
    entries = answer.json()["data"]
    assert [entry["action"] for entry in entries] == [
        "subscription.delete",
        "subscription.change",
        "subscription.create",
    ]
    assert {entry["target"] for entry in entries} == {f"subscription/{made['id']}"}
    assert entries[1]["fields"] == ["description"]
    assert entries[2]["fields"] == ["event_types", "name", "secret", "url"]
    assert {entry["actor"]["kind"] for entry in entries} == {"admin_token"}
    assert "a new description" not in answer.text
    assert "QUJDREVG" not in answer.text


async def test_the_audit_log_goes_on_from_its_cursor_while_entries_are_added(api: Api) -> None:
    made = await api.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    for text in "abcde":
        await api.admin.patch(path, json={"description": text})
    first = (await api.admin.get("/v1/audit?limit=2")).json()
    await api.admin.patch(path, json={"description": "later"})
    second = (await api.admin.get(f"/v1/audit?limit=2&cursor={first['next_cursor']}")).json()
    third = (await api.admin.get(f"/v1/audit?limit=2&cursor={second['next_cursor']}")).json()
    seen = [entry["request"] for page in (first, second, third) for entry in page["data"]]
    assert len(seen) == len(set(seen)) == 6
    assert third["next_cursor"] is None
