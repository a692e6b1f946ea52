"""Faults as bytes on a real socket."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2 as httpx
import pytest

from relay.sandbox.serve import Running

SignIn = Callable[..., Awaitable[Any]]


async def raw(up: Running, path: str, token: str) -> tuple[bytes, type[Exception] | None]:
    """Everything the server sends for one GET, and the exception that ended it, None for an orderly end."""
    host, port = up.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"GET /open-api/v2{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-token: {token}\r\n\r\n"
    writer.write(head.encode())
    received = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(65536), 30):
            received += chunk
    except ConnectionResetError as error:
        return received, type(error)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    return received, None


@pytest.mark.parametrize(
    ("rule", "begins", "text"),
    [
        ({"kind": "500"}, (500, "application/json"), '"error":"internal_server_error"'),
        ({"kind": "503"}, (503, "application/json"), '"error":"service_unavailable"'),
        ({"kind": "status", "status": 599}, (599, "application/json"), '"success":false'),
        ({"kind": "502-html"}, (502, "text/html"), "<h1>502 Bad Gateway</h1>"),
        ({"kind": "504-after", "delay_s": 0.01}, (504, "text/html"), "<h1>504 Gateway Time-out</h1>"),
        ({"kind": "html-200"}, (200, "text/html"), "<h1>We will be back soon</h1>"),
        ({"kind": "success-false"}, (200, "application/json"), '"success":false'),
        ({"kind": "body", "status": 200, "body": "[1,2", "content_type": "text/x"}, (200, "text/x"), "[1,2"),
        ({"kind": "empty-list"}, (200, "application/json"), '"data":[],"total":4'),
    ],
)
async def test_an_answer_is_replaced(
    clopos: httpx.AsyncClient, up: Running, rule: dict[str, Any], begins: tuple[int, str], text: str
) -> None:
    up.faults.add(**rule)

    answer = await clopos.get("/orders")

    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == begins
    assert text in answer.text


@pytest.mark.parametrize("reset", ["37", "soon", "1000000000", "-5", None])
async def test_a_429_says_when_to_come_back_or_not(clopos: httpx.AsyncClient, up: Running, reset: str | None) -> None:
    up.faults.add("429", reset=reset, times=1)

    answer = await clopos.get("/orders")

    assert (answer.status_code, answer.headers.get("ratelimit-reset")) == (429, reset)
    assert ("ratelimit-remaining" in answer.headers) == (reset is not None)
    assert (await clopos.get("/orders")).status_code == 200


async def test_a_reset_before_the_answer_is_a_reset(up: Running, sign_in: SignIn) -> None:
    token = await sign_in()
    up.faults.add("reset")

    assert await raw(up, "/orders", token) == (b"", ConnectionResetError)


async def test_a_reset_within_the_body_leaves_part_of_it_at_most(up: Running, sign_in: SignIn) -> None:
    token = await sign_in()
    whole, _ = await raw(up, "/orders", token)
    up.faults.add("reset", part=0.5)

    received, ended = await raw(up, "/orders", token)

    assert ended is ConnectionResetError
    assert len(received) < len(whole)


async def test_a_short_body_ends_before_its_content_length(up: Running, sign_in: SignIn) -> None:
    token = await sign_in()
    whole, _ = await raw(up, "/stations", token)
    up.faults.add("short-body", part=0.25)

    received, ended = await raw(up, "/stations", token)

    head, _, body = received.partition(b"\r\n\r\n")
    promised = len(whole.partition(b"\r\n\r\n")[2])
    assert f"content-length: {promised}".encode() in head
    assert (len(body), ended) == (promised // 4, None)


async def test_cut_json_is_a_whole_answer_with_half_a_document(clopos: httpx.AsyncClient, up: Running) -> None:
    whole = (await clopos.get("/stations")).content
    up.faults.add("cut-json")

    answer = await clopos.get("/stations")

    assert answer.status_code == 200
    assert answer.content == whole[: len(whole) // 2]


async def test_a_trickle_arrives_whole_but_in_pieces(clopos: httpx.AsyncClient, up: Running) -> None:
    whole = (await clopos.get("/stations")).content
    up.faults.add("trickle", chunk_bytes=100, delay_s=0.02)

    async with clopos.stream("GET", "/stations") as answer:
        pieces = [piece async for piece in answer.aiter_raw()]

    assert b"".join(pieces) == whole
    assert len(pieces) > 3


async def test_a_trickle_stops_when_the_caller_leaves(clopos: httpx.AsyncClient, up: Running) -> None:
    up.faults.add("trickle", chunk_bytes=1, delay_s=0.002)

    async with clopos.stream("GET", "/orders") as answer:
        async for _ in answer.aiter_raw():
            break

    deadline = time.monotonic() + 5
    while not [seen for seen in up.service.journal.entries if seen.fault == "trickle"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_a_hanging_answer_ends_with_the_caller_s_patience(clopos: httpx.AsyncClient, up: Running) -> None:
    up.faults.add("hang", times=1)

    with pytest.raises(httpx.ReadTimeout):
        await clopos.get("/orders", timeout=0.1)

    assert (await clopos.get("/orders")).status_code == 200
    assert [seen.fault for seen in up.service.journal.entries if seen.path == "/orders"] == ["hang", None]


async def test_a_slow_answer_is_honest_but_late(clopos: httpx.AsyncClient, up: Running) -> None:
    up.faults.add("slow", delay_s=0.1)
    begun = time.monotonic()

    assert (await clopos.get("/orders")).json()["total"] == 4
    assert time.monotonic() - begun >= 0.1


async def test_a_lost_answer_can_still_have_been_carried_out(clopos: httpx.AsyncClient, up: Running) -> None:
    up.faults.add("504-after", method="PUT", delay_s=0.0, times=1)
    assert (await clopos.put("/orders/108", json={"status": "IGNORE"})).status_code == 504
    assert up.world.order("openapitest", 1, 108).status == "PENDING"

    up.faults.add("reset", method="PUT", executes=True)
    with pytest.raises(httpx.ReadError):
        await clopos.put("/orders/108", json={"status": "IGNORE"})
    assert up.world.order("openapitest", 1, 108).status == "IGNORE"


async def test_a_rule_may_be_about_one_page_or_about_signing_in(
    clopos: httpx.AsyncClient, sign_in: SignIn, up: Running
) -> None:
    up.faults.add("401", query="page=2", times=1)
    up.faults.add("success-false", path="/auth", times=1)

    assert [(await clopos.get(f"/orders?page={page}")).status_code for page in (1, 2, 2)] == [200, 401, 200]
    assert [await sign_in() is None for _ in range(2)] == [True, False]


async def test_faults_do_not_touch_the_control_side(control: httpx.AsyncClient, up: Running) -> None:
    up.faults.add("reset")

    assert (await control.get("/faults")).json()["faults"][0]["kind"] == "reset"
    assert (await control.delete("/faults/1")).json() == {"lifted": 1}


async def test_latency_delays_every_answer_of_the_api(clopos: httpx.AsyncClient, up: Running) -> None:
    up.world.switches.change({"latency_ms": 50})
    begun = time.monotonic()

    await clopos.get("/venues")

    assert time.monotonic() - begun >= 0.05
