"""The layer nearest the socket: it writes the journal, waits out the latency, and lets faults strike, in real bytes."""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay.sandbox import answers
from relay.sandbox.errors import THROTTLED, Problem
from relay.sandbox.faults import Fault, FaultBook
from relay.sandbox.model import dumps
from relay.sandbox.service import Seen, Service
from relay.sandbox.tokens import peek

TRANSPORT_KEY = "sandbox.transport"
"""Where the server leaves the connection's transport in the scope's state (see ``serve``)."""

_HALF = 0.5
_NO_LINGER = struct.pack("ii", 1, 0)
_NEEDS_ANSWER = frozenset({"empty-list", "slow", "trickle", "cut-json", "short-body"})
_PAGES = {
    "502-html": (502, "502 Bad Gateway"),
    "504-after": (504, "504 Gateway Time-out"),
    "html-200": (200, "We will be back soon"),
}


@dataclass(slots=True)
class Answer:
    """A response held back."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def with_body(self, body: bytes) -> "Answer":
        """The same with another body, and a Content-Length that fits it."""
        kept = [(name, value) for name, value in self.headers if name != b"content-length"]
        return Answer(self.status, [*kept, (b"content-length", str(len(body)).encode())], body)


class Wire:
    """ASGI middleware around the API.

    Args:
        app: the API.
        service: whose journal, switches and clock to use.
        faults: the rules in force.
    """

    def __init__(self, app: ASGIApp, *, service: Service, faults: FaultBook) -> None:
        self._app = app
        self._service = service
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, honestly or not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._service
        number, at_s = service.journal.next_number(), service.clock()
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        query = scope["query_string"].decode("latin-1")
        brand, venue = peek(headers.get("x-token")).get("brand"), headers.get("x-venue")
        fault = self._faults.strike(
            service.draw, method=scope["method"], path=path, query=query, brand=brand, venue=venue
        )
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if service.switches.latency_ms:
                await service.sleep(service.switches.latency_ms / 1000)
            if fault is None:
                await self._app(scope, receive, watched)
            else:
                await self._spoil(fault, scope, receive, watched)
        finally:
            service.journal.add(
                Seen(
                    number=number,
                    at_s=at_s,
                    method=scope["method"],
                    path=path,
                    query=query,
                    venue=venue,
                    brand=brand,
                    address=scope["client"][0] if scope.get("client") else "unknown",
                    status=status,
                    fault=fault.kind if fault else None,
                )
            )

    async def _spoil(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        partial_reset = fault.kind == "reset" and fault.part is not None
        needed = fault.kind in _NEEDS_ANSWER or partial_reset or fault.executes
        honest = await _collect(self._app, scope, receive) if needed else Answer()
        match fault.kind:
            case "hang":
                await self._until_gone(receive)
                await _break(scope, receive, orderly=False)
            case "reset":
                if partial_reset:
                    await _send_part(send, honest, fault)
                await _break(scope, receive, orderly=False)
            case "short-body":
                await _send_part(send, honest, fault)
                await _break(scope, receive, orderly=True)
            case "trickle":
                await self._trickle(fault, honest, receive, send)
            case _:
                if fault.kind in {"504-after", "slow"}:
                    await self._service.sleep(fault.delay_s)
                await _send(send, _replaced(self._service, fault, honest))

    async def _trickle(self, fault: Fault, honest: Answer, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": honest.status, "headers": honest.headers})
        gone = asyncio.ensure_future(self._until_gone(receive))
        try:
            for at in range(0, len(honest.body), fault.chunk_bytes):
                if gone.done():
                    return
                piece = honest.body[at : at + fault.chunk_bytes]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await self._service.sleep(fault.delay_s)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()

    async def _until_gone(self, receive: Receive) -> None:
        """Wait until the caller leaves or the server closes."""
        waits = [asyncio.ensure_future(_left(receive)), asyncio.ensure_future(self._service.closing.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _replaced(service: Service, fault: Fault, honest: Answer) -> Answer:
    """The answer that a fault gives in the honest one's place."""
    answer = honest
    match fault.kind:
        case "status":
            phrase = HTTPStatus(fault.status).phrase if fault.status in set(HTTPStatus) else "Unknown"
            slug = phrase.lower().replace(" ", "_")
            answer = _json(fault.status, Problem(fault.status, phrase, slug, slug).body(service.switches.error_shape))
        case "429":
            answer = _throttled(service, fault)
        case "success-false":
            problem = Problem(200, "The operation failed", "operation_failed", "operation_failed")
            answer = _json(200, {"success": False} | problem.body(service.switches.error_shape))
        case "502-html" | "504-after" | "html-200":
            status, title = _PAGES[fault.kind]
            page = f"<!doctype html><title>{title}</title><h1>{title}</h1>"
            answer = Answer(status, [(b"content-type", b"text/html; charset=utf-8")]).with_body(page.encode())
        case "body":
            content_type = (b"content-type", fault.content_type.encode())
            answer = Answer(fault.status, [content_type]).with_body(fault.body.encode(errors="surrogateescape"))
        case "empty-list" if honest.status == HTTPStatus.OK:
            answer = honest.with_body(dumps(json.loads(honest.body) | {"data": []}).encode())
        case "cut-json":
            answer = honest.with_body(_part(honest.body, fault))
    return answer


def _throttled(service: Service, fault: Fault) -> Answer:
    response = answers.throttled(service, THROTTLED)
    answer = Answer(429, list(response.raw_headers), bytes(response.body))
    if fault.reset is not None:
        quota = str(service.switches.quota_per_minute).encode()
        answer.headers += [
            (b"ratelimit-limit", quota),
            (b"ratelimit-remaining", b"0"),
            (b"ratelimit-reset", fault.reset.encode()),
        ]
    return answer


def _json(status: int, body: dict[str, Any]) -> Answer:
    return Answer(status, [(b"content-type", b"application/json")]).with_body(dumps(body).encode())


async def _collect(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    answer = Answer()
    chunks: list[bytes] = []

    async def hold(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))

    await app(scope, receive, hold)
    answer.body = b"".join(chunks)
    return answer


async def _send(send: Send, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _send_part(send: Send, answer: Answer, fault: Fault) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": _part(answer.body, fault), "more_body": True})


def _part(body: bytes, fault: Fault) -> bytes:
    return body[: int(len(body) * (_HALF if fault.part is None else fault.part))]


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _break(scope: Scope, receive: Receive, *, orderly: bool) -> None:
    """End the connection here and now, by closing it or by a reset, and wait until the server has noticed.

    Raises:
        ConnectionResetError: there is no connection to break (the app runs in memory).
    """
    transport: Any = scope.get("state", {}).get(TRANSPORT_KEY)
    if transport is None:
        raise ConnectionResetError("a fault broke the connection")
    if orderly:
        transport.close()
    elif not transport.is_closing():
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
    await _left(receive)
