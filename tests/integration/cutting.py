"""A proxy before Redis that loses requests, or their answers, on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


class Fate(Enum):
    """What becomes of what a client sends."""

    PASSED = "passed on"
    LOST = "lost before Redis sees it"
    UNANSWERED = "carried out, and the answer lost"


@dataclass
class Proxy:
    """`fate` is asked for each piece that a client sends; after `dead` nothing passes any more."""

    socket: str
    fate: Callable[[bytes], Fate] = lambda _sent: Fate.PASSED
    dead: bool = False
    port: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.dead:
            writer.close()
            return
        self.writers.add(writer)
        upstream_reader, upstream = await asyncio.open_unix_connection(self.socket)
        answers = asyncio.create_task(self._answer(upstream_reader, writer))
        try:
            while (sent := await reader.read(1 << 20)) and not self.dead:
                match self.fate(sent):
                    case Fate.PASSED:
                        upstream.write(sent)
                    case Fate.LOST:
                        break
                    case Fate.UNANSWERED:
                        answers.cancel()
                        await asyncio.gather(answers, return_exceptions=True)
                        upstream.write(sent)
                        await upstream.drain()
                        await upstream_reader.read(1)
                        break
        except OSError:
            pass
        finally:
            answers.cancel()
            self.writers.discard(writer)
            upstream.close()
            writer.close()

    async def _answer(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while answer := await upstream.read(1 << 20):
                writer.write(answer)

    def kill(self) -> None:
        """Let nothing pass any more, as if the process behind it had been killed."""
        self.dead = True
        for writer in list(self.writers):
            writer.transport.abort()


@contextlib.asynccontextmanager
async def cutting(redis_url: str) -> AsyncIterator[tuple[Proxy, Any]]:
    """A proxy, and a client that goes through it."""
    proxy = Proxy(redis_url.removeprefix("unix://"))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    client: Any = Redis(host="127.0.0.1", port=proxy.port, protocol=2, retry=Retry(NoBackoff(), 0))
    try:
        yield proxy, client
    finally:
        proxy.kill()
        await client.aclose()
        server.close()
        await server.wait_closed()
