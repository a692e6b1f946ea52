import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import pytest
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.receive import Receiver, create_app, parse_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "type": "order.status_changed",
    "brand": "openapitest",
    "venue_id": 1,
    "subject": "order/1",
    "data": {
        "order": {
            "status": "accepted",
            "items": [{}, {}],
            "total": "16.2",
            "currency": "AZN",
            "customer": {"name": "Leyla"},
        },
        "previous_status": "pending",
        "changes": {
            "status": ["pending", "accepted"],
            "source_status": ["PENDING", "RECEIVED"],
            "comment": [None, "x"],
        },
    },
}

Send = Callable[..., Any]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def send(lines: list[str]) -> Send:
    apps: dict[Any, Starlette] = {}

    async def send(
        event: Any = EVENT, *, signed_with: str = SECRET, at_s: float | None = None, headers: Any = None, **how: Any
    ) -> httpx.Response:
        how.setdefault("keys", (parse_key(SECRET),))
        app = apps.setdefault(repr(how), create_app(Receiver(show=lines.append, **how)))
        body = json.dumps(event)
        timestamp = int(time.time() if at_s is None else at_s)
        signature = Webhook(signed_with).sign("evt_1", datetime.fromtimestamp(timestamp, UTC), body)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver") as http:
            return await http.post(
                "/hooks",
                content=body,
                headers={
                    "webhook-id": "evt_1",
                    "webhook-timestamp": str(timestamp),
                    "webhook-signature": signature,
                    "relay-attempt": "1",
                    **(headers or {}),
                },
            )

    return send


async def test_a_verified_webhook_is_one_readable_line_without_personal_data(send: Send, lines: list[str]) -> None:
    assert (await send()).status_code == 200
    (line,) = lines
    for word in (
        "order.status_changed",
        "openapitest/1",
        "order/1",
        "pending → accepted",
        "(comment)",
        "2 items",
        "16.2 AZN",
    ):
        assert word in line  # fmt: skip
    assert "verified" in line
    assert "REFUSED" not in line
    assert "Leyla" not in line


async def test_another_secret_is_refused_and_told(send: Send, lines: list[str]) -> None:
    answer = await send(signed_with="whsec_" + "A" * 32)
    assert answer.status_code == 401
    assert "REFUSED: no signature matches" in lines[0]


async def test_an_old_timestamp_is_refused_and_told(send: Send, lines: list[str]) -> None:
    assert (await send(at_s=time.time() - 3600)).status_code == 401
    assert "in the past" in lines[0]


async def test_without_a_secret_nothing_is_verified_and_each_line_says_so(send: Send, lines: list[str]) -> None:
    assert (await send(keys=())).status_code == 200
    assert "not verified (no --secret)" in lines[0]


async def test_it_answers_with_the_status_it_was_told(send: Send, lines: list[str]) -> None:
    assert (await send(status=503)).status_code == 503
    assert "→ 503" in lines[0]


async def test_as_json_a_line_holds_the_event_and_the_verdict(send: Send, lines: list[str]) -> None:
    await send(as_json=True)
    line = json.loads(lines[0])
    assert line["event"] == EVENT
    assert (line["verified"], line["again"], line["attempt"], line["answered"]) == (True, False, "1", 200)


async def test_a_second_delivery_of_the_same_id_is_marked(send: Send, lines: list[str]) -> None:
    await send()
    await send(headers={"relay-attempt": "2"})
    assert "again" not in lines[0]
    assert "again" in lines[1]
    assert "attempt 2" in lines[1]


async def test_a_forged_webhook_does_not_have_the_real_one_taken_for_a_repeat(send: Send, lines: list[str]) -> None:
    await send(signed_with="whsec_" + "A" * 32)
    await send()
    assert "again" not in lines[1]


async def test_what_is_nested_beyond_what_can_be_written_is_told_without_its_event(
    send: Send, lines: list[str]
) -> None:
    nested: Any = []
    for _ in range(400):
        nested = [nested]
    assert (await send({"data": nested}, as_json=True)).status_code == 200
    assert json.loads(lines[0])["event"] is None


async def test_what_could_take_over_the_terminal_is_printed_harmlessly(send: Send, lines: list[str]) -> None:
    await send({**EVENT, "subject": "order/\x1b[2J\n1"})
    assert "order/\\x1b[2J\\n1" in lines[0]
    assert "\n" not in lines[0]


async def test_what_is_no_event_is_printed_all_the_same(send: Send, lines: list[str]) -> None:
    bodies: list[Any] = ["text", 7, [], {"data": []}, {"type": 3, "data": {"order": "none", "changes": 4}}]
    for body in bodies:
        assert (await send(body)).status_code == 200
    assert len(lines) == 5


async def test_a_webhook_is_handed_on_as_it_came_and_the_answer_handed_back(
    send: Send, lines: list[str], listening: Callable[[Starlette], Any]
) -> None:
    received: list[tuple[bytes, dict[str, str]]] = []

    async def partner(request: Request) -> Response:
        received.append((await request.body(), dict(request.headers)))
        return Response(status_code=202)

    async with listening(Starlette(routes=[Route("/mine", partner, methods=["POST"])])) as url:
        assert (await send(forward=f"{url}/mine")).status_code == 202
    body, headers = received[0]
    assert Webhook(SECRET).verify(body, headers) == EVENT
    assert headers["relay-attempt"] == "1"
    assert "→ 202" in lines[0]


async def test_a_server_that_is_not_there_to_be_handed_to_is_told(send: Send, lines: list[str]) -> None:
    assert (await send(forward="http://127.0.0.1:1/")).status_code == 502
    assert "→ nobody answers" in lines[0]


@pytest.mark.parametrize("secret", ["", "whsec_", "hunter2", "whpk_AAAA"])
def test_what_is_no_secret_is_told_without_being_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match=r"must|is") as wrong:
        parse_key(secret)
    assert "hunter2" not in str(wrong.value)
