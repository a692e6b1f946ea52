"""A partner that answers as fast as Python can: a bare protocol, in a process of its own.

Run as `python bench/sink.py`; prints its port on the first line. Understands requests with content-length only. The
path says what becomes of a request:

    /hooks…          204 at once
    /timed…          204 at once, and when, to be read at /times
    /slow…           204 after 20 ms, and when
    /hang…           never an answer
    /drip…           a byte of an answer now and then
    /flood…          200, and a body without end
    GET /times       {"webhook id": [Unix time of each answer, …], …}; and forgets them
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
SLOW_S = 0.02
BACKLOG = 1024
"""Connections that may wait to be accepted: with fewer, whoever opens 256 at once meets the kernel's own retries."""
DRIP_S = 0.25
FLOOD = b"x" * 65_536

times: dict[str, list[float]] = {}


class Sink(asyncio.Protocol):
    """Counts whole requests, answers each."""

    def __init__(self) -> None:
        self.buffer = b""
        self.transport: asyncio.Transport
        self.resume = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.resume.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.resume.clear()

    def resume_writing(self) -> None:
        self.resume.set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            length = int(header(head, b"content-length") or 0)
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/hooks"):
            self.transport.write(ANSWER)
        elif path.startswith(b"/timed"):
            self.noted(header(head, b"webhook-id").decode())
        elif path.startswith(b"/slow"):
            asyncio.get_running_loop().call_later(SLOW_S, self.noted, header(head, b"webhook-id").decode())
        elif path.startswith(b"/drip"):
            self.task = asyncio.create_task(self.drip())
        elif path.startswith(b"/flood"):
            self.task = asyncio.create_task(self.flood())
        elif path.startswith(b"/times"):
            body = json.dumps(times).encode()
            times.clear()
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    def noted(self, event_id: str) -> None:
        self.transport.write(ANSWER)
        times.setdefault(event_id, []).append(time.time())

    async def drip(self) -> None:
        for at in range(len(ANSWER) - 1):
            self.transport.write(ANSWER[at : at + 1])
            await asyncio.sleep(DRIP_S)
        await asyncio.Event().wait()  # as long as anybody listens

    async def flood(self) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        while True:
            await self.resume.wait()
            self.transport.write(FLOOD)
            await asyncio.sleep(0)


def header(head: bytes, name: bytes) -> bytes:
    """A header's value; b"" where there is none."""
    at = head.find(b"\r\n" + name + b":")
    return head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip() if at >= 0 else b""


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
