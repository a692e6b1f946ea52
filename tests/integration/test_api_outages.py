"""What the API answers while Redis is down, hangs, is full or holds what is not ours: F22, F27, F30, F37, B55, F80."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import httpx2 as httpx
import pytest

from relay.api.app import OPERATIONS
from relay.store import keys
from tests.conftest import RedisServer
from tests.integration.apis import BRAND, SUBSCRIPTION, Api, running_api
from tests.integration.relays import order

NEEDS_NO_REDIS = {"list_event_types"}


@pytest.fixture
async def api(own_redis: RedisServer) -> AsyncIterator[Api]:
    async with running_api(own_redis.url) as up:
        yield up


def is_away(answer: httpx.Response) -> bool:
    return (
        answer.status_code == 503 and answer.json()["code"] == "unavailable" and int(answer.headers["retry-after"]) > 0
    )


async def every_operation(api: Api, subscription_id: str) -> dict[str, httpx.Response]:
    """One answer of each, with a path and a body that would do."""
    bodies = {
        "create_brand": BRAND,
        "create_subscription": SUBSCRIPTION,
        "create_api_key": {"name": "x", "role": "viewer"},
    }
    ids = {
        "deliveries": f"dlv_{subscription_id.removeprefix('sub_')}_1",
        "events": "evt_" + "0" * 32,
        "replays": "rpl_" + "a" * 20,
        "api-keys": "key_" + "a" * 20,
        "brands": "1",
        "subscriptions": subscription_id,
    }
    answers = {}
    for operation in OPERATIONS:
        path = operation.path.replace("{brand}", "openapitest").replace(
            "{id}", ids.get(operation.path.split("/")[2], "")
        )
        content = bodies.get(operation.name, {}) if operation.body is not None else None
        answers[operation.name] = await api.admin.request(operation.method, path, json=content)
    return answers


async def test_while_redis_is_down_every_operation_is_a_503_and_the_process_lives(
    own_redis: RedisServer, api: Api
) -> None:
    made = await api.subscription()
    viewer = await api.key("viewer")
    own_redis.kill()
    answers = await every_operation(api, made["id"])
    assert {name for name, answer in answers.items() if not is_away(answer)} == NEEDS_NO_REDIS
    assert is_away(await viewer.get("/v1/brands"))
    assert (await api.nobody.get("/v1/brands")).status_code == 401
    assert (await api.nobody.get("/livez")).status_code == 200
    assert is_away(await api.nobody.get("/readyz"))
    for path in ("/openapi.json", "/docs"):
        assert (await api.nobody.get(path)).status_code == 200
    own_redis.start()
    assert (await api.nobody.get("/readyz")).status_code == 200
    assert (await api.admin.get(f"/v1/subscriptions/{made['id']}")).status_code == 200


async def test_while_redis_hangs_every_answer_comes_all_the_same(own_redis: RedisServer, api: Api) -> None:
    made = await api.subscription()
    await api.nobody.get("/metrics")
    own_redis.send(signal.SIGSTOP)
    try:
        answers = await asyncio.gather(
            api.admin.get("/v1/brands"),
            api.admin.get("/v1/subscriptions"),
            api.admin.get(f"/v1/subscriptions/{made['id']}/events?wait=20s"),
            api.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, "name": "b"}),
            api.admin.patch(f"/v1/subscriptions/{made['id']}", json={"description": "x"}),
            api.nobody.get("/readyz"),
            *[api.admin.get("/v1/events") for _ in range(20)],
        )
        assert all(is_away(answer) for answer in answers)
        assert (await api.nobody.get("/livez")).status_code == 200
        scrape = await api.nobody.get("/metrics")
        assert "relay_redis_up 0.0" in scrape.text
        assert f'relay_backlog_deliveries{{subscription="{made["id"]}"}} 0.0' in scrape.text  # as last known
    finally:
        own_redis.send(signal.SIGCONT)
    assert "relay_redis_up 1.0" in (await api.nobody.get("/metrics")).text


async def test_a_wait_for_events_meets_redis_end_as_a_503(own_redis: RedisServer, api: Api) -> None:
    made = await api.subscription(url=None)
    waiting = asyncio.create_task(api.admin.get(f"/v1/subscriptions/{made['id']}/events?wait=60s"))
    await asyncio.sleep(0.3)
    own_redis.kill()
    async with asyncio.timeout(30):
        assert is_away(await waiting)


async def test_while_redis_is_full_reading_goes_on_and_writing_is_a_503(api: Api) -> None:
    await api.brand()
    made = await api.subscription()
    await api.see(order(1))
    viewer = await api.key("viewer")
    await api.relay.redis.config_set("maxmemory", "1")
    assert (await viewer.get("/v1/events")).status_code == 200
    assert (await api.admin.delete(f"/v1/subscriptions/{made['id']}")).status_code == 204
    refused = await api.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, "name": "b"})
    assert is_away(refused)
    assert refused.json()["reason"] == "oom"
    assert (await api.admin.get("/v1/events")).json()["data"]
    assert "relay_redis_up 1.0" in (await api.nobody.get("/metrics")).text
    await api.relay.redis.config_set("maxmemory", "0")
    assert (await api.subscription(name="b"))["name"] == "b"


async def test_foreign_garbage_in_a_key_is_a_clear_500_for_what_needs_it_and_no_one_else(api: Api) -> None:
    await api.subscription()
    await api.relay.redis.set(keys.AUDIT, "garbage")
    broken = await api.admin.get("/v1/audit")
    assert (broken.status_code, broken.json()["code"]) == (500, "corrupt_state")
    assert "Traceback" not in broken.text
    made = await api.subscription(name="b")  # its audit entry is lost, and logged
    assert (await api.admin.get(f"/v1/subscriptions/{made['id']}")).status_code == 200
