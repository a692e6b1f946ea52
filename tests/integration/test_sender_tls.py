"""A request goes only to whom the certificate says it goes."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import trustme

from relay.core.netpolicy import Address
from relay.egress.sender import Attempt, Sender
from tests.integration.senders import LOOPBACK, post
from tests.integration.sinks import Call, Sink

OURS = trustme.CA()
STRANGER = trustme.CA()


async def loopback(_: str) -> Sequence[Address]:
    return [ip_address("127.0.0.1")]


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def attempt_at(sink: Sink, *, host: str = "partner.example", timeout_s: float = 5.0) -> Attempt:
    async with Sender(allow=LOOPBACK, lookup=loopback, tls=trusting(OURS)) as sender:
        return await post(sender, f"https://{host}:{sink.port}/hooks", timeout_s=timeout_s)


async def test_a_trusted_partner_gets_its_own_name_in_the_handshake_and_in_host() -> None:
    asked: list[str | None] = []
    context = serving(OURS.issue_cert("partner.example"))
    context.sni_callback = lambda _connection, name, _context: asked.append(name)
    async with Sink(tls=context) as sink:
        attempt = await attempt_at(sink)
    assert attempt.status_code == 200
    assert asked == ["partner.example"]
    assert sink.calls[0].header("host") == f"partner.example:{sink.port}"


async def test_an_international_name_is_verified_in_its_ascii_form() -> None:
    async with Sink(tls=serving(OURS.issue_cert("xn--bcher-kva.example"))) as sink:
        assert (await attempt_at(sink, host="bücher.example")).status_code == 200


async def test_an_address_is_verified_as_an_address() -> None:
    async with Sink(tls=serving(OURS.issue_cert("127.0.0.1"))) as sink:
        assert (await attempt_at(sink, host="127.0.0.1")).status_code == 200


async def test_connections_are_kept_under_tls_too() -> None:
    async with (
        Sink(tls=serving(OURS.issue_cert("partner.example"))) as sink,
        Sender(allow=LOOPBACK, lookup=loopback, tls=trusting(OURS)) as sender,
    ):
        for _ in range(3):
            assert (await post(sender, f"https://partner.example:{sink.port}/")).status_code == 200
    assert (len(sink.calls), sink.connections) == (3, 1)


def old_tls() -> ssl.SSLContext:
    context = serving(OURS.issue_cert("partner.example"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (
            serving(OURS.issue_cert("partner.example", not_after=datetime.now(tz=UTC) - timedelta(days=1))),
            "certificate has expired",
        ),
        (serving(OURS.issue_cert("other.example")), "Hostname mismatch"),
        (serving(STRANGER.issue_cert("partner.example")), "unable to get local issuer certificate"),
        (old_tls(), "TLS handshake"),
    ],
    ids=["expired", "wrong host", "unknown issuer", "old TLS"],
)
async def test_whom_the_certificate_does_not_vouch_for_gets_nothing(context: ssl.SSLContext, words: str) -> None:
    async with Sink(tls=context) as sink:
        attempt = await attempt_at(sink)
    assert (attempt.status_code, attempt.status_class, attempt.failure) == (None, "network", "tls")
    assert attempt.error is not None
    assert words in attempt.error
    assert sink.calls == []


async def test_a_self_signed_certificate_is_not_trusted() -> None:
    async with (
        Sink(tls=serving(STRANGER.issue_cert("partner.example"))) as sink,
        Sender(allow=LOOPBACK, lookup=loopback) as sender,
    ):
        attempt = await post(sender, f"https://partner.example:{sink.port}/")
    assert attempt.failure == "tls"
    assert sink.calls == []


async def test_plain_http_behind_https_is_a_failure_of_tls() -> None:
    async def answer(call: Call) -> None:
        await call.reader.read(10)
        await call.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        call.hang_up()

    async with Sink(answer, raw=True) as sink:
        attempt = await attempt_at(sink)
    assert (attempt.status_class, attempt.failure) == ("network", "tls")


async def test_a_handshake_that_stalls_costs_the_deadline() -> None:
    async def answer(call: Call) -> None:
        await call.gone()

    async with Sink(answer, raw=True) as sink:
        attempt = await attempt_at(sink, timeout_s=0.3)
    assert (attempt.status_class, attempt.failure) == ("timeout", "timeout")
    assert attempt.error == "timeout: no answer within 0.3 s: connecting"


@pytest.mark.parametrize("end", [Call.hang_up, Call.reset])
async def test_a_handshake_cut_short_is_a_network_failure(end: Callable[[Call], None]) -> None:
    async def answer(call: Call) -> None:
        await call.reader.read(10)
        end(call)

    async with Sink(answer, raw=True) as sink:
        attempt = await attempt_at(sink)
    assert attempt.status_class == "network"
    assert attempt.failure in {"tls", "connect"}


async def test_a_partner_that_stops_amid_tls_costs_the_deadline() -> None:
    async def answer(call: Call) -> None:
        await asyncio.sleep(0)
        await call.gone()

    async with Sink(answer, tls=serving(OURS.issue_cert("partner.example"))) as sink:
        attempt = await attempt_at(sink, timeout_s=0.3)
    assert attempt.failure == "timeout"
