"""One order's story, from the restaurant to the partner: sandbox, poll shift, deliver shift, all with real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from relay.bootstrap import Relay, open_relay
from relay.pipeline.deliver import deliver_shift
from relay.pipeline.poll import poll_shift
from relay.pipeline.stop import Stop
from relay.sandbox.serve import Running, running
from relay.settings import Settings
from relay.store.brands import Brand
from relay.store.documents import Write
from relay.store.subscriptions import Secret, ShapeSince, Subscription
from tests.integration.relays import LOOPBACK, SECRET, Partner, partner

DOCUMENTED = {
    "id": 1,
    "venue_id": 1,
    "status": "accepted",
    "source_status": "RECEIVED",
    "channel": {
        "type": "CALL_CENTER_ORDER",
        "integration": "call_center_new",
        "integration_id": None,
        "integration_uuid": None,
        "integration_status": "CREATED",
    },
    "customer": {
        "id": 1,
        "name": "Rahid Akhundzada",
        "phone": "+994705401040",
        "address": "123 Main St",
        "ref": None,
    },
    "items": [
        {
            "product_id": 51,
            "name": "Pizza",
            "quantity": "2",
            "unit_price": "8.5",
            "portion_size": "1",
            "note": None,
            "status": "new",
            "modifiers": [],
        }
    ],
    "delivery_fee": "2.5",
    "total": None,
    "discount": {"type": 1, "value": "10"},
    "service_charge": {"applied": True, "value": "5"},
    "currency": None,
    "sale_type_id": 2,
    "comment": "Leave at the door",
    "created_at": "2026-02-02T13:45:53.000000Z",
    "updated_at": "2026-02-02T17:46:02.000000Z",
}


@asynccontextmanager
async def whole(redis_url: str, **settings: Any) -> AsyncIterator[tuple[Relay, Running, Partner]]:
    """A brand at the sandbox, a partner, and shifts of each kind that run until the end."""
    made = Settings(
        redis_url=redis_url,
        secret_keys=(Fernet.generate_key().decode(),),
        data_dir=Path("no such directory"),
        allow_networks=LOOPBACK,
        poll_interval_s=0.1,
    )
    async with running() as sandbox, partner() as endpoint, open_relay(replace(made, **settings)) as relay:
        vault = relay.stores.vault
        await relay.stores.subscriptions.create(
            "sub_story",
            Write(
                Subscription(
                    id="sub_story",
                    url=endpoint.url,
                    event_types=("*",),
                    secrets=(Secret(sealed=vault.seal(SECRET)),),
                    shapes=(ShapeSince(position=0),),
                    created_at="2026-02-02T00:00:00.000Z",
                    updated_at="2026-02-02T00:00:00.000Z",
                ),
                gate="",
            ),
        )
        await relay.stores.brands.create(
            "openapitest",
            Write(
                Brand(
                    brand="openapitest",
                    client_id="demo-client",
                    client_secret=vault.seal("demo-secret"),
                    integrator_id="demo-integrator",
                    clopos_url=sandbox.base_url,
                    created_at="2026-02-02T00:00:00.000Z",
                    updated_at="2026-02-02T00:00:00.000Z",
                    generation="1",
                )
            ),
        )
        await relay.stores.polls.ensure_due(["openapitest"])
        stop = Stop(time.monotonic, 60)
        shifts = [
            asyncio.create_task(poll_shift(relay.poll_context(), owner="poller", stop=stop, concurrency=4)),
            asyncio.create_task(keep_delivering(relay, stop)),
        ]
        try:
            yield relay, sandbox, endpoint
        finally:
            stop.ask()
            await asyncio.gather(*shifts)


async def keep_delivering(relay: Relay, stop: Stop) -> None:
    while not stop.asked:
        await deliver_shift(relay.deliver_context(), owner="deliverer", stop=stop, concurrency=32)


async def first_look(relay: Relay) -> None:
    """Wait until what exists is remembered."""
    async with asyncio.timeout(10):
        while True:
            found = await relay.stores.polls.found("openapitest", generation="1")
            if found.venues and all(venue.orders.first_ms for venue in found.venues.values()):
                return
            await asyncio.sleep(0.02)


async def test_pending_received_delivered_arrive_in_order(redis_url: str, redis: object) -> None:
    del redis  # empties it
    async with whole(redis_url) as (relay, sandbox, endpoint):
        await first_look(relay)
        placed = sandbox.world.place("openapitest", 1)
        await endpoint.got(1)
        sandbox.world.accept(placed)
        await endpoint.got(2)
        sandbox.world.deliver(placed)
        calls = await endpoint.got(3)
    events = [call.event for call in calls]
    assert [event["type"] for event in events] == ["order.created", "order.status_changed", "order.status_changed"]
    assert [event["data"]["order"]["status"] for event in events] == ["pending", "accepted", "delivered"]
    assert [event["previous_sequence"] for event in events] == [None, events[0]["sequence"], events[1]["sequence"]]


async def test_the_documented_order_becomes_the_contract_s(redis_url: str, redis: object) -> None:
    del redis  # empties it
    async with running() as elsewhere:
        documented = elsewhere.world.order("openapitest", 1, 1)
        assert documented.status == "RECEIVED"
    async with whole(redis_url) as (relay, sandbox, endpoint):
        order = sandbox.world.order("openapitest", 1, 1)
        sandbox.world.edit(order, status="PENDING", updated_at="2026-02-02T17:45:53.000000Z")
        await first_look(relay)
        sandbox.world.edit(order, status="RECEIVED", updated_at="2026-02-02T17:46:02.000000Z")
        (call,) = await endpoint.got(1)
    event = call.event
    assert event["data"]["order"] == DOCUMENTED
    assert list(event["data"]["order"]) == list(DOCUMENTED)
    assert event["data"]["previous_status"] == "pending"
    assert event["data"]["changes"] == {"status": ["pending", "accepted"], "source_status": ["PENDING", "RECEIVED"]}
    assert (event["type"], event["subject"], event["origin"]) == ("order.status_changed", "order/1", "poll")
    assert (event["brand"], event["venue_id"], event["previous_sequence"]) == ("openapitest", 1, None)
    assert list(event) == [
        "id", "type", "timestamp", "brand", "venue_id", "subject", "sequence", "previous_sequence", "origin", "data",
    ]  # fmt: skip
