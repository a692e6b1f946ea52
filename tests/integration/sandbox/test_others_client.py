"""A client of Clopos v2 that others wrote, against the stand-in, as far as that client goes.

It cannot read a string ``error``, the status ``DELIVERED``, a PUT's answer without ``payload``, nor the documented
order's product, which lacks the times it insists on. Those are its limits, not the service's; the rest agrees.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from integrify.clopos.client import CloposClientClass
from pydantic import ValidationError

from relay.sandbox.serve import Running

PAYLOAD = {
    "service": {"sale_type_id": 2, "venue_id": 1},
    "customer": {"id": 3, "name": "Nigar Specimen"},
    "products": [],
}


@pytest.fixture
async def client(up: Running) -> AsyncIterator[Any]:
    made: Any = CloposClientClass(base_url=f"{up.base_url}/", sync=False)
    yield made
    await made.aclose()


@pytest.fixture
async def headers(client: Any) -> dict[str, str]:
    answer = await client.auth(
        client_id="demo-client", client_secret="demo-secret", brand="openapitest", integrator_id="demo-integrator"
    )
    assert answer.ok
    assert answer.body.expires_in == 3600
    return {"x-token": answer.body.token}


async def test_it_signs_in_and_lists_venues_and_stations(client: Any, headers: dict[str, str]) -> None:
    venues = await client.get_venues(headers=headers)
    stations = await client.get_stations(status=1, can_print=True, headers=headers)

    assert [venue.name for venue in venues.body.data] == ["Main", "Seaside"]
    assert [(station.id, station.name, station.printable) for station in stations.body.data] == [
        (1, "Kitchen", 1),
        (2, "Bar", 1),
    ]
    assert stations.body.total == 2
    assert (await client.get_station_by_id(id=3, headers=headers)).body.data.name == "Tandir"


async def test_it_pages_through_orders_of_a_status(client: Any, headers: dict[str, str], up: Running) -> None:
    for _ in range(3):
        up.world.place("openapitest", 1, payload=PAYLOAD, status="READY")

    pages = [await client.get_orders(page=page, limit=2, status="READY", headers=headers) for page in (1, 2)]

    assert [[order.id for order in page.body.data] for page in pages] == [[109, 110], [111]]
    assert {page.body.total for page in pages} == {3}
    assert pages[0].body.data[0].payload.customer.name == "Nigar Specimen"


async def test_it_reads_one_order_of_another_venue(client: Any, headers: dict[str, str], up: Running) -> None:
    order = up.world.place("openapitest", 2, payload=PAYLOAD)

    answer = await client.get_order_by_id(id=order.id, headers=headers | {"x-venue": "2"})

    assert (answer.body.data.id, answer.body.data.venue_id, answer.body.data.status) == (order.id, 2, "PENDING")


async def test_it_reads_errors_in_the_upstream_s_own_shape(client: Any, headers: dict[str, str], up: Running) -> None:
    up.world.switches.change({"error_shape": "list"})

    answer = await client.get_order_by_id(id=9, headers=headers)

    assert (answer.ok, answer.status_code) == (False, 404)
    assert [(error.exception, error.http_code) for error in answer.body.error] == [("NotFoundHttpException", 404)]


async def test_it_reads_receipts_and_the_stop_list(client: Any, headers: dict[str, str], up: Running) -> None:
    up.world.set_stop("openapitest", 1, 51, 4)

    receipts = await client.get_receipts(headers=headers)
    stops = await client.get_stop_list(headers=headers)

    assert [(receipt.id, receipt.status, receipt.service_notification_id) for receipt in receipts.body.data] == [
        (2, 1, 1),
        (1, 2, 42),
    ]
    assert [(stop.id, stop.limit) for stop in stops.body.data] == [(51, 4)]


async def test_its_cancelling_takes_effect_though_it_cannot_read_the_answer(
    client: Any, headers: dict[str, str], up: Running
) -> None:
    with pytest.raises(ValidationError, match="payload"):
        await client.update_order(id=108, status="IGNORE", headers=headers)

    assert up.world.order("openapitest", 1, 108).status == "IGNORE"


async def test_what_it_cannot_read_is_what_is_known_of_it(client: Any, headers: dict[str, str], up: Running) -> None:
    up.world.place("openapitest", 2, payload=PAYLOAD, status="DELIVERED")

    with pytest.raises(ValidationError, match="status"):
        await client.get_orders(headers=headers | {"x-venue": "2"})
    with pytest.raises(ValidationError, match="error"):
        await client.get_order_by_id(id=9, headers=headers)
    up.world.switches.change({"live_envelope": False})
    with pytest.raises(ValidationError, match="timestamp"):
        await client.get_venues(headers=headers)
