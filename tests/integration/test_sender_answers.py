"""What the sender puts on the wire, and what it makes of proper answers."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay import __version__
from relay.egress.sender import BODY_LIMIT_BYTES, EXCERPT_BYTES, Sender
from tests.integration.senders import BODY, HEADERS, LOOPBACK, post
from tests.integration.sinks import OK, Call, Sink, answering


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(allow=LOOPBACK) as made:
        yield made


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {code} Said So", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_a_request_is_exactly_what_it_should_be(sender: Sender) -> None:
    async with Sink() as sink:
        await post(sender, f"{sink.url}/a%2Fb?q=1&r=[x]", headers=HEADERS | {"X-Api-Key": "k", "x-tenant": "Café"})
    (call,) = sink.calls
    assert call.request_line == "POST /hooks/a%2Fb?q=1&r=[x] HTTP/1.1"
    assert call.body == BODY
    assert {name.lower(): value for name, value in call.headers} == {
        "host": f"127.0.0.1:{sink.port}",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": f"clopos-relay/{__version__}",
        "webhook-id": "evt_1",
        "webhook-timestamp": "1770039965",
        "webhook-signature": "v1,xyz",
        "relay-attempt": "1",
        "x-api-key": "k",
        "x-tenant": "Café",
    }


@pytest.mark.parametrize("code", [200, 201, 202, 204, 206, 299])
async def test_every_2xx_is_a_success(sender: Sender, code: int) -> None:
    answer = f"HTTP/1.1 {code}\r\n\r\n".encode() if code == 204 else status(code, body=b"{not json")
    async with Sink(answering(answer)) as sink:
        attempt = await post(sender, sink.url)
    assert (attempt.status_code, attempt.status_class, attempt.failure, attempt.error) == (code, "2xx", None, None)
    assert attempt.response_excerpt == ("" if code == 204 else "{not json")
    assert not attempt.truncated


@pytest.mark.parametrize(
    ("code", "status_class", "error"),
    [
        (304, "3xx", "redirect: answered 304, and redirects are not followed"),
        (400, "4xx", "status: answered 400"),
        (401, "4xx", "status: answered 401"),
        (404, "4xx", "status: answered 404"),
        (410, "4xx", "status: answered 410"),
        (429, "4xx", "status: answered 429"),
        (500, "5xx", "status: answered 500"),
        (502, "5xx", "status: answered 502"),
        (503, "5xx", "status: answered 503"),
        (504, "5xx", "status: answered 504"),
        (999, "5xx", "status: answered 999"),
    ],
)
async def test_nothing_else_is(sender: Sender, code: int, status_class: str, error: str) -> None:
    async with Sink(answering(status(code))) as sink:
        attempt = await post(sender, sink.url)
    assert (attempt.status_code, attempt.status_class, attempt.failure, attempt.error) == (
        code,
        status_class,
        None,
        error,
    )


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_its_target_is_never_called(sender: Sender, code: int) -> None:
    async with Sink() as canary:
        async with Sink(answering(status(code, f"location: {canary.url}"))) as sink:
            attempt = await post(sender, sink.url)
        assert attempt.status_class == "3xx"
        assert attempt.error is not None
        assert attempt.error.startswith("redirect: ")
        assert len(sink.calls) == 1
        assert canary.connections == 0


async def test_a_redirect_to_itself_is_followed_no_more(sender: Sender) -> None:
    async with Sink(answering(status(307, "location: /hooks"))) as sink:
        await post(sender, sink.url)
    assert len(sink.calls) == 1


async def test_cookies_are_neither_kept_nor_sent(sender: Sender) -> None:
    async with Sink(answering(status(200, "set-cookie: session=1; Path=/"))) as sink:
        for _ in range(2):
            await post(sender, f"http://localhost:{sink.port}/")  # of an address, no client keeps cookies
    assert [call.header("cookie") for call in sink.calls] == [None, None]


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password hunter2\n")
    netrc.chmod(0o600)
    async with Sink() as proxy, Sink() as sink:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        async with Sender(allow=LOOPBACK) as sender:
            attempt = await post(sender, sink.url)
        assert attempt.status_code == 200
        assert proxy.connections == 0
        assert sink.calls[0].header("authorization") is None


async def test_a_compressed_answer_is_not_unpacked(sender: Sender) -> None:
    bomb = gzip.compress(b"boom" * 10_000_000)
    async with Sink(answering(status(200, "content-encoding: gzip", body=bomb))) as sink:
        attempt = await post(sender, sink.url)
    assert attempt.status_class == "2xx"
    assert "boom" not in attempt.response_excerpt
    assert len(attempt.response_excerpt.encode()) <= EXCERPT_BYTES


async def test_connections_are_kept_and_used_again(sender: Sender) -> None:
    async with Sink() as sink:
        for _ in range(5):
            assert (await post(sender, sink.url)).status_code == 200
    assert (len(sink.calls), sink.connections) == (5, 1)


async def test_chunks_with_trailers_are_read_and_the_connection_kept(sender: Sender) -> None:
    answer = (
        b"http/1.1 200 fine\r\n".upper() + b"transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n"
        b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nx-sum: 1\r\n\r\n"
    )
    async with Sink(answering(answer)) as sink:
        attempts = [await post(sender, sink.url) for _ in range(3)]
    assert [attempt.response_excerpt for attempt in attempts] == ["hello world"] * 3
    assert sink.connections == 1


async def test_http_1_0_is_understood(sender: Sender) -> None:
    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.0 200 OK\r\nserver: old\r\n\r\nfine")
        call.hang_up()

    async with Sink(answer) as sink:
        attempts = [await post(sender, sink.url) for _ in range(2)]
    assert [(one.status_code, one.response_excerpt) for one in attempts] == [(200, "fine")] * 2
    assert sink.connections == 2


async def test_interim_answers_are_passed_over(sender: Sender) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with Sink(answering(interim + OK)) as sink:
        attempts = [await post(sender, sink.url) for _ in range(2)]
    assert [attempt.status_code for attempt in attempts] == [200, 200]


async def test_an_answer_in_single_bytes_is_put_together(sender: Sender) -> None:
    async def answer(call: Call) -> None:
        for byte in b"HTTP/1.1 102 Wait\r\n\r\n" + OK:
            await call.send(bytes([byte]))
            await asyncio.sleep(0)

    async with Sink(answer) as sink:
        attempts = [await post(sender, sink.url) for _ in range(2)]
    assert [(one.status_code, one.response_excerpt) for one in attempts] == [(200, "ok")] * 2
    assert sink.connections == 1


async def test_an_answer_before_the_whole_request_is_read_counts(sender: Sender) -> None:
    async def answer(call: Call) -> None:
        await call.send(status(413, "connection: close"))
        call.hang_up()

    async with Sink(answer, raw=True) as sink:
        attempt = await post(sender, sink.url, body=b"x" * 3_000_000)
    assert attempt.status_code in {413, None}  # a reset may overtake the answer
    assert attempt.status_class in {"4xx", "network"}


async def test_a_long_body_arrives_whole(sender: Sender) -> None:
    body = bytes(range(256)) * 20_000
    async with Sink() as sink:
        attempt = await post(sender, sink.url, body=body)
    assert attempt.status_code == 200
    assert sink.calls[0].body == body


async def test_retry_after_is_handed_on_as_it_came(sender: Sender) -> None:
    async with Sink(answering(status(429, "Retry-After: Mon, 02 Feb 2026 13:48:05 GMT"), status(503))) as sink:
        attempts = [await post(sender, sink.url) for _ in range(2)]
    assert [attempt.retry_after for attempt in attempts] == ["Mon, 02 Feb 2026 13:48:05 GMT", None]


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"plain\ttext\r\nof two lines", "plain\ttext\r\nof two lines"),
        (b"\x00\x1b[31mred\x7f", "\ufffd\ufffd[31mred\ufffd"),
        ("\u202eevil".encode(), "\ufffdevil"),
        ("Əli".encode(), "Əli"),
        (b"\xff\xfe latin \xe9", "\ufffd\ufffd latin \ufffd"),
        (b"x" * 5_000, "x" * EXCERPT_BYTES),
        ("Ə".encode() * 5_000, "Ə" * (EXCERPT_BYTES // 2)),
        (b"\x00" * 5_000, "\ufffd" * (EXCERPT_BYTES // 3)),
    ],
)
async def test_the_beginning_of_the_answer_is_kept_as_harmless_text(sender: Sender, body: bytes, excerpt: str) -> None:
    async with Sink(answering(status(400, body=body))) as sink:
        attempt = await post(sender, sink.url)
    assert attempt.response_excerpt == excerpt
    assert not attempt.truncated


async def test_an_answer_as_long_as_the_limit_is_read_whole(sender: Sender) -> None:
    async with Sink(answering(status(200, body=b"x" * BODY_LIMIT_BYTES))) as sink:
        attempts = [await post(sender, sink.url) for _ in range(2)]
    assert [attempt.truncated for attempt in attempts] == [False, False]
    assert sink.connections == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-key", "a\r\nevil: 1"),
        ("x-key", "a\nevil: 1"),
        ("x-key", "a\revil: 1"),
        ("x-key", "a\r\n\r\nPOST /evil HTTP/1.1\r\nhost: x"),
        ("x-key", "\x00"),
        ("x-key", "a\r\n"),
        ("x-key", "\ud800"),
        ("evil: 1\r\nx-key", "v"),
        ("evil: 1", "v"),
        ("x\n", "v"),
        ("x y", "v"),
        ("", "v"),
    ],
)
async def test_a_header_that_would_break_the_request_is_not_sent(sender: Sender, name: str, value: str) -> None:
    async with Sink() as sink:
        with pytest.raises(ValueError, match=r"header's name or value|surrogates not allowed"):
            await post(sender, sink.url, headers={"x-first": "1", name: value})
        assert (await post(sender, sink.url)).status_code == 200
    assert [call.header("evil") for call in sink.calls] == [None]


async def test_the_duration_is_that_of_the_whole_attempt(sender: Sender) -> None:
    async def answer(call: Call) -> None:
        await asyncio.sleep(0.1)
        await call.send(OK)

    async with Sink(answer) as sink:
        started_s = time.monotonic()
        attempt = await post(sender, sink.url)
        whole_ms = (time.monotonic() - started_s) * 1000
    assert 100 <= attempt.duration_ms <= whole_ms + 1
