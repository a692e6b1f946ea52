"""Twenty partners of every temper, on one port: what they do to a request, and the journal of what they got."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

TEMPERS: Mapping[str, str] = {
    "fast-1": "fast",
    "fast-2": "fast",
    "fast-3": "fast",
    "fast-4": "fast",
    "slow-1": "slow",
    "slow-2": "slow",
    "slower": "slower",
    "edge": "edge",
    "hangs-1": "hangs",
    "hangs-2": "hangs",
    "500": "500",
    "404": "404",
    "half": "half",
    "flaps": "flaps",
    "gone": "gone",
    "resets": "resets",
    "drips": "drips",
    "floods": "floods",
    "429": "429",
    "mute": "mute",
}
"""Partners by name, and what each does:

fast answers at once; slow after 0.3 s; slower after 1.5 s; edge about when the attempt's time is up; hangs never; 500
and 404 always; half fails every other time; flaps is away for 20 s of each 40 s; gone says 410 after a while; resets
cuts the connection off; drips a byte at a time; floods without an end; 429 asks for 3 s now and then; mute closes.
"""

PERIOD_S = 40.0
GONE_AFTER = 20


@dataclass(slots=True)
class Got:
    """One request: when it came, and when a 2xx to it was written (0: none was)."""

    at_s: float
    id: str
    event: dict[str, Any]
    done_s: float = 0.0


@dataclass(slots=True)
class Partners:
    """All of them.

    Attributes:
        calm: everybody answers at once from then on.
        journal: by name, in the order of coming.
    """

    seed: int
    timeout_s: float
    calm: bool = False
    journal: dict[str, list[Got]] = field(default_factory=lambda: {name: [] for name in TEMPERS})
    _random: Random = field(init=False)
    _server: asyncio.Server | None = None

    def __post_init__(self) -> None:
        self._random = Random(f"partners/{self.seed}")

    async def open(self) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                name = head[0].split(" ")[1].removeprefix("/")
                got = Got(time.time(), fields["webhook-id"], json.loads(body))
                self.journal[name].append(got)
                if not await self._answer(name, got, writer):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, name: str, got: Got, writer: asyncio.StreamWriter) -> bool:
        """Answer; False ends the connection."""
        temper = "fast" if self.calm else TEMPERS[name]
        await self._wait(temper)
        if temper == "resets":
            writer.transport.abort()
        if temper in ("drips", "floods"):
            if temper == "floods":
                got.done_s = time.time()  # the status line is a good one
            await self._spill(temper, writer)
        if temper in ("hangs", "resets", "drips", "floods", "mute"):
            return False
        status = self._status(name, temper)
        if status == 204:
            got.done_s = time.time()
        extra = "" if status == 204 else "content-length: 0\r\n"
        if status == 429:
            extra += "retry-after: 3\r\n"
        writer.write(f"HTTP/1.1 {status} x\r\n{extra}\r\n".encode())
        await writer.drain()
        return True

    async def _wait(self, temper: str) -> None:
        match temper:
            case "slow" | "slower":
                await asyncio.sleep(0.3 if temper == "slow" else 1.5)
            case "edge":
                await asyncio.sleep(self.timeout_s - 0.3 + 0.6 * self._random.random())
            case "hangs":
                for _ in range(120):
                    await asyncio.sleep(0.5)
                    if self.calm:
                        break

    def _status(self, name: str, temper: str) -> int:
        match temper:
            case "500" | "404":
                return int(temper)
            case "half" if self._random.random() < 0.5:
                return 502
            case "flaps" if time.time() % PERIOD_S < PERIOD_S / 2:
                return 503
            case "gone" if len(self.journal[name]) > GONE_AFTER:
                return 410
            case "429" if self._random.random() < 0.2:
                return 429
            case _:
                return 204

    async def _spill(self, temper: str, writer: asyncio.StreamWriter) -> None:
        """Drip a status line that never ends, or flood a body after a good one."""
        if temper == "floods":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        for _ in range(200):
            writer.write(b"x" * 65_536 if temper == "floods" else b"H")
            await writer.drain()
            await asyncio.sleep(0.2)
            if self.calm:
                break
