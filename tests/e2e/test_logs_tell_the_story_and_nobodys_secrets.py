"""One line for each look, attempt, command and request, joined by ids; and nothing personal or secret in any."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import pytest_asyncio
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from relay.sandbox.documented import BRAND, CLIENT_SECRET, INTEGRATOR_ID
from relay.sandbox.model import Order
from relay.traces import ids_of
from tests.conftest import RedisServer
from tests.e2e.installations import ADMIN, Installation, installation
from tests.e2e.rigs import until
from tests.e2e.worker_rig import KEY
from tests.integration.relays import SECRET, Call

pytestmark = pytest.mark.asyncio(loop_scope="module")

PERSON = {
    "id": 4711,
    "name": "Zulfiyya Needle",
    "phone": "+994559990001",
    "address": "17 Needle Passage",
}
COMMENT = "Ring the needle bell"
HEADER = "tenant-needle-0123456789"
WRONG_SECRET = "wrong-needle-secret"
WRONG_TOKEN = "wrong-needle-token"
ROLES = {"api", "worker"}
"""A scheduler that has nothing to complain of says nothing."""


@dataclass
class Scene:
    """What happened: an installation that was put through everything, and all that it let be known.

    Attributes:
        secrets: what must not be anywhere.
        spans: what OpenTelemetry was told, by all processes.
        answers: errors of the API, whole.
        ids: of requests to the API, as it answered them.
        told: what else it shows an operator: metrics, audit log, states, operational events.
    """

    relay: Installation
    secrets: set[str]
    spans: list[Span]
    answers: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def lines(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Lines of the log of that name, with these fields."""
        return [line for line in self.relay.logged(event) if fields.items() <= line.items()]


@contextlib.asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Span]]]:
    """Where spans are sent to: its URL, and what has come."""
    spans: list[Span] = []

    async def take(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans)
        return web.Response(body=ExportTraceServiceResponse().SerializeToString())

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", spans
    finally:
        await runner.cleanup()


def order(relay: Installation) -> Order:
    """An order of somebody with a name, a phone and an address."""
    placed = relay.clopos.world.place(BRAND, 1)
    payload = placed.payload
    relay.clopos.world.edit(placed, payload={**payload, "customer": PERSON, "meta": {"comment": COMMENT}})
    return placed


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="scene")
async def _scene() -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="relay-e2e-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        failed: set[str] = set()

        async def answer(call: Call) -> web.StreamResponse:
            if call.event["subject"].startswith("order/") and call.id not in failed:
                failed.add(call.id)
                return web.Response(status=500, body=call.body)  # an endpoint that shows what it was sent
            return web.Response(status=204)

        try:
            async with (
                collector() as (collecting, spans),
                installation(
                    server.url,
                    Path(folder),
                    answer=answer,
                    subscription={"headers": {"x-tenant": HEADER}},
                    OTEL_EXPORTER_OTLP_ENDPOINT=collecting,
                    OTEL_BSP_SCHEDULE_DELAY="200",
                ) as relay,
            ):
                yield await lived(relay, spans)
        finally:
            server.kill()


async def lived(relay: Installation, spans: list[Span]) -> Scene:
    """Put an installation through what makes a relay talk."""
    secrets = {str(value) for name, value in PERSON.items() if name != "id"} | {PERSON["phone"][1:], COMMENT}  # type: ignore[index]
    secrets |= {HEADER, WRONG_SECRET, WRONG_TOKEN, ADMIN, KEY, SECRET, CLIENT_SECRET, "eyJ0eXAi"}
    scene = Scene(relay, secrets, spans)
    world = relay.clopos.world
    first, second = order(relay), order(relay)
    await relay.quiet()
    world.accept(first)
    await relay.quiet()
    async with relay.api() as api:

        async def ask(what: str, method: str, path: str, **more: Any) -> httpx.Response:
            response = await api.request(method, path, **more)
            scene.ids[what] = response.headers["x-request-id"]
            if response.is_error:
                scene.answers.append(response.text)
            return response

        ignored = await ask("ignore", "POST", f"/v1/brands/{BRAND}/orders/{second.id}/ignore?venue_id=1")
        assert ignored.json()["status"] == "cancelled"
        subscription = f"/v1/subscriptions/{relay.subscription}"
        await ask("wrong token", "GET", "/v1/brands", headers={"authorization": f"Bearer {WRONG_TOKEN}"})
        await ask("sign-in", "POST", "/ui/sign-in", data={"token": WRONG_TOKEN})
        await ask("not JSON", "POST", "/v1/brands", content=f'{{"client_secret": "{WRONG_SECRET}"')
        bad = {"brand": BRAND, "client_secret": [WRONG_SECRET], "integrator_id": INTEGRATOR_ID}
        await ask("wrong values", "POST", "/v1/brands", json=bad)
        for url in (
            f"https://u:{WRONG_SECRET}@partner.example/",
            f"ftp://{WRONG_SECRET}/",
            f"http://{WRONG_SECRET}:x/",
        ):
            await ask("wrong URL", "POST", "/v1/subscriptions", json={"url": url, "secret": SECRET[:-1]})
        key = (await ask("key", "POST", "/v1/api-keys", json={"name": "n", "role": "viewer"})).json()
        scene.secrets.add(key["key"])
        viewer = {"authorization": f"Bearer {key['key']}"}
        await ask("beyond", "POST", f"{subscription}/rotate-secret", json={"overlap": "1h"}, headers=viewer)
        rotated = (await ask("rotate", "POST", f"{subscription}/rotate-secret", json={"overlap": "1h"})).json()
        scene.secrets.add(rotated["secret"])
        await ask("test", "POST", f"{subscription}/test")
        await ask("replay", "POST", f"{subscription}/replay", json={"status": "all"})
        await ask("forget", "DELETE", f"/v1/brands/{BRAND}/orders/{first.id}/customer?venue_id=1")

        # Clopos shows people in what cannot be read, and in what is no answer of its API.
        third = order(relay)
        world.write_raw(third, json.dumps({"id": third.id, "venue_id": 1, "status": [PERSON], "payload": PERSON}))
        relay.clopos.faults.add("body", path="/orders*", body=json.dumps([PERSON]), times=1)
        relay.clopos.faults.add("body", path="/orders*", body=f"<p>{PERSON['phone']}</p>", times=1, status=500)
        await until(lambda: state(api, "set_aside"), timeout_s=60)
        await ask("credentials", "PATCH", f"/v1/brands/{BRAND}", json={"client_secret": WRONG_SECRET})
        relay.clopos.service.signer.expire_all()
        await until(lambda: state(api, "status", "failing"), timeout_s=60)
        told = (await ask("brand", "GET", f"/v1/brands/{BRAND}")).text
        await ask("credentials", "PATCH", f"/v1/brands/{BRAND}", json={"client_secret": CLIENT_SECRET})
        await ask("poll", "POST", f"/v1/brands/{BRAND}/poll")
        await until(lambda: state(api, "status", "ok"), timeout_s=60)
        world.write_raw(third, None)
        await until(lambda: all_answered(api, relay, f"order/{third.id}"), timeout_s=60)
        scene.told = {
            "failing": told,
            "metrics": (await api.get("/metrics")).text,
            "audit": (await api.get("/v1/audit?limit=200")).text,
            "subscription": (await api.get(subscription)).text,
            "events": (await api.get("/v1/events?type=relay.brand_failing")).text,
            "errors": json.dumps([each["error"] for each in await attempts(api)]),
        }
    return scene


async def state(api: httpx.AsyncClient, name: str, *wanted: Any) -> bool:
    """Whether the brand's state has something under a name, or that."""
    found = (await api.get(f"/v1/brands/{BRAND}")).json()["state"].get(name)
    return found in wanted if wanted else bool(found)


async def all_answered(api: httpx.AsyncClient, relay: Installation, subject: str) -> bool:
    """Whether the partner has heard of a subject, and nothing is pending."""
    pending = (await api.get(f"/v1/subscriptions/{relay.subscription}")).json()["state"]["pending"]
    return pending == 0 and any(call.event["subject"] == subject for call in relay.calls())


async def attempts(api: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Every attempt there was."""
    found = []
    for delivery in (await api.get("/v1/deliveries?limit=200")).json()["data"]:
        found += (await api.get(f"/v1/deliveries/{delivery['id']}")).json()["attempts"]
    return found


async def test_nothing_personal_and_no_secret_is_in_any_line_metric_span_error_or_entry(scene: Scene) -> None:
    places = {path.name: path.read_text() for path in scene.relay.folder.glob("log-*")} | scene.told
    assert scene.spans
    places["spans"] = str(scene.spans)
    places |= {f"answer {number}": text for number, text in enumerate(scene.answers)}
    assert len(scene.answers) > 5
    assert all(scene.told.values())
    for place, text in places.items():
        assert {secret for secret in scene.secrets if secret in text} == set(), place


async def test_a_trace_leads_from_the_look_in_one_process_to_the_answer_in_another(scene: Scene) -> None:
    (event_id, *_) = [call.id for call in scene.relay.calls() if call.event["type"] == "order.created"]
    trace = ids_of(event_id).trace.to_bytes(16)

    async def whole() -> bool:
        return sum(span.trace_id == trace for span in scene.spans) >= 3

    await until(whole)
    look, *attempts = sorted(
        (span for span in scene.spans if span.trace_id == trace), key=lambda span: span.start_time_unix_nano
    )
    assert (look.name, look.parent_span_id) == ("look", b"")
    assert {(span.name, span.parent_span_id) for span in attempts} == {("attempt", look.span_id)}
    assert look.end_time_unix_nano <= attempts[0].start_time_unix_nano


async def test_every_line_says_what_how_bad_when_and_who(scene: Scene) -> None:
    lines = scene.relay.logs()
    assert {line["role"] for line in lines} == ROLES
    for line in lines:
        assert {"event", "level", "timestamp", "role"} <= line.keys(), line


async def test_each_attempt_has_its_line_with_the_ids_that_lead_to_it(scene: Scene) -> None:
    calls = scene.relay.calls()
    lines = scene.lines("attempt", subscription=scene.relay.subscription)
    assert sorted((line["event_id"], line["number"]) for line in lines) == sorted(
        (call.id, int(call.headers["relay-attempt"])) for call in calls
    )
    async with scene.relay.api() as api:
        for line in [line for line in lines if line["type"] != "relay.test"][:3]:
            delivery = (await api.get(f"/v1/deliveries/{line['delivery']}")).json()
            assert delivery["event"] == line["event_id"]
            assert line["number"] <= len(delivery["attempts"])
    for line in lines:
        assert {"type", "subject", "status_class", "status_code", "duration_ms"} <= line.keys()


async def test_nothing_failed_by_the_relays_own_fault(scene: Scene) -> None:
    assert [line for line in scene.relay.logs() if line["event"] == "request failed" or "at" in line] == []


async def test_a_test_has_its_line_joined_to_the_request_that_asked_for_it(scene: Scene) -> None:
    (line,) = scene.lines("attempt", type="relay.test")
    (call,) = [call for call in scene.relay.calls() if call.event["type"] == "relay.test"]
    assert (line["event_id"], line["request"]) == (call.id, scene.ids["test"])


async def test_an_event_is_followed_from_the_look_to_the_answer(scene: Scene) -> None:
    created = [call for call in scene.relay.calls() if call.event["type"] == "order.created"]
    for event_id in {call.id for call in created}:
        (look,) = [line for line in scene.lines("poll") if event_id in line["event_ids"]]
        assert (look["brand"], look["venue_id"], look["feed"], look["outcome"]) == (BRAND, 1, "orders", "ok")
        assert look["duration_ms"] >= 0
        said = [line["status_class"] for line in scene.lines("attempt", event_id=event_id)]
        assert said[:2] == ["5xx", "2xx"]


async def test_a_look_that_finds_nothing_has_its_line_too(scene: Scene) -> None:
    quiet = scene.lines("poll", events=0, outcome="ok", level="debug")
    assert len(quiet) > 5


async def test_a_command_is_joined_to_its_request_and_its_event(scene: Scene) -> None:
    (command,) = scene.lines("ignore")
    (request,) = scene.lines("request", operation="ignore_order")
    assert command["request"] == request["request"] == scene.ids["ignore"]
    assert (command["outcome"], request["status"], request["caller"]) == ("done", 200, "admin_token")
    subject = f"order/{command['order_id']}"
    calls = [call for call in scene.relay.calls() if call.event["subject"] == subject]
    ((event_id, origin),) = {
        (call.id, call.event["origin"]) for call in calls if call.event["data"]["order"]["status"] == "cancelled"
    }
    assert origin == "command"
    # A look may have seen the change at the same moment, and told it: then its line names the event.
    looks = [line for line in scene.lines("poll") if event_id in line["event_ids"]]
    assert (command["event_ids"], len(looks)) in (([event_id], 0), ([], 1))
    assert scene.lines("attempt", event_id=event_id)


async def test_a_form_of_the_page_has_its_line_too(scene: Scene) -> None:
    (line,) = scene.lines("page", request=scene.ids["sign-in"])
    assert (line["method"], line["path"], line["client"]) == ("POST", "/ui/sign-in", "127.0.0.1")


async def test_each_request_has_its_line_and_its_answer_the_id_of_it(scene: Scene) -> None:
    logged = {line["request"]: line for line in scene.lines("request")}
    for what, request_id in (each for each in scene.ids.items() if each[0] != "sign-in"):
        assert logged[request_id].keys() >= {"operation", "status", "duration_ms", "caller", "client"}, what
    assert logged[scene.ids["wrong token"]]["status"] == 401
    assert logged[scene.ids["beyond"]]["caller"].startswith("key_")
