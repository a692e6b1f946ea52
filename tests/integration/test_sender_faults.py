"""What the sender makes of partners that fail, stall, flood and lie."""

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest

from relay.core.netpolicy import Address
from relay.egress import sender as sender_module
from relay.egress.sender import Sender
from tests.integration.senders import LOOPBACK, post
from tests.integration.sinks import OK, Answer, Call, Sink, answer_ok, answering

DEADLINE_S = 0.4


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(allow=LOOPBACK) as made:
        yield made


async def silent(call: Call) -> None:
    await call.gone()


def dripping(start: bytes, drop: bytes) -> Answer:
    async def answer(call: Call) -> None:
        await call.send(start)
        while not call.writer.is_closing():
            await call.send(drop)
            await asyncio.sleep(0.02)

    return answer


def flooding(start: bytes, flood: bytes) -> Answer:
    async def answer(call: Call) -> None:
        await call.send(start)
        while not call.writer.is_closing():
            await call.send(flood)

    return answer


def then_hanging_up(data: bytes) -> Answer:
    async def answer(call: Call) -> None:
        await call.send(data)
        call.hang_up()

    return answer


def then_reset(data: bytes) -> Answer:
    async def answer(call: Call) -> None:
        await call.send(data)
        call.reset()

    return answer


async def test_a_partner_that_never_answers_costs_the_deadline_and_no_more(sender: Sender) -> None:
    async with Sink(silent) as sink:
        started_s = time.monotonic()
        attempt = await post(sender, sink.url, timeout_s=DEADLINE_S)
        assert time.monotonic() - started_s >= DEADLINE_S
    assert (attempt.status_code, attempt.status_class, attempt.failure) == (None, "timeout", "timeout")
    assert attempt.error == "timeout: no answer within 0.4 s: waiting for the answer"
    assert len(sink.calls) == 1


@pytest.mark.parametrize(
    "answer",
    [
        dripping(b"", b"\r\n"),
        dripping(b"HTTP/1.1 2", b""),
        dripping(b"HTTP/1.1 200 O", b"K"),
        dripping(b"HTTP/1.1 100 Continue\r\nx: ", b"y"),
    ],
    ids=["blank lines", "half a status line", "endless reason", "endless interim header"],
)
async def test_without_a_whole_status_line_it_is_a_timeout(sender: Sender, answer: Answer) -> None:
    async with Sink(answer) as sink:
        attempt = await post(sender, sink.url, timeout_s=DEADLINE_S)
    assert (attempt.status_code, attempt.status_class, attempt.failure) == (None, "timeout", "timeout")


@pytest.mark.parametrize(
    "answer",
    [
        dripping(b"HTTP/1.1 200 OK\r\nx: ", b"y"),
        dripping(b"HTTP/1.1 200 OK\r\n", b""),
        dripping(b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 204\r\n", b"x: y\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"y"),
        dripping(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\ny\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\n\r\n", b""),
    ],
    ids=["header", "stalled headers", "after 1xx", "body", "chunks", "endless body"],
)
async def test_once_a_2xx_status_line_is_in_it_is_a_success_however_slow_the_rest(
    sender: Sender, answer: Answer
) -> None:
    async with Sink(answer) as sink:
        attempt = await post(sender, sink.url, timeout_s=DEADLINE_S)
    assert (attempt.status_class, attempt.failure, attempt.error) == ("2xx", None, None)
    assert attempt.truncated


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (then_hanging_up(b"HTTP/1.1 200 OK\r\nx: y\r\n"), 200),
        (then_reset(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345"), 200),
        (then_hanging_up(b"HTTP/1.1 201 OK\r\ncontent-length: 10\r\n\r\n12345"), 201),
        (then_hanging_up(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), 200),
        (then_hanging_up(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n"), 200),
        (then_hanging_up(b"HTTP/1.1 200 OK\r\n: no name\r\n\x00\r\n\r\n"), 200),
        (answering(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n"), 200),
        (answering(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n"), 200),
        (answering(b"HTTP/1.1 500 Oh\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n"), 500),
        (dripping(b"HTTP/1.1 503 Busy\r\nx: ", b"y"), 503),
        (then_hanging_up(b"HTTP/1.1 404 No\r\n"), 404),
    ],
)
async def test_the_status_line_decides_whatever_comes_after_it(sender: Sender, answer: Answer, code: int) -> None:
    async with Sink(answer) as sink:
        attempt = await post(sender, sink.url, timeout_s=DEADLINE_S)
    assert attempt.status_code == code
    assert attempt.status_class == f"{code // 100}xx"
    assert attempt.failure is None
    assert len(sink.calls) == 1


@pytest.mark.parametrize(
    "answer",
    [
        then_hanging_up(b"SSH-2.0-OpenSSH_9.6\r\n"),
        then_hanging_up(b"220 mail.example ESMTP\r\n" * 10),
        then_hanging_up(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"),
        then_hanging_up(b"<html>it works</html>"),
        then_hanging_up(b"HTTP/x.1 200 OK\r\n\r\n"),
        then_hanging_up(b"HTTP/1.1 2000 OK\r\n\r\n"),
        then_hanging_up(b"HTTP/1.1 two OK\r\n\r\n"),
        then_hanging_up(b"HTTP/1.1  200 OK\r\n\r\n"),
        then_hanging_up(b"ICY 200 OK\r\n\r\n"),
        flooding(b"", b"A" * 65_536),
        flooding(b"HTTP/1.1 200 ", b"O" * 65_536),
        flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_500),
        flooding(b"HTTP/1.1 100 Continue\r\n", b"x: y\r\n" * 10_000),
        dripping(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    ],
    ids=["ssh", "smtp", "http2", "html", "version", "four digits", "letters", "two spaces", "icecast", "flood",
         "flooded reason", "endless 1xx", "endless 1xx headers", "dripped 1xx"],
)  # fmt: skip
async def test_what_is_not_http_is_a_failure_of_protocol(sender: Sender, answer: Answer) -> None:
    async with Sink(answer) as sink:
        attempt = await post(sender, sink.url, timeout_s=3600.0)
    assert (attempt.status_code, attempt.status_class, attempt.failure) == (None, "network", "protocol")


async def test_a_server_that_speaks_first_is_a_failure_of_protocol(sender: Sender) -> None:
    async def answer(call: Call) -> None:
        await call.send(b"220 mail.example ESMTP\r\n")
        await call.gone()

    async with Sink(answer, raw=True) as sink:
        attempt = await post(sender, sink.url)
    assert (attempt.status_class, attempt.failure) == ("network", "protocol")


async def test_a_switch_of_protocols_that_nobody_asked_for_is_a_network_failure(sender: Sender) -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    async with Sink(answering(answer)) as sink:
        attempt = await post(sender, sink.url, timeout_s=DEADLINE_S)
    assert (attempt.status_code, attempt.status_class) == (101, "network")


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n",
     b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40000000\r\n"],
    ids=["until closed", "10 GB", "500", "one huge chunk"],
)  # fmt: skip
async def test_of_an_endless_body_little_is_read_and_the_connection_closed(sender: Sender, start: bytes) -> None:
    sent_bytes = 0
    hung_up = asyncio.Event()

    async def answer(call: Call) -> None:
        nonlocal sent_bytes
        await call.send(start)
        while not call.writer.is_closing():
            await call.send(b"y" * 65_536)
            sent_bytes += 65_536
        hung_up.set()

    async with Sink(answer) as sink:
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        attempt = await post(sender, sink.url, timeout_s=3600.0)
        await asyncio.wait_for(hung_up.wait(), 30)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32_768
    assert attempt.status_class == ("5xx" if b"500" in start else "2xx")
    assert attempt.truncated
    assert len(attempt.response_excerpt) == 1_024
    assert sent_bytes < 32_000_000  # what socket buffers hold, not what was wanted


async def test_nobody_listening_is_a_failure_to_connect(sender: Sender) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    attempt = await post(sender, f"http://127.0.0.1:{port}/")
    assert (attempt.status_class, attempt.failure) == ("network", "connect")
    assert attempt.error == "connect: nobody listens on that port"


@pytest.mark.parametrize("answer", [then_reset(b""), then_hanging_up(b""), then_hanging_up(b"HTTP/1.")])
async def test_an_end_before_the_status_line_is_a_failure_and_sent_once(sender: Sender, answer: Answer) -> None:
    async with Sink(answer) as sink:
        attempt = await post(sender, sink.url)
    assert attempt.status_class == "network"
    assert attempt.failure in {"reset", "protocol"}
    assert (len(sink.calls), sink.connections) == (1, 1)


async def test_a_connection_closed_while_idle_is_replaced_in_silence(sender: Sender) -> None:
    async with Sink(then_hanging_up(OK)) as sink:
        attempts = [await post(sender, sink.url) for _ in range(3)]
    assert [attempt.status_code for attempt in attempts] == [200, 200, 200]
    assert (len(sink.calls), sink.connections) == (3, 3)


@pytest.mark.parametrize("last", [Call.hang_up, Call.reset])
async def test_a_kept_connection_that_dies_under_the_request_is_replaced_once(
    sender: Sender, last: Callable[[Call], None]
) -> None:
    async def answer(call: Call) -> None:
        if call.connection == 1 and len(sink.calls) == 2:
            last(call)
        else:
            await call.send(OK)

    async with Sink(answer) as sink:
        attempts = [await post(sender, sink.url) for _ in range(3)]
    assert [attempt.status_code for attempt in attempts] == [200, 200, 200]
    assert [call.connection for call in sink.calls] == [1, 1, 2, 2]
    assert {call.body for call in sink.calls} == {sink.calls[0].body}


async def test_all_idle_connections_of_a_restarted_partner_are_given_up_together(sender: Sender) -> None:
    together = asyncio.Barrier(3)
    dead = False

    async def answer(call: Call) -> None:
        if dead and call.connection <= 3:
            call.reset()
            return
        if not dead:
            await together.wait()
        await call.send(OK)

    async with Sink(answer) as sink:
        await asyncio.gather(*(post(sender, sink.url) for _ in range(3)))
        dead = True
        attempt = await post(sender, sink.url)
    assert attempt.status_code == 200
    assert [call.connection for call in sink.calls][3:] == [sink.calls[3].connection, 4]


async def test_it_is_replaced_only_once_in_an_attempt(sender: Sender) -> None:
    async def answer(call: Call) -> None:
        if len(sink.calls) == 1:
            await call.send(OK)
        else:
            call.reset()

    async with Sink(answer) as sink:
        await post(sender, sink.url)
        attempt = await post(sender, sink.url)
    assert attempt.failure == "reset"
    assert len(sink.calls) == 3


async def test_a_kept_connection_that_dies_after_a_first_byte_is_a_failure(sender: Sender) -> None:
    async def answer(call: Call) -> None:
        await call.send(OK if len(sink.calls) == 1 else b"H")
        if len(sink.calls) > 1:
            call.hang_up()

    async with Sink(answer) as sink:
        await post(sender, sink.url)
        attempt = await post(sender, sink.url)
    assert attempt.status_class == "network"
    assert len(sink.calls) == 2


async def test_a_kept_connection_that_dies_late_is_a_failure(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "STALE_WITHIN_S", 0.05)

    async def answer(call: Call) -> None:
        if len(sink.calls) == 1:
            await call.send(OK)
        else:
            await asyncio.sleep(0.2)
            call.reset()

    async with Sink(answer) as sink:
        await post(sender, sink.url)
        attempt = await post(sender, sink.url)
    assert attempt.failure == "reset"
    assert len(sink.calls) == 2


@pytest.mark.parametrize(
    ("first", "later"),
    [(OK + OK, b""), (OK, OK), (OK[:-1], OK[-1:] + OK)],
    ids=["with the answer", "while idle", "with the end of the answer"],
)
async def test_an_answer_to_no_request_is_not_taken_for_that_to_the_next(
    sender: Sender, first: bytes, later: bytes
) -> None:
    async def answer(call: Call) -> None:
        if call.connection > 1:
            await call.send(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
            return
        await call.send(first)
        await asyncio.sleep(0.05)
        await call.send(later)

    async with Sink(answer) as sink:
        attempts = [await post(sender, sink.url)]
        await asyncio.sleep(0.15 if later == OK else 0)
        attempts.append(await post(sender, sink.url))
    assert [attempt.status_code for attempt in attempts] == [200, 500]
    assert sink.connections == 2


async def test_a_peer_that_floods_an_idle_connection_is_cut_off(sender: Sender) -> None:
    cut_off = asyncio.Event()

    async def answer(call: Call) -> None:
        await call.send(OK)
        while not call.writer.is_closing():
            await asyncio.sleep(0.005)
            await call.send(OK * 10)
        cut_off.set()

    async with Sink(answer) as sink:
        assert (await post(sender, sink.url)).status_code == 200
        await asyncio.wait_for(cut_off.wait(), 30)


async def test_hanging_partners_do_not_hold_up_the_others(sender: Sender) -> None:
    async with Sink(silent) as hanging, Sink() as healthy:
        stuck = [asyncio.create_task(post(sender, hanging.url, timeout_s=3600.0)) for _ in range(50)]
        attempts = await asyncio.gather(*(post(sender, healthy.url) for _ in range(50)))
        assert {attempt.status_code for attempt in attempts} == {200}
        assert not any(task.done() for task in stuck)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_peer_that_does_not_read_is_left_at_the_deadline_with_what_it_has(sender: Sender) -> None:
    body = b"x" * 20_000_000
    given_up = asyncio.Event()
    got_bytes = 0

    async def answer(call: Call) -> None:
        nonlocal got_bytes
        await given_up.wait()
        with contextlib.suppress(OSError):
            while data := await call.reader.read(65_536):
                got_bytes += len(data)

    async with Sink(answer, raw=True) as sink:
        attempt = await post(sender, sink.url, body=body, timeout_s=DEADLINE_S)
        given_up.set()
        await sink.idle()
    assert attempt.failure == "timeout"
    assert got_bytes < len(body)


async def test_an_answer_that_comes_before_the_request_is_sent_costs_the_connection(sender: Sender) -> None:
    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n")
        await call.gone()

    async with Sink(answer, raw=True) as sink:
        for _ in range(2):
            attempt = await post(sender, sink.url, body=b"x" * 20_000_000)
            assert attempt.status_code == 413
    assert sink.connections == 2


async def test_a_cancelled_attempt_closes_its_connection_and_nothing_else(sender: Sender) -> None:
    cut_off = asyncio.Event()

    async def answer(call: Call) -> None:
        if len(sink.calls) == 1:
            await call.gone()
            cut_off.set()
        else:
            await call.send(OK)

    async with Sink(answer) as sink:
        attempt = asyncio.create_task(post(sender, sink.url))
        await sink.called.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await asyncio.wait_for(cut_off.wait(), 30)
        assert (await post(sender, sink.url)).status_code == 200


async def test_an_attempt_cancelled_amid_the_body_is_cancelled(sender: Sender) -> None:
    async with Sink(dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"y")) as sink:
        attempt = asyncio.create_task(post(sender, sink.url))
        await sink.called.wait()
        await asyncio.sleep(0.05)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt


async def test_a_process_at_its_limit_of_sockets_blames_itself() -> None:
    async with Sender(allow=LOOPBACK, max_sockets=1) as sender, Sink(silent) as hanging, Sink() as healthy:
        stuck = asyncio.create_task(post(sender, hanging.url, timeout_s=3600.0))
        await hanging.called.wait()
        attempt = await post(sender, healthy.url, timeout_s=0.2)
        assert (attempt.status_class, attempt.failure) == ("network", "emfile")
        assert attempt.error == "emfile: no answer within 0.2 s: waiting for a free socket of this process"
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        assert (await post(sender, healthy.url)).status_code == 200


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    fillers: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in fillers:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "partner.example"])
async def test_a_process_out_of_descriptors_blames_itself_and_gives_up_idle_connections(host: str) -> None:
    async with Sender(allow=LOOPBACK) as sender, Sink() as idle, Sink() as wanted:
        await post(sender, idle.url)
        with no_descriptor_left():
            attempt = await post(sender, f"http://{host}:{wanted.port}/", timeout_s=2.0)
        assert (attempt.status_class, attempt.failure) == ("network", "emfile")
        assert wanted.connections == 0
        assert (await post(sender, wanted.url)).status_code == 200
        assert (await post(sender, idle.url)).status_code == 200
        assert idle.connections == 2


async def test_a_name_server_that_cannot_be_asked_for_want_of_descriptors_is_not_the_partners_fault() -> None:
    async def lookup(_: str) -> Sequence[Address]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with Sender(allow=LOOPBACK, lookup=lookup) as sender:
        with no_descriptor_left():
            attempt = await post(sender, "https://partner.example/")
        assert (attempt.failure, (await post(sender, "https://partner.example/")).failure) == ("emfile", "dns")


async def test_a_sender_leaves_no_connection_open_behind_it() -> None:
    hung_up = asyncio.Event()

    async def answer(call: Call) -> None:
        await answer_ok(call)
        await call.gone()
        hung_up.set()

    async with Sink(answer) as sink:
        async with Sender(allow=LOOPBACK) as sender:
            await post(sender, sink.url)
        await asyncio.wait_for(hung_up.wait(), 30)
