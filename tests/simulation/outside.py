"""What is outside: a scripted Clopos, scripted partners, and the faults that befall everybody. All of it seeded."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

from relay.clopos.transport import Answer, Request
from relay.core.errors import NoAnswerError
from relay.core.outcomes import Failure, StatusClass, classify
from relay.egress.sender import Attempt, OutboundRequest
from relay.sandbox.app import create_app
from relay.sandbox.serve import new_world
from relay.sandbox.world import World

if TYPE_CHECKING:
    from tests.simulation.clock import VirtualLoop
    from tests.simulation.journal import Journal
    from tests.simulation.process import Process

TEMPERS = ("steady", "flaky", "slow", "sulky")
"""A partner that answers; that fails now and then; that is slow and times out; that is away for long stretches."""


@dataclass
class Received:
    """One request that reached a partner, which was busy with it until ``until_s``; ``status`` 0: it broke off.

    What was begun long before it arrived was held up: its process was frozen, and its lease may have ended meanwhile.
    """

    begun_s: float
    at_s: float
    until_s: float
    subscription: str
    id: str
    number: int
    body: bytes
    headers: dict[str, str]
    status: int
    process: str

    @property
    def event(self) -> dict[str, Any]:
        """The body, parsed."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass
class Faults:
    """What goes wrong, how often; nothing once ``over``."""

    random: Random
    journal: Journal
    over: bool = False
    killed: list[str] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)

    def of_redis(self) -> str | None:
        """What befalls one question to Redis: it never arrives, or its answer does not, or both are late."""
        if self.over:
            return None
        draw = self.random.random()
        for kind, share in (("before", 0.004), ("after", 0.004), ("part", 0.002), ("slow", 0.01), ("late", 0.001)):
            if draw < share:
                return self.note(kind)
            draw -= share
        return None

    def clock_skew_s(self) -> float:
        """How far a new process' wall clock is off; what counts is Redis' clock."""
        if self.over or self.random.random() < 0.8:
            return 0.0
        self.note("skew")
        return self.random.choice([86_400.0, -3_600.0, 600.0, -0.7])

    def strike_process(self, process: Process) -> None:
        """Kill a process, or freeze it, now and then, at whatever point it has just reached."""
        if self.over or process.name.startswith("api"):
            return
        draw = self.random.random()
        if draw < 0.0008:
            self.note(f"kill {process.name}", "kill")
            self.killed.append(process.name)
            process.kill()
        elif draw < 0.0012:
            self.note(f"freeze {process.name}", "freeze")
            process.awake.clear()
            asyncio.get_running_loop().call_later(5 + self.random.random() * 60, process.awake.set)

    def note(self, what: str, kind: str | None = None) -> str:
        """Write down that a fault of a kind has struck; returns its name."""
        kind = kind or what
        self.journal.note(f"fault {what}")
        self.struck[kind] = self.struck.get(kind, 0) + 1
        return kind


class Outside:
    """The world around the relay."""

    def __init__(self, seed: int, loop: VirtualLoop, journal: Journal) -> None:
        self.seed = seed
        self.loop = loop
        self.journal = journal
        self.random = Random(f"outside/{seed}")
        self.faults = Faults(Random(f"faults/{seed}"), journal)
        self.world: World = new_world(clock=loop.wall_s, seed=seed)
        self.app = create_app(self.world, clock=loop.wall_s, seed=seed)
        self.initial = {
            (brand.name, venue_id, f"order/{order.id}"): {"PENDING": "pending", "RECEIVED": "accepted"}.get(
                order.status, {"IGNORE": "cancelled"}.get(order.status, order.status.lower())
            )
            for brand in self.world.brands.values()
            for venue_id in brand.venues
            for order in brand.orders.of_venue(venue_id)
        }
        self.received: list[Received] = []
        self.tempers: dict[str, str] = {}
        self.away_until_s: dict[str, float] = {}

    def transport(self, process: Process) -> SimulatedTransport:
        """How a process reaches Clopos."""
        return SimulatedTransport(self, process)

    def sender(self, process: Process) -> SimulatedSender:
        """How a process reaches partners."""
        return SimulatedSender(self, process)

    def spoil_clopos(self) -> None:
        """Let Clopos misbehave for its next requests."""
        kind = self.random.choice(
            ["500", "503", "502-html", "html-200", "success-false", "empty-list", "cut-json", "429", "slow", "401"]
        )
        options: dict[str, Any] = {"times": self.random.randrange(1, 5)}
        if kind == "429":
            options["reset"] = self.random.choice(["2", "5", None])
            options["times"] = 1
        if kind == "slow":
            options["delay_s"] = 6
        self.faults.note(f"clopos {kind}", "clopos")
        if kind != "401":
            self.app.state.faults.add(kind, **options)

    def calm(self) -> None:
        """End every fault."""
        self.faults.over = True
        self.app.state.faults.remove()
        self.away_until_s.clear()
        self.tempers = dict.fromkeys(self.tempers, "steady")


class SimulatedTransport:
    """Requests to the stand-in, in memory."""

    def __init__(self, outside: Outside, process: Process) -> None:
        self._outside = outside
        self._process = process
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=outside.app, raise_app_exceptions=True), timeout=None
        )

    async def exchange(self, request: Request, *, deadline_s: float) -> Answer:
        """As ``Transport.exchange``."""
        process, random = self._process, self._outside.faults.random
        await process.step()
        lost = None if self._outside.faults.over else random.random()
        await asyncio.sleep(0.02 + random.random() * 0.2)
        if lost is not None and lost < 0.01:
            raise NoAnswerError("The simulation lost the request.", reason="connect")
        try:
            async with asyncio.timeout(deadline_s):
                response = await self._http.request(
                    request.method,
                    request.url,
                    params=list(request.params) or None,
                    headers=dict(request.headers),
                    json=request.json,
                )
        except TimeoutError:
            raise NoAnswerError("Clopos did not answer in time.", reason="timeout") from None
        except (ConnectionError, httpx.HTTPError):
            raise NoAnswerError("The connection was reset.", reason="reset") from None
        await process.step()
        if lost is not None and lost > 0.99:
            raise NoAnswerError("The simulation lost the answer.", reason="reset")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, response.content)


class SimulatedSender:
    """Requests to partners, written into their journal."""

    def __init__(self, outside: Outside, process: Process) -> None:
        self._outside = outside
        self._process = process

    async def send(self, request: OutboundRequest) -> Attempt:
        """As ``Sender.send``."""
        outside, process = self._outside, self._process
        loop = outside.loop
        started_s = loop.time()
        await process.step()
        subscription = request.headers["relay-subscription"]
        random = outside.random
        status, wait_s, lost = self._mood(subscription, random)
        await asyncio.sleep(0.01 + random.random() * 0.1)
        if process.dead:
            raise asyncio.CancelledError
        received = Received(
            started_s,
            loop.time(),
            loop.time() + min(wait_s, request.timeout_s),
            subscription,
            request.headers["webhook-id"],
            int(request.headers["relay-attempt"]),
            request.body,
            dict(request.headers),
            0 if lost or wait_s > request.timeout_s else status,
            process.name,
        )
        outside.received.append(received)
        outside.journal.note(f"{process.name} > {subscription} {received.id} {received.number} {received.status}")
        await asyncio.sleep(min(wait_s, request.timeout_s))
        await process.step()
        duration_ms = int((loop.time() - started_s) * 1000)
        if wait_s > request.timeout_s:
            return Attempt(None, Failure.TIMEOUT, "timeout: no answer", StatusClass.TIMEOUT, duration_ms)
        if lost:
            return Attempt(None, Failure.RESET, "reset: the connection ended", StatusClass.NETWORK, duration_ms)
        error = None if status < 300 else f"status: answered {status}"
        return Attempt(status, None, error, classify(status).status_class, duration_ms, "ok")

    def _mood(self, subscription: str, random: Random) -> tuple[int, float, bool]:
        """Status, seconds until it, and whether the connection breaks instead (after the request was read)."""
        temper = self._outside.tempers.get(subscription, "steady")
        now_s = self._outside.loop.time()
        match temper:
            case "flaky":
                draw = random.random()
                return (500 if draw < 0.3 else 200), random.random() * 0.3, 0.3 <= draw < 0.4
            case "slow":
                return 200, random.choice([0.1, 1.0, 8.0]), False
            case "sulky":
                if self._outside.away_until_s.get(subscription, 0) > now_s:
                    return 503, 0.05, False
                if random.random() < 0.05:
                    self._outside.away_until_s[subscription] = now_s + 20 + random.random() * 60
                return 200, 0.05, False
            case _:
                return 200, random.random() * 0.05, False
