"""Every way in which Clopos, or the way to it, fails: what is told, who waits, what is repeated."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
import trustme
from redis.asyncio import Redis

from relay.clopos import client as client_module
from relay.clopos.advice import ADVICE, Reach, advice
from relay.clopos.api import Access, sign_in
from relay.clopos.schema import Page
from relay.clopos.transport import Request, Transport
from relay.core.addresses import NOWHERE, parse_networks
from relay.core.errors import (
    CloposError,
    HeldBackError,
    NoAnswerError,
    PageUnreadable,
    RefusedError,
    SignInError,
    ThrottledError,
    UnknownThingError,
)
from relay.store.quota import Purpose
from tests.integration.polling import BRAND, Rig, rigged

LATEST = [("sort[0]", "updated_at"), ("sort[1]", "-1")]


async def ask(rig: Rig, **options: Any) -> Any:
    access = options.pop("access", None) or await rig.access()
    return await rig.ctx.client.get_page(
        access, "orders", LATEST, **{"venue_id": 1, "purpose": Purpose.POLL, **options}
    )


async def sign_ins(rig: Rig) -> int:
    journal = await rig.tell("GET", "/journal")
    return sum(1 for request in journal["requests"] if request["path"].endswith("/auth"))


async def failure(rig: Rig, **options: Any) -> CloposError:
    with pytest.raises(CloposError) as raised:
        await ask(rig, **options)
    return raised.value


async def test_one_sign_in_serves_all_requests_and_the_token_is_kept_sealed(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        pages = await asyncio.gather(*(ask(rig) for _ in range(4)))
        assert {len(page.rows) for page in pages} == {4}
        assert await sign_ins(rig) == 1
        stored: Any = await redis.hgetall("relay:token:openapitest")
        assert b"." not in stored[b"sealed"]
        assert b"demo-secret" not in b"".join(stored.values())


async def test_a_token_is_renewed_before_it_ends(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        await rig.tell("PUT", "/switches", token_lifetime_s=3)
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            await ask(rig, purpose=Purpose.COMMAND)
            await asyncio.sleep(0.1)
        journal = await rig.tell("GET", "/journal")
        assert {request["status"] for request in journal["requests"]} == {200}
        assert 2 <= await sign_ins(rig) <= 4


async def test_an_expired_token_is_renewed_once_for_all_and_every_request_goes_on(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig, beside(rig) as other:
        await rig.brand()
        await asyncio.gather(ask(rig), ask(other))
        await rig.tell("POST", "/tokens/expire")
        workers = [rig, other] * 5
        pages = await asyncio.gather(*(ask(worker, purpose=Purpose.COMMAND) for worker in workers))
        assert len(pages) == 10
        assert await sign_ins(rig) == 2


async def test_a_token_with_a_bad_signature_is_replaced(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        await ask(rig)
        await rig.tell("POST", "/tokens/change-key")
        await ask(rig)
        assert await sign_ins(rig) == 2


async def test_a_fresh_token_that_is_refused_stops_the_sign_ins(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        await rig.fault("401", path="/orders*")
        assert isinstance(await failure(rig), SignInError)
        for _ in range(5):
            held = await failure(rig)
            assert isinstance(held, HeldBackError)
            assert held.wait_s > 55
        assert await sign_ins(rig) == 2


@pytest.mark.parametrize(
    ("wrong", "reason", "reach"),
    [
        ({"client_secret": "wrong"}, "credentials", Reach.BRAND),
        ({"client_id": "wrong"}, "credentials", Reach.BRAND),
        ({"integrator_id": "wrong"}, "integrator", Reach.PLATFORM),
        ({"name": "productiontest"}, "test_mode", Reach.PLATFORM),
        ({"name": "nobody"}, "credentials", Reach.BRAND),
    ],
)
async def test_refused_credentials_wait_a_minute_and_say_whose_fault_it_is(
    redis: Redis, redis_url: str, wrong: dict[str, str], reason: str, reach: Reach
) -> None:
    async with rigged(redis, redis_url) as rig:
        if "client_secret" in wrong:
            wrong = {"client_secret": rig.parts.vault.seal(wrong["client_secret"])}
        name = wrong.get("name", "openapitest")
        await rig.brand(**wrong)
        error = await failure(rig, access=await rig.access(name))
        assert isinstance(error, SignInError)
        assert (error.reason, advice(error).reach) == (reason, reach)
        held = await failure(rig, access=await rig.access(name))
        assert isinstance(held, HeldBackError)
        assert held.reason == reason
        assert 60 <= held.wait_s + 1 <= 62
        assert await sign_ins(rig) == 1
        assert not await redis.hexists(f"relay:token:{name}", "sealed")


async def test_corrected_credentials_are_tried_at_once(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand(client_id="wrong")
        await failure(rig)
        await rig.change_brand(client_id="demo-client")
        assert len((await ask(rig)).rows) == 4


async def test_a_sign_in_that_succeeds_without_a_token_is_a_failure(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        await rig.fault("body", path="/auth", status=200, body='{"success":true}', content_type="application/json")
        assert (await failure(rig)).reason == "no_token"


async def test_a_disabled_integrator_on_a_later_call_is_the_platforms_trouble(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        await ask(rig)
        await rig.tell("POST", "/integrators/demo-integrator", active=False)
        error = await failure(rig)
        assert (error.reason, advice(error).reach) == ("integrator", Reach.PLATFORM)


@pytest.mark.parametrize("shape", ["sentence", "slug", "list", "details"])
async def test_the_platforms_trouble_is_told_from_a_brands_in_every_shape(
    redis: Redis, redis_url: str, shape: str
) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        await ask(rig)
        await rig.tell("PUT", "/switches", error_shape=shape)
        access = await rig.access()
        for found in (await failing_sign_in(rig, replace(access, integrator_id="nobody")), await disabled(rig)):
            assert (found.reason, advice(found).reach) == ("integrator", Reach.PLATFORM)
        await rig.tell("POST", "/integrators/demo-integrator", active=True, is_test=True)
        await rig.tell("POST", "/brands", brand=BRAND, is_test=False)
        for found in (await failing_sign_in(rig, access), await failure(rig)):
            assert (found.reason, advice(found).reach) == ("test_mode", Reach.PLATFORM)
        await rig.tell("POST", "/brands", brand=BRAND, is_test=True)
        found = await failing_sign_in(rig, replace(access, client_secret="wrong"))
        assert (found.reason, advice(found).reach) == ("credentials", Reach.BRAND)


async def failing_sign_in(rig: Rig, access: Access) -> CloposError:
    with pytest.raises(CloposError) as wrong:
        await sign_in(rig.transport, access)
    return wrong.value


async def disabled(rig: Rig) -> CloposError:
    await rig.tell("POST", "/integrators/demo-integrator", active=False)
    return await failure(rig)


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ({"kind": "500"}, RefusedError, "upstream"),
        ({"kind": "502-html"}, RefusedError, "upstream"),
        ({"kind": "503"}, RefusedError, "upstream"),
        ({"kind": "504-after", "delay_s": 0.01}, RefusedError, "upstream"),
        ({"kind": "403"}, RefusedError, "forbidden"),
        ({"kind": "404"}, UnknownThingError, "not_found"),
        ({"kind": "400"}, RefusedError, "refused"),
        ({"kind": "success-false"}, RefusedError, None),
        ({"kind": "html-200"}, PageUnreadable, "not_json"),
        ({"kind": "cut-json"}, PageUnreadable, "truncated"),
        ({"kind": "short-body"}, NoAnswerError, "truncated"),
        ({"kind": "reset"}, NoAnswerError, "reset"),
        ({"kind": "reset", "part": 0.5}, NoAnswerError, None),
        ({"kind": "hang"}, NoAnswerError, "timeout"),
        ({"kind": "trickle", "chunk_bytes": 1, "delay_s": 0.05}, NoAnswerError, "timeout"),
    ],
)
async def test_every_failure_has_one_class_and_one_reason(  # noqa: PLR0917  the table's columns
    redis: Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
    kind: type[CloposError],
    reason: str | None,
) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        await ask(rig)
        monkeypatch.setattr(client_module, "READ_DEADLINE_S", 0.4)
        await rig.fault(path="/orders*", **fault)
        error = await failure(rig)
        assert isinstance(error, kind)
        assert reason is None or error.reason == reason
        assert error.reason in ADVICE
        await rig.tell("DELETE", "/faults")
        assert len((await ask(rig, purpose=Purpose.COMMAND)).rows) == 4


@pytest.mark.parametrize(
    ("reset", "least_s", "most_s"),
    [("37", 36, 37), (None, 59, 60), ("garbage", 59, 60), ("-5", 59, 60), ("1000000000", 299, 300), ("1e9", 299, 300)],
)
async def test_a_429_stops_the_brand_for_as_long_as_it_says_within_reason(
    redis: Redis, redis_url: str, reset: str | None, least_s: float, most_s: float
) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        await ask(rig)
        await rig.fault("429", path="/orders*", reset=reset, times=1)
        error = await failure(rig)
        assert isinstance(error, ThrottledError)
        assert least_s <= error.wait_s <= most_s + 0.01
        held = await failure(rig, purpose=Purpose.COMMAND)
        assert isinstance(held, HeldBackError)
        assert held.reason == "quota_blocked"
        assert least_s - 1 <= held.wait_s <= most_s


@pytest.mark.parametrize("body", ["json", "text", "empty"])
async def test_the_real_limit_is_met_with_whatever_body_it_has(redis: Redis, redis_url: str, body: str) -> None:
    async with rigged(redis, redis_url, per_minute=1000) as rig:
        await rig.brand()
        await rig.tell("PUT", "/switches", throttle_body=body, quota_per_minute=2, rate_limit_headers=True)
        asked = [ask(rig, purpose=Purpose.COMMAND) for _ in range(4)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, (Page, ThrottledError, HeldBackError)) for answer in answers)
        assert sum(isinstance(answer, Page) for answer in answers) == 2
        limits = (await rig.tell("GET", "/journal"))["limits"]["quota"]
        assert all(window["peak"] <= 2 for window in limits.values())


async def test_clopos_remaining_number_is_believed_before_it_refuses(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url, per_minute=300) as rig:
        await rig.brand()
        await rig.tell("PUT", "/switches", quota_per_minute=5)
        for _ in range(5):
            await ask(rig, purpose=Purpose.COMMAND)
        held = await failure(rig, purpose=Purpose.COMMAND)
        assert isinstance(held, HeldBackError)
        limits = (await rig.tell("GET", "/journal"))["limits"]["quota"]
        assert [(window["peak"], window["refused"]) for window in limits.values()] == [(5, 0)]


async def test_a_429_of_the_address_is_told_from_one_of_the_brand(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        await ask(rig)
        await rig.tell("PUT", "/switches", failures_per_minute=600)
        for _ in range(600):
            rig.up.service.limits.failures("127.0.0.1").window.hit(rig.up.service.clock())
        error = await failure(rig)
        assert (error.reason, advice(error).reach) == ("throttled_address", Reach.PLATFORM)
        other = Access("another", rig.up.base_url, "demo-client", "demo-secret", "demo-integrator", "1")
        await rig.tell("POST", "/brands", brand="another")
        await rig.tell("POST", "/credentials", client_id="demo-client", brands=["another", "openapitest"])
        held = await failure(rig, access=other)
        assert isinstance(held, HeldBackError)


async def test_deadlines_do_not_use_up_the_connections(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        transport = Transport(max_connections=3)
        await rig.fault("hang", path="/orders*")
        request = Request("GET", f"{rig.up.base_url}/orders")
        for _ in range(4):
            errors = await asyncio.gather(
                *(transport.exchange(request, deadline_s=0.1) for _ in range(6)), return_exceptions=True
            )
            assert {error.reason for error in errors if isinstance(error, NoAnswerError)} == {"timeout"}
        await rig.tell("DELETE", "/faults")
        answers = await asyncio.gather(*(transport.exchange(request, deadline_s=5) for _ in range(6)))
        assert {answer.status for answer in answers} == {401}
        await transport.aclose()


async def test_an_answer_beyond_the_cap_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.clopos.transport.MAX_BODY_BYTES", 1000)
    for head in (b"Content-Length: 2000\r\n", b"", b"Content-Encoding: gzip\r\n"):
        async with served(b"HTTP/1.1 200 OK\r\n" + head + b"Connection: close\r\n\r\n" + b"x" * 2000) as url:
            transport = Transport()
            with pytest.raises(NoAnswerError) as raised:
                await transport.exchange(Request("GET", url), deadline_s=5)
            assert raised.value.reason == "oversize"
            await transport.aclose()


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    seen: list[bytes] = []
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    async with served(answer, seen=seen) as url:
        transport = Transport()
        for _ in range(2):
            assert (await transport.exchange(Request("GET", url), deadline_s=5)).status == 302
        await transport.aclose()
    assert len(seen) == 2
    assert b"cookie" not in b"".join(seen).lower()


async def test_what_is_not_http_or_not_there_has_a_class(unused_tcp_port_factory: Callable[[], int]) -> None:
    transport = Transport()
    async with served(b"SSH-2.0-OpenSSH\r\n") as url:
        assert await reason_of(transport, url) == "reset"
    assert await reason_of(transport, f"http://127.0.0.1:{unused_tcp_port_factory()}/") == "connect"
    assert await reason_of(transport, "http://clopos.invalid/") == "dns"
    await transport.aclose()


@pytest.mark.parametrize(
    ("addresses", "allow", "reason"),
    [
        (["127.0.0.1"], "", None),
        (["10.0.0.7"], "10.0.0.0/8", None),
        (["10.0.0.7"], "192.168.0.0/16", "insecure"),
        (["93.184.215.14"], "10.0.0.0/8", "insecure"),
        (["10.0.0.7", "93.184.215.14"], "10.0.0.0/8", "insecure"),
        (["10.0.0.7"], "", "insecure"),
        (None, "10.0.0.0/8", "dns"),
    ],
)
async def test_credentials_go_over_plain_http_only_into_the_operators_networks(
    addresses: list[str] | None, allow: str, reason: str | None
) -> None:
    async def lookup(_host: str) -> list[Any]:
        if addresses is None:
            raise OSError
        return [ip_address(text) for text in addresses]

    seen: list[bytes] = []
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", seen=seen) as url:
        transport = Transport(allow=parse_networks(allow) if allow else NOWHERE, lookup=lookup)
        request = Request("GET", url.replace("127.0.0.1", "clopos.invalid"), headers={"x-token": "hunter2"})
        with pytest.raises(NoAnswerError) as raised:
            await transport.exchange(request, deadline_s=2)
        assert raised.value.reason == (reason or "dns")  # allowed, the name is looked up to be connected to
        assert seen == []
        assert advice(raised.value).words
        await transport.aclose()


async def test_a_certificate_that_is_not_trusted_has_a_class() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", tls=context) as url:
        transport = Transport()
        assert await reason_of(transport, url.replace("127.0.0.1", "localhost")) == "tls"
        await transport.aclose()
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        transport = Transport(tls=trusting)
        answer = await transport.exchange(Request("GET", url.replace("127.0.0.1", "localhost")), deadline_s=5)
        assert answer.status == 200
        assert await reason_of(transport, url) == "tls"  # the right authority, another name
        await transport.aclose()


async def test_nothing_secret_shows(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand(client_id="wrong")
        access = await rig.access()
        error = await failure(rig)
        shown = repr(access) + repr(Request("GET", "u", headers={"x-token": "tok-123"})) + repr(error) + str(error)
        assert "demo-secret" not in shown
        assert "tok-123" not in shown


async def reason_of(transport: Transport, url: str) -> str:
    with pytest.raises(NoAnswerError) as raised:
        await transport.exchange(Request("GET", url), deadline_s=5)
    return raised.value.reason


@pytest.fixture
def unused_tcp_port_factory() -> Callable[[], int]:
    def free() -> int:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return int(sock.getsockname()[1])

    return free


@asynccontextmanager
async def served(
    answer: bytes, *, seen: list[bytes] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server that answers every connection's first request with these bytes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(request)
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls else "http"
    async with server:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@asynccontextmanager
async def beside(rig: Rig) -> AsyncIterator[Rig]:
    """Another worker: the same Redis and the same stand-in, with a client of its own."""
    other = rig.another_worker()
    yield other
    await other.transport.aclose()
