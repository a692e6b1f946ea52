"""How is the API run?  It listens at once, serves as soon as Redis is there, and drains when told to stop."""

import asyncio
import contextlib
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from relay import logs
from relay.api.app import create_app
from relay.api.auth import digest_of
from relay.api.limits import MAX_HEAD_BYTES, BoundedProtocol
from relay.api.probes import livez
from relay.api.problems import respond, translate
from relay.api.scrape import NOTHING, Scraper, answer_scrape
from relay.api.services import Services
from relay.api.waiting import Waiting
from relay.bootstrap import Relay, new_slot, open_relay
from relay.core.errors import StoreAwayError
from relay.egress.guard import SystemLookup
from relay.metrics import exposition
from relay.pipeline.forget import Forgetter
from relay.settings import Settings
from relay.store.activity import Activity
from relay.store.apikeys import ApiKeyStore
from relay.store.audit import AuditStore
from relay.store.away import STORE_ERRORS
from relay.store.brand_state import BrandStates
from relay.store.connection import RedisUnusableError, Timeouts
from relay.store.figures import FigureStore
from relay.store.idempotency import IdempotencyStore
from relay.store.lane_log import LaneLog
from relay.store.rewriting import Rewriting
from relay.store.sessions import SessionStore

REDIS_TIMEOUTS: Final = Timeouts(connect_s=1.0, socket_s=1.2, pool_s=0.8)
"""Short: an API that waits is worse than one that says 503."""

RETRY_S: Final = 1.0
GRACE_S: Final = 10
KEEP_ALIVE_S: Final = 15
BACKLOG: Final = 512
DONE, FAILED, UNUSABLE = 0, 1, 2


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 stopped, 1 the address is taken, 2 Redis must not be used.
    """
    return asyncio.run(serve(settings))


async def serve(
    settings: Settings, *, stop: asyncio.Event | None = None, up: Callable[[str], None] | None = None
) -> int:
    """Serve until told to stop.

    Args:
        settings: with ``redis_url``, ``admin_token`` and ``secret_keys`` set.
        stop: ends it; without it, SIGTERM and SIGINT do.
        up: is told the URL once it listens.
    """
    stopping = stop or _on_signals()
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        logs.event("cannot listen", level="error", exc=error, host=settings.host, port=settings.port)
        return FAILED
    door = _Door(_starting(settings))
    server = _Server(door)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    opening = asyncio.create_task(_behind(door, settings, stopping))
    stopped = asyncio.create_task(stopping.wait())
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    logs.event("listening", url=url)
    if up is not None:
        up(url)
    await asyncio.wait({serving, opening, stopped}, return_when=asyncio.FIRST_COMPLETED)
    door.close()
    server.should_exit = True
    await serving
    stopping.set()
    code = await opening
    stopped.cancel()
    logs.event("stopped")
    return code


async def _behind(door: "_Door", settings: Settings, stopping: asyncio.Event) -> int:
    """Open what the API works with, and keep it open until it is to stop."""
    while not stopping.is_set():
        try:
            async with open_relay(settings, timeouts=REDIS_TIMEOUTS) as relay:
                services = services_of(relay)
                door.open(create_app(services), services.waiting.close)
                await stopping.wait()
                await door.closed.wait()
                return DONE
        except RedisUnusableError as error:
            logs.event("redis unusable", level="error", message=str(error))
            return UNUSABLE
        except STORE_ERRORS as error:
            logs.event("redis away", level="warning", exc=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await stopping.wait()
    return DONE


class _Door:
    """The application that is served: one that says 503 until the real one is there."""

    def __init__(self, app: ASGIApp) -> None:
        self.closed = asyncio.Event()
        self._app = app
        self._let_go: Callable[[], None] = lambda: None

    def open(self, app: ASGIApp, let_go: Callable[[], None]) -> None:
        self._app = app
        self._let_go = let_go

    def close(self) -> None:
        """Let those go that wait for something to happen."""
        self._let_go()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _starting(settings: Settings) -> ASGIApp:
    """What is answered before Redis was there for the first time: that this process lives, and that Redis is away."""
    away = StoreAwayError("Redis does not answer, since this process began.")
    metrics_digest = None if settings.metrics_token is None else digest_of(settings.metrics_token)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.url.path == "/livez":
            response = await livez(request)
        elif request.url.path == "/metrics":
            response = answer_scrape(request, exposition(NOTHING), metrics_digest=metrics_digest)
        else:
            response = respond(translate(away).problem)
        await response(scope, receive, send)

    return app


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    def __init__(self, door: _Door) -> None:
        super().__init__(
            uvicorn.Config(
                door,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._door = door

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().shutdown(sockets)
        finally:
            self._door.closed.set()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def services_of(relay: Relay) -> Services:
    """What the routes work with, from what was opened."""
    settings, stores = relay.settings, relay.stores
    lane_log = LaneLog(relay.redis)
    return Services(
        admin_digest=digest_of(settings.admin_token),
        allow=settings.allow_networks,
        retention_s=settings.retention_s,
        attempt_timeout_s=settings.attempt_timeout_s,
        vault=stores.vault,
        brands=stores.brands,
        brand_states=BrandStates(relay.redis, stores.polls, stores.quota),
        subscriptions=stores.subscriptions,
        life=relay.life,
        api_keys=ApiKeyStore(relay.redis, relay.scripts),
        audit=AuditStore(relay.redis),
        idempotency=IdempotencyStore(relay.scripts, stores.vault),
        deliveries=stores.deliveries,
        lane_log=lane_log,
        waiting=Waiting(lane_log),
        log=stores.log,
        snapshots=stores.snapshots,
        polls=stores.polls,
        counters=stores.counters,
        maintenance=stores.maintenance,
        replays=relay.replays,
        replay_store=stores.replays,
        past=relay.past,
        sessions=SessionStore(relay.redis),
        activity=Activity(relay.redis),
        endpoints=relay.endpoints,
        sender=relay.sender,
        ignorer=relay.ignorer,
        forgetter=Forgetter(
            snapshots=stores.snapshots,
            committer=relay.committer,
            rewriting=Rewriting(relay.redis, relay.scripts),
            log=stores.log,
            deliveries=stores.deliveries,
            subscriptions=stores.subscriptions,
            maintenance=stores.maintenance,
            new_name=new_slot,
        ),
        venues_of=relay.venues_of,
        lookup=SystemLookup(),
        now_ms=relay.chances.wall_ms,
        random_bytes=secrets.token_bytes,
        wake=relay.wake,
        scraper=Scraper(
            figures=FigureStore(relay.redis, relay.scripts, subscriptions=stores.subscriptions, brands=stores.brands),
            polls=stores.polls,
            quota=stores.quota,
            presence=stores.presence,
            installation=relay.installation.look,
            now_ms=relay.chances.wall_ms,
        ),
        metrics_digest=None if settings.metrics_token is None else digest_of(settings.metrics_token),
    )
