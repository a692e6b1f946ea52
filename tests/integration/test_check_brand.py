import time
from collections.abc import AsyncIterator

import pytest

from relay.clopos.api import Access
from relay.clopos.check import Finding, check_brand
from relay.clopos.transport import Transport
from relay.sandbox import documented
from relay.sandbox.serve import Running, running


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    async with running() as up:
        yield up


async def _check(url: str, *, wanted: tuple[int, ...] | None = None, **changed: str) -> Finding:
    access = {
        "brand": documented.BRAND,
        "client_id": documented.CLIENT_ID,
        "client_secret": documented.CLIENT_SECRET,
        "integrator_id": documented.INTEGRATOR_ID,
        "version": "1",
        "base_url": url,
        **changed,
    }
    transport = Transport()
    try:
        return await check_brand(transport, Access(**access), wanted_venues=wanted, monotonic=time.monotonic)
    finally:
        await transport.aclose()


async def test_a_brand_that_is_well_shows_its_venues_its_quota_and_how_long_it_took(sandbox: Running) -> None:
    found = await _check(sandbox.base_url)
    assert found.problems == ()
    assert found.signed_in
    assert [venue["id"] for venue in found.venues] == [1, 2]
    assert found.quota is not None
    assert found.quota["limit"] == 300
    assert found.quota["remaining"] == 299
    assert found.sign_in_ms is not None
    assert found.list_ms is not None


async def test_a_wrong_secret_is_told_in_words_and_not_shown(sandbox: Running) -> None:
    found = await _check(sandbox.base_url, client_secret="hunter2")
    assert not found.signed_in
    assert "refuses the credentials" in found.problems[0]
    assert "hunter2" not in repr(found)


async def test_an_unknown_integrator_is_told_to_concern_every_brand(sandbox: Running) -> None:
    found = await _check(sandbox.base_url, integrator_id="nobody")
    assert "concerns every brand" in found.problems[0]


async def test_a_venue_that_is_configured_and_not_there_is_told(sandbox: Running) -> None:
    found = await _check(sandbox.base_url, wanted=(1, 7))
    assert found.problems == ("Venue 7 is configured, but Clopos does not list it for these credentials.",)


async def test_nobody_at_the_other_end_is_told() -> None:
    found = await _check("http://127.0.0.1:1")
    assert not found.signed_in
    assert "cannot be connected to" in found.problems[0]
