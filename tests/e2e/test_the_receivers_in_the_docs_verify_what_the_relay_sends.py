import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import orjson
import pytest

from relay.core.addresses import parse_networks
from relay.core.events import EVENT_TYPES, StoredEvent, render
from relay.core.netpolicy import CheckedUrl, check_url
from relay.core.signing import new_private_key, new_secret, parse_private_key, parse_signing_key, sign
from relay.egress.sender import OutboundRequest, Sender
from tests.e2e.machines import Machine, free_port, machine
from tests.e2e.receivers import LANGUAGES, Receiver, receiver

LOOPBACK = parse_networks("127.0.0.0/8")
SECRET, OTHER = new_secret(bytes(range(32))), new_secret(bytes(range(1, 33)))
PRIVATE, OTHER_PRIVATE = new_private_key(bytes(range(32))), new_private_key(bytes(range(1, 33)))
SIGNED = {"v1": (SECRET, SECRET, OTHER), "v1a": (PRIVATE, parse_private_key(PRIVATE).public(), OTHER_PRIVATE)}
"""Signature: what the relay signs with, what the partner verifies with, what somebody else signs with."""
Send = Callable[..., Any]


def _event(number: int, *, previous: int | None = None, subject: str = "order/1") -> StoredEvent:
    kind = "order.created" if previous is None else "order.status_changed"
    return StoredEvent(
        position=number,
        id=f"evt_{number:032d}",
        type=kind,
        brand="openapitest",
        venue_id=1,
        subject=subject,
        origin="poll",
        sequence=number,
        previous_sequence=previous,
        timestamp_ms=1_770_039_965_120,
        data=orjson.dumps(EVENT_TYPES[kind].example["data"]),
    )


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SIGNED)
def signature(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def partner(language: str, signature: str, tmp_path: Path) -> Iterator[Receiver]:
    with receiver(language, tmp_path, WEBHOOK_SECRET=SIGNED[signature][1]) as made:
        yield made


@pytest.fixture
async def send(partner: Receiver, signature: str) -> AsyncIterator[Send]:
    """Sign an event and send it; the status that came back."""
    url = check_url(partner.url, allow=LOOPBACK)
    assert isinstance(url, CheckedUrl)
    async with Sender(allow=LOOPBACK) as sender:

        async def send(event: StoredEvent, *secrets: str, skew_s: float = 0) -> int | None:
            keys = [parse_signing_key(secret) for secret in secrets or (SIGNED[signature][0],)]
            body, timestamp_s = render(event), int(time.time() + skew_s)
            headers = {
                "webhook-id": event.id,
                "webhook-timestamp": str(timestamp_s),
                "webhook-signature": sign(keys, webhook_id=event.id, timestamp_s=timestamp_s, body=body),
                "relay-attempt": "1",
            }
            return (await sender.send(OutboundRequest(url, headers, body, timeout_s=10))).status_code

        yield send


async def test_it_takes_what_is_signed_and_answers_at_once(partner: Receiver, send: Send) -> None:
    assert await send(_event(1)) == 204
    partner.until(f"took order.created {_event(1).id}")


async def test_it_refuses_what_somebody_else_signed(partner: Receiver, send: Send, signature: str) -> None:
    assert await send(_event(1), SIGNED[signature][2]) == 401
    assert await send(_event(1), SIGNED["v1a" if signature == "v1" else "v1"][0]) == 401
    partner.until("refused signature: is WEBHOOK_SECRET this subscription's?")
    assert partner.taken() == []


async def test_during_a_rotation_either_secret_will_do(partner: Receiver, send: Send, signature: str) -> None:
    ours, _, others = SIGNED[signature]
    assert await send(_event(1), others, ours) == 204
    assert await send(_event(2, previous=1), ours, others) == 204
    partner.until(lambda: len(partner.taken()) == 2)


@pytest.mark.parametrize("skew_s", [-310, 310])
async def test_it_refuses_an_old_request_and_one_from_the_future(partner: Receiver, send: Send, skew_s: float) -> None:
    assert await send(_event(1), skew_s=skew_s) == 401
    partner.until("refused timestamp")
    assert await send(_event(1), skew_s=skew_s * 0.9) == 204


async def test_it_refuses_what_is_not_signed_at_all(partner: Receiver, send: Send) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.post(partner.url, content=b"{}")).status_code == 401
    partner.until("refused headers")
    assert await send(_event(1)) == 204


async def test_it_takes_an_event_once_however_often_it_comes(partner: Receiver, send: Send) -> None:
    first, second = _event(1), _event(2, previous=1)
    assert await send(first) == 204
    partner.until(lambda: partner.taken() == [first.id])
    assert await send(first) == 204
    partner.until(lambda: partner.dropped(first.id))
    assert await send(second) == 204
    partner.until(lambda: partner.taken() == [first.id, second.id])


async def test_it_still_knows_what_it_took_after_a_crash(partner: Receiver, send: Send) -> None:
    assert await send(_event(1)) == 204
    partner.until(lambda: partner.noted(_event(1).id))
    partner.stop()
    partner.start()
    assert await send(_event(1)) == 204
    partner.until(lambda: partner.dropped(_event(1).id))
    assert partner.taken() == [_event(1).id]


async def test_it_drops_what_is_older_than_what_it_has(partner: Receiver, send: Send) -> None:
    assert await send(_event(1)) == 204
    assert await send(_event(3, previous=2)) == 204
    partner.until(f"gap before {_event(3).id}")
    partner.until(lambda: len(partner.taken()) == 2)
    assert await send(_event(2, previous=1)) == 204
    partner.until(f"older order.status_changed {_event(2).id}")
    assert await send(_event(4, subject="order/2")) == 204
    partner.until(lambda: partner.taken() == [_event(number).id for number in (1, 3, 4)])


class Restaurant:
    """A relay that looks at a stand-in for Clopos, and the hand that moves orders there."""

    def __init__(self, machine: Machine, clopos: str) -> None:
        self.machine = machine
        self.operator = machine.api()
        self._control = httpx.Client(base_url=f"{clopos}/control")

    def place(self) -> int:
        placed = self._control.post("/brands/openapitest/venues/1/orders", json={})
        self._look()
        return int(placed.json()["id"])

    def move(self, order: int, to: str) -> None:
        assert self._control.post(f"/orders/{order}/{to}").status_code == 200
        self._look()

    def _look(self) -> None:
        assert self.operator.post("/v1/brands/openapitest/poll").status_code == 202

    def close(self) -> None:
        self.operator.close()
        self._control.close()

    def partner_key(self) -> str:
        key = {"name": "courier", "role": "partner", "partner": "courier", "brands": ["openapitest"]}
        return str(self.operator.post("/v1/api-keys", json=key).json()["key"])


@pytest.fixture(scope="module")
def restaurant() -> Iterator[Restaurant]:
    with machine() as made:
        port = free_port()
        clopos = f"http://127.0.0.1:{port}"
        with made.popen("sandbox", "--port", str(port), folder=None) as sandbox:
            made.start("up", RELAY_ALLOW_NETWORKS="127.0.0.0/8", RELAY_CLOPOS_URL=f"{clopos}/open-api/v2")
            made.until_ready()
            kitchen = Restaurant(made, clopos)
            brand = {
                "brand": "openapitest",
                "client_id": "demo-client",
                "client_secret": "demo-secret",
                "integrator_id": "demo-integrator",
            }
            assert kitchen.operator.post("/v1/brands", json=brand).status_code == 201
            made.until(lambda: kitchen.operator.get("/v1/brands/openapitest").json()["state"]["status"] == "ok")
            yield kitchen
            kitchen.close()
            sandbox.terminate()


@pytest.mark.parametrize("signature", ["v1", "v1a"])
def test_what_was_missed_is_pulled_and_taken_in_order(
    restaurant: Restaurant, language: str, signature: str, tmp_path: Path
) -> None:
    key = restaurant.partner_key()
    nobody = f"http://127.0.0.1:{free_port()}/"
    wanted = {"url": nobody, "event_types": ["order.*"], "retry_schedule": "10ms", "signature": signature}
    made = restaurant.operator.post(
        "/v1/subscriptions", json={**wanted, "partner": "courier", "brands": ["openapitest"]}
    ).json()
    path = f"/v1/subscriptions/{made['id']}"
    environ = {
        "WEBHOOK_SECRET": made["public_key"] or made["secret"],
        "RELAY_URL": restaurant.machine.url,
        "RELAY_TOKEN": key,
        "SUBSCRIPTION": made["id"],
    }
    with (
        httpx.Client(base_url=restaurant.machine.url, headers={"authorization": f"Bearer {key}"}) as partner,
        receiver(language, tmp_path, **environ) as receives,
    ):

        def reachable(url: str) -> None:
            assert partner.patch(path, json={"url": url}).status_code == 200

        def pulled() -> list[dict[str, Any]]:
            return list(partner.get(f"{path}/events").json()["data"])

        def given_up(count: int) -> None:
            query = {"subscription": made["id"], "status": "dead"}
            restaurant.machine.until(lambda: len(partner.get("/v1/deliveries", params=query).json()["data"]) == count)

        reachable(receives.url)
        order = restaurant.place()
        receives.until(lambda: len(receives.taken()) == 1)
        receives.until(lambda: receives.noted(receives.taken()[0]))

        # The relay signs with a new secret: for the overlap the old one signs beside it.
        assert partner.post(f"{path}/rotate-secret", json={"overlap": "1h"}).status_code == 200

        receives.stop()
        restaurant.move(order, "accept")
        given_up(1)
        receives.start()
        receives.until(lambda: len(receives.taken()) == 2)  # it pulls as it starts

        reachable(nobody)
        restaurant.move(order, "status/READY")
        given_up(2)
        reachable(receives.url)
        restaurant.move(order, "deliver")
        receives.until(lambda: len(receives.taken()) == 4)  # it sees the gap, and pulls

        events = pulled()
        assert [event["data"]["order"]["status"] for event in events] == ["pending", "accepted", "ready", "delivered"]
        assert receives.taken() == [event["id"] for event in events]
        assert f"gap before {events[3]['id']}" in receives.lines
        assert f"pulled {events[2]['id']}" in receives.lines
        assert not any(line.startswith("refused") for line in receives.lines)
        assert partner.delete(path).status_code == 204
