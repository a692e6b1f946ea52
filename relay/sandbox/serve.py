"""Serving the stand-in: from a command until told to stop, or within a test for as long as it needs."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from relay.sandbox import documented
from relay.sandbox.app import API_ROOT, create_app
from relay.sandbox.control import PREFIX
from relay.sandbox.faults import FaultBook
from relay.sandbox.scenario import NONE, Scenario, play
from relay.sandbox.service import Service
from relay.sandbox.wire import TRANSPORT_KEY
from relay.sandbox.world import World

_GRACE_S = 1


@dataclass(frozen=True, slots=True)
class Running:
    """A stand-in that is up.

    Attributes:
        url: the server's root, ``http://127.0.0.1:54321``.
        base_url: the API's, without a trailing slash.
        control_url: the control side's.
        world: what exists; change it directly, or through the control side.
        service: journal, limits, signer, switches.
        faults: the fault rules.
    """

    url: str
    base_url: str
    control_url: str
    world: World
    service: Service
    faults: FaultBook


class _Protocol(H11Protocol):
    """Hands the connection itself to the app, so that faults can break it."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT_KEY: transport}


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it, says when it is up, and goes down without polling: tests open many."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self.leaving = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def main_loop(self) -> None:
        ticking = asyncio.create_task(super().main_loop())
        await self.leaving.wait()
        ticking.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            _, late = await asyncio.wait(self.server_state.tasks, timeout=_GRACE_S)
            for task in late:
                task.cancel()


def new_world(*, clock: Callable[[], float] | None = None, seed: int = 0) -> World:
    """Make a world with the documented rows in it."""
    world = World(seed=seed) if clock is None else World(clock=clock, seed=seed)
    documented.seed(world)
    return world


@asynccontextmanager
async def running(
    *,
    world: World | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    scenario: str = NONE,
    seed: int = 0,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[Running]:
    """Serve a stand-in on a real socket of this event loop.

    Args:
        world: what exists; the documented rows when None.
        host: address to bind.
        port: 0 for a free one.
        scenario: a name in ``scenario.PROFILES`` that makes things happen by themselves.
        seed: of the scenario, and of made-up orders where ``world`` is None.
        clock: Unix seconds for tokens and limits, and for the world where it is None; real time when None.

    Raises:
        OSError: the port is taken.
    """
    world = world or new_world(clock=clock, seed=seed)
    app = create_app(world, clock=clock, seed=seed)
    service: Service = app.state.service
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay off only where the protocol is named: without it, an answer comes 40 ms late.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        url = f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"
        async with _served(app, sock, service), _played(scenario, world, seed):
            yield Running(url, url + API_ROOT, url + PREFIX, world, service, app.state.faults)


def run(
    host: str = "127.0.0.1",
    port: int = 8090,
    scenario: str = NONE,
    seed: int = 0,
    *,
    echo: Callable[[str], object] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, and return then.

    Args:
        host: address to bind.
        port: 0 for a free one.
        scenario: a name in ``scenario.PROFILES``.
        seed: of chance: the same seed makes the same orders in the same order.
        echo: where the URLs and credentials go, a line at a time; stdout when None.

    Raises:
        OSError: the port is taken.
    """
    asyncio.run(_run(host, port, scenario, seed, echo or _print))


async def _run(host: str, port: int, scenario: str, seed: int, echo: Callable[[str], object]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(host=host, port=port, scenario=scenario, seed=seed) as up:
        for line in (
            f"Clopos stand-in at {up.base_url}",
            f"  brand          {documented.BRAND} (venues 1 and 2)",
            f"  client_id      {documented.CLIENT_ID}",
            f"  client_secret  {documented.CLIENT_SECRET}",
            f"  integrator_id  {documented.INTEGRATOR_ID}",
            f"  control        {up.control_url}",
            f"  scenario       {scenario}, seed {seed}",
        ):
            echo(line)
        await stop.wait()


@asynccontextmanager
async def _served(app: ASGIApp, sock: socket.socket, service: Service) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    starting = asyncio.create_task(server.up.wait())
    await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    if serving.done():
        await serving
    try:
        yield
    finally:
        service.closing.set()
        server.leaving.set()
        await serving


@asynccontextmanager
async def _played(name: str, world: World, seed: int) -> AsyncIterator[None]:
    if name == NONE:
        yield
        return
    playing = asyncio.create_task(play(Scenario(world, name, seed=seed)))
    try:
        yield
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
