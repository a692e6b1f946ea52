"""What every test may ask for: a real Redis, empty at the start of each test."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.types import ASGIApp

from relay.supervise.processes import dies_with_parent
from relay.supervise.redis_server import find_redis_server, redis_answers, redis_command


class RedisServer:
    """A private redis-server that a test may kill, stop, freeze and start again on the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *extra: str) -> None:
        """Start it and wait until it answers; `extra` are further options, as `--maxmemory 3mb`."""
        command = [*redis_command(find_redis_server(), folder=self.folder, unix_socket=self.socket), *extra]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                restore_signals=False,  # a file that may not grow is an error then, and not its end
                preexec_fn=dies_with_parent(),  # noqa: PLW1509  it asks the kernel for one thing
            )
        deadline = time.monotonic() + 20
        while not redis_answers(self.socket):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=0.01)
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "redis.log").read_text())

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send SIGSTOP, SIGCONT or the like."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would, `kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)  # a frozen one would not hear SIGTERM
            self._process.wait(timeout=20)
            self._process = None


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="relay-test-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def redis_url(_shared_redis: RedisServer) -> str:
    """The URL of an empty Redis."""
    with SyncRedis.from_url(_shared_redis.url) as client:
        client.flushall()
    return _shared_redis.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of that Redis: bytes, no retries."""
    client = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
    yield client
    await client.aclose()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A private server for one test, started, to be killed, frozen or reconfigured."""
    with tempfile.TemporaryDirectory(prefix="relay-test-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.kill()


class _Server(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _listening(app: ASGIApp) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = _Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        serving = asyncio.create_task(
            server.serve(sockets=[sock])
        )  # connections wait in the socket's queue until it is up
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        await serving


@pytest.fixture
def listening() -> Callable[[ASGIApp], contextlib.AbstractAsyncContextManager[str]]:
    """Serve an ASGI app on a real socket: `async with listening(app) as url`."""
    return _listening


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where CI=true, a test that was skipped showed nothing, and fails."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
