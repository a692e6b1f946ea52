"""Partners' endpoints, well-behaved and nasty, on real sockets."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Call:
    """One request, and the means to answer it."""

    connection: int
    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def request_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode().split("\r\n")[1:]
        return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(OSError):
            await self.writer.drain()

    def hang_up(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has hung up."""
        with contextlib.suppress(OSError):
            while await self.reader.read(65_536):
                pass


Answer = Callable[[Call], Awaitable[None]]


async def answer_ok(call: Call) -> None:
    await call.send(OK)


def answering(*answers: bytes) -> Answer:
    """Answer the first request with the first of these, and so on; the last one from then on."""
    left = list(answers)

    async def answer(call: Call) -> None:
        await call.send(left.pop(0) if len(left) > 1 else left[0])

    return answer


@dataclass
class Sink:
    """A server that notes every connection and every request.

    With ``raw`` the answer is asked for at once, before any request is read.
    """

    answer: Answer = answer_ok
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    raw: bool = False
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hooks"

    async def idle(self) -> None:
        """Wait until no connection is being served."""
        await asyncio.gather(*self._tasks)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        try:
            if self.raw:
                await self.answer(Call(connection, b"", b"", reader, writer))
                return
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                call = Call(connection, head, body, reader, writer)
                self.calls.append(call)
                self.called.set()
                await self.answer(call)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
