"""A whole installation of real processes on a Redis, Clopos' stand-in with traffic, a partner with a journal; no test.

The oracle judges by what the partner received and what truly happened at the stand-in, never by what the relay says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import httpx2 as httpx
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from standardwebhooks import Webhook

from relay.sandbox.documented import BRAND, CLIENT_ID, CLIENT_SECRET, INTEGRATOR_ID
from relay.sandbox.model import DELIVERED, IGNORE, PENDING, RECEIVED, Order
from relay.sandbox.serve import Running, running
from relay.supervise.processes import dies_with_parent
from tests.e2e.machines import free_port
from tests.e2e.rigs import until
from tests.e2e.worker_rig import KEY
from tests.integration.relays import SECRET, Call, Partner, ok, partner

ADMIN = "admin-token-of-the-tests-0123456789"
STATUS = {PENDING: "pending", RECEIVED: "accepted", IGNORE: "cancelled", DELIVERED: "delivered"}
ROLES: Mapping[str, tuple[str, ...]] = {
    "api": ("api",),
    "scheduler": ("scheduler",),
    "poll": ("worker", "--queues", "poll"),
    "deliver": ("worker", "--queues", "deliver"),
    "maintain": ("worker", "--queues", "maintain"),
}
SETTINGS: Mapping[str, str] = {
    "RELAY_SECRET_KEYS": KEY,
    "RELAY_ADMIN_TOKEN": ADMIN,
    "RELAY_ALLOW_NETWORKS": "127.0.0.0/8",
    "RELAY_LOG_FORMAT": "json",
    "RELAY_QUOTA_PER_MINUTE": "6000",
    "RELAY_POLL_INTERVAL": "100ms",
    "RELAY_RECONCILE_INTERVAL": "5s",
    "RELAY_ATTEMPT_TIMEOUT": "2s",
    "RELAY_RETRY_SCHEDULE": "500ms,1s,2s,3s,5s,5s,10s,10s,10s,10s,10s,10s",
}
HEALED_S = 60.0
"""How long after a fault's end all must be well again (I7)."""


@dataclass
class Process:
    """One process of the relay."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        self.popen.send_signal(number)

    async def ended(self, *, timeout_s: float = 40.0) -> int:
        """Wait for its end; its exit code."""
        return await asyncio.to_thread(self.popen.wait, timeout_s)

    async def kill(self) -> None:
        """End it as a power cut would."""
        self.popen.kill()
        await self.ended()


@dataclass
class Installation:
    """All of it."""

    redis_url: str
    folder: Path
    clopos: Running
    partner: Partner
    settings: dict[str, str]
    port: int = field(default_factory=free_port)
    processes: dict[str, Process] = field(default_factory=dict)
    subscription: str = ""
    _logs: int = 0

    @property
    def url(self) -> str:
        """Of the API."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, *names: str, unread: int | None = None, environ: Mapping[str, str] | None = None) -> list[Process]:
        """Start processes: a role, or ``role-2`` for another one of the same.

        Args:
            names: of them.
            unread: where they write their log to, in place of a file.
            environ: further settings, and whatever else stands in the environment of a process.
        """
        return [self._start(name, environ or {}, unread) for name in names]

    def _start(self, name: str, environ: Mapping[str, str], unread: int | None) -> Process:
        self._logs += 1
        log = self.folder / f"log-{self._logs:03d}-{name}"
        data_dir = self.folder / "data"
        data_dir.mkdir(exist_ok=True)
        command = [sys.executable, "-P", "-m", "relay.cli", *ROLES[name.partition("-")[0]]]
        port = self.port if name == "api" else free_port()
        with log.open("wb") as out:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=unread or out,
                stderr=unread or out,
                env={
                    "PATH": os.environ["PATH"],
                    "RELAY_REDIS_URL": self.redis_url,
                    "RELAY_DATA_DIR": str(data_dir),
                    "RELAY_PORT": str(port),
                    "RELAY_CLOPOS_URL": self.clopos.base_url,
                    **SETTINGS,
                    **self.settings,
                    **environ,
                },
                preexec_fn=dies_with_parent(signal.SIGKILL),  # noqa: PLW1509  no threads that hold locks are running
            )
        process = self.processes[name] = Process(name, popen, log, port)
        return process

    async def at_work(self, process: Process, *, timeout_s: float = HEALED_S) -> None:
        """Wait until a process that was started takes part: it beats, or answers."""

        async def beats() -> bool:
            assert process.popen.poll() is None, self.tail()
            return any((self.folder / "data" / "run").glob(f"*-{process.popen.pid}.beat"))

        async def answers() -> bool:
            assert process.popen.poll() is None, self.tail()
            try:
                async with httpx.AsyncClient(trust_env=False) as client:
                    ready = await client.get(f"http://127.0.0.1:{process.port}/readyz")
                    return ready.status_code == httpx.codes.OK
            except httpx.HTTPError:
                return False

        await until(answers if process.name.startswith("api") else beats, timeout_s=timeout_s)

    async def stop(self, *names: str) -> list[int]:
        """Ask processes to stop, and wait for it; their exit codes. They are this installation's no more."""
        for name in names:
            self.processes[name].send(signal.SIGTERM)
        codes = [await self.processes[name].ended() for name in names]
        for name in names:
            del self.processes[name]
        return codes

    async def replace(self, name: str, *, unread: int | None = None, environ: Mapping[str, str] | None = None) -> int:
        """Start another process in the place of one, which is stopped once it is at work; the exit code of that one."""
        (made,) = self.start(f"{name}-new", unread=unread, environ=environ)
        await self.at_work(made)
        if name == "api":
            self.port = made.port
        (code,) = await self.stop(name)
        self.processes[name] = self.processes.pop(made.name)
        return code

    @contextlib.asynccontextmanager
    async def api(self, *, timeout_s: float = 10.0) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the API."""
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=timeout_s, trust_env=False) as client:
            yield client

    async def ready(self) -> None:
        """Wait for the API."""

        async def answers() -> bool:
            try:
                async with self.api(timeout_s=2.0) as client:
                    return (await client.get("/readyz")).status_code == httpx.codes.OK
            except httpx.HTTPError:
                return False

        await until(answers, timeout_s=HEALED_S)

    async def register(self, **subscription: Any) -> str:
        """Make the brand and the partner's subscription; the first look is over then."""
        async with self.api() as client:
            made = await client.post(
                "/v1/subscriptions",
                json={
                    "name": "courier",
                    "url": self.partner.url,
                    "event_types": ["order.*"],
                    "secret": SECRET,
                    **subscription,
                },
            )
            assert made.status_code == httpx.codes.CREATED, made.text
            brand = {
                "brand": BRAND,
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "integrator_id": INTEGRATOR_ID,
                "venues": [1],
                "poll": {"orders": True, "stations": False, "venues": False},
            }
            answer = await client.post("/v1/brands", json=brand)
            assert answer.status_code == httpx.codes.CREATED, answer.text
            self.subscription = made.json()["id"]

            async def looked() -> bool:
                state = (await client.get(f"/v1/brands/{BRAND}")).json()["state"]
                return bool(state["status"] == "ok")

            await until(looked, timeout_s=HEALED_S)
        return self.subscription

    def logs(self) -> list[dict[str, Any]]:
        """Every line that any process has logged."""
        lines = [line for path in sorted(self.folder.glob("log-*")) for line in path.read_text().splitlines()]
        return [json.loads(line) if line.startswith("{") else {"event": line} for line in lines]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines of one name."""
        return [line for line in self.logs() if line["event"] == event]

    async def close(self) -> None:
        """End every process."""
        for process in self.processes.values():
            process.popen.kill()
        for process in self.processes.values():
            await process.ended()

    # ---- the oracle ----

    def calls(self, since: int = 0) -> list[Call]:
        """Requests of the partner's subscription."""
        return [call for call in self.partner.calls[since:] if call.headers["relay-subscription"] == self.subscription]

    def truth(self) -> dict[str, list[str]]:
        """Every status that each order of traffic truly had, by subject."""
        found: dict[str, list[str]] = defaultdict(list)
        for change in self.clopos.world.history:
            if change.what.startswith("order."):
                found[f"order/{change.subject_id}"].append(STATUS[str(change.status)])
        return found

    def told(self) -> dict[str, str]:
        """The last status that the partner knows of each order."""
        newest: dict[str, dict[str, Any]] = {}
        for call in self.calls():
            event = call.event
            if event["sequence"] >= newest.get(event["subject"], event)["sequence"]:
                newest[event["subject"]] = event
        return {subject: event["data"]["order"]["status"] for subject, event in newest.items()}

    def behind(self) -> dict[str, tuple[str, str | None]]:
        """Orders of which the partner does not know the truth: subject → (truth, told)."""
        told = self.told()
        truth = {subject: statuses[-1] for subject, statuses in self.truth().items()}
        return {subject: (last, told.get(subject)) for subject, last in truth.items() if told.get(subject) != last}

    async def quiet(self, *, timeout_s: float = HEALED_S) -> float:
        """Wait until the partner knows the truth of every order (I10) and nothing is pending; seconds that took."""
        started_s = time.monotonic()

        async def all_told() -> bool:
            return not self.behind()

        try:
            await until(all_told, timeout_s=timeout_s)
        except TimeoutError:
            raise AssertionError(f"not told: {dict(list(self.behind().items())[:5])}\n{self.tail()}") from None
        took_s = time.monotonic() - started_s

        async def ledger_closes() -> bool:
            try:
                async with self.api() as client:
                    answer = await client.get("/v1/ledger")
                rows = [row for row in answer.json()["subscriptions"] if row["subscription"] == self.subscription]
                return all(row["pending"] == 0 and row["unaccounted"] == 0 for row in rows)
            except (httpx.HTTPError, ValueError, KeyError):
                return False

        await until(ledger_closes, timeout_s=timeout_s)
        return took_s

    def tail(self, count: int = 25) -> str:
        """The last lines of every log, for a failed test."""
        parts = []
        for path in sorted(self.folder.glob("log-*")):
            parts += [f"--- {path.name}", *path.read_text().splitlines()[-count:]]
        return "\n".join(parts)

    def judge(self, *, went_back: bool = False, clocks_differ: bool = False, since: int = 0) -> Figures:
        """Hold what the partner received against I2, I3 and I9.

        Args:
            went_back: Redis lost a second: then it is ``data`` that is the same, and order is by sequence only.
            clocks_differ: signatures are of a time that nobody here shares; they verify all the same.
            since: calls before that one were judged before.
        """
        bodies: dict[str, Any] = {}
        firsts: dict[str, list[int]] = defaultdict(list)
        seen: set[str] = set()
        webhook = Webhook(SECRET)
        calls = self.calls(since)
        for call in calls:
            same: Any = call.event["data"] if went_back else call.body
            assert bodies.setdefault(call.id, same) == same, f"I2: {call.id} came with two bodies"
            if call.id not in seen:
                seen.add(call.id)
                firsts[call.event["subject"]].append(call.event["sequence"])
        for call in calls[::10]:
            if clocks_differ:
                signed_at = datetime.fromtimestamp(int(call.headers["webhook-timestamp"]), UTC)
                signed = call.headers["webhook-signature"].split()  # two of them during a rotation
                assert webhook.sign(call.id, signed_at, call.body.decode()) in signed
            else:
                webhook.verify(call.body, call.headers)
        if not went_back:
            for subject, sequences in firsts.items():
                assert all(before < after for before, after in pairwise(sequences)), f"I3: {subject}: {sequences}"
        attempts = {(call.id, call.headers["relay-attempt"]) for call in calls}
        return Figures(len(calls), len({call.id for call in calls}), len(attempts))


@dataclass(frozen=True)
class Figures:
    """What the partner received."""

    requests: int
    events: int
    attempts: int

    @property
    def repeated(self) -> int:
        """Requests that brought what had been brought before."""
        return self.requests - self.events

    @property
    def unrecorded(self) -> int:
        """Requests of attempts that nobody recorded, so that the same attempt was made again."""
        return self.requests - self.attempts


class Traffic:
    """Orders that are placed, accepted and delivered, until it is stopped; each change is noted with its time."""

    def __init__(self, clopos: Running, *, per_s: float, most_open: int = 4, seed: int = 7) -> None:
        self._world = clopos.world
        self._pause_s = 1 / per_s
        self._most_open = most_open
        self._random = random.Random(seed)
        self._open: list[Order] = []
        self.changed_s: dict[tuple[str, str], float] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._go())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _go(self) -> None:
        while True:
            self.step()
            await asyncio.sleep(self._pause_s)

    def step(self) -> None:
        """Have one thing happen."""
        if len(self._open) < self._most_open or self._random.random() < 0.4:
            order = self._world.place(BRAND, 1)
            self._open.append(order)
        else:
            order = self._random.choice(self._open)
            if order.status == PENDING:
                self._world.accept(order)
            else:
                self._world.deliver(order)
                self._open.remove(order)
        self.changed_s[f"order/{order.id}", STATUS[order.status]] = time.monotonic()

    def delays_s(self, calls: Sequence[Call]) -> list[float]:
        """For each change that arrived: seconds from Clopos to the partner's first request."""
        arrived: dict[tuple[str, str], float] = {}
        for call in calls:
            event = call.event
            arrived.setdefault((event["subject"], event["data"]["order"]["status"]), call.at)
        return sorted(at - self.changed_s[key] for key, at in arrived.items() if key in self.changed_s)


@contextlib.asynccontextmanager
async def installation(
    redis_url: str,
    folder: Path,
    *roles: str,
    answer: Callable[[Call], Any] = ok,
    subscription: Mapping[str, Any] | None = None,
    **settings: str,
) -> AsyncIterator[Installation]:
    """An installation that is up, with a brand that was looked at and a partner who subscribes.

    Args:
        redis_url: of an empty Redis.
        folder: for logs and the data directory.
        roles: which processes to start; one of each by default.
        answer: what the partner says.
        subscription: further fields of it.
        settings: further settings of the processes.
    """
    async with running() as clopos, partner(answer) as endpoint:
        clopos.world.switches.change({"quota_per_minute": 6000})
        made = Installation(redis_url, folder, clopos, endpoint, settings)
        try:
            made.start(*(roles or ROLES))
            await made.ready()
            await made.register(**(subscription or {}))
            yield made
        finally:
            await made.close()


def open_client(url: str) -> Any:
    """A client of Redis for the test itself: bytes, no retries."""
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0))
