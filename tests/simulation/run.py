"""One run: a brand's evening, partners of every temper, workers that die; then quiet, and the oracle's verdict."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TextIO

from relay.core.addresses import parse_networks
from relay.core.signing import new_secret
from relay.pipeline import look, reconcile
from relay.settings import Settings
from relay.store import keys
from relay.store.brands import Brand
from relay.store.documents import Write
from relay.store.snapshots import Scope
from relay.store.subscriptions import Secret, ShapeSince, Subscription
from tests.simulation.bugs import BUGS, NO_BUG, Bug
from tests.simulation.clock import VirtualLoop
from tests.simulation.journal import Journal
from tests.simulation.oracle import STATUS, Evidence, Verdict, judge
from tests.simulation.outside import TEMPERS, Outside
from tests.simulation.process import Process, waiting_at
from tests.simulation.redis_double import Server

BRAND = "openapitest"
SCHEDULE = (1.0, 3.0, 10.0, 20.0, 30.0, 60.0)
ACTIVE_S = 90.0
QUIET_S = 1500.0
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()


@dataclass
class Outcome:
    """What came of one seed."""

    seed: int
    verdict: Verdict
    received: int
    events: int
    struck: dict[str, int]
    virtual_s: float
    real_s: float
    digest: str
    bug: str = ""

    def line(self) -> str:
        """One line for a table."""
        state = "ok" if not self.verdict.problems else "FAILED"
        faults = " ".join(f"{kind}:{count}" for kind, count in sorted(self.struck.items()))
        return (
            f"seed {self.seed:>6}  {state:<6} events {self.events:>4}  requests {self.received:>5}  "
            f"virtual {self.virtual_s:6.0f} s  real {self.real_s:5.2f} s  journal {self.digest}  {faults}"
        )


def simulate(seed: int, socket: str, *, bug: str = "", out: TextIO | None = None) -> Outcome:
    """Run one seed on an empty Redis.

    Args:
        seed: the same seed is the same run.
        socket: of a Redis of its own.
        bug: one of ``BUGS``, to be planted; "" for none.
        out: shows the journal, and the relay's log.
    """
    started_s = time.perf_counter()
    planted = BUGS[bug] if bug else NO_BUG
    # What is collected when must not depend on what ran before.
    gc.collect()
    gc.disable()
    try:
        with VirtualLoop() as loop, planted.plant(), _habits(Random(f"habits/{seed}")):
            run = _Run(seed, loop, socket, Journal(loop, out=out), planted)
            outcome: Outcome = loop.run_until_complete(run.go())
            loop.run_until_complete(loop.shutdown_asyncgens())
            run.server.close()
    finally:
        gc.enable()
    outcome.real_s = time.perf_counter() - started_s
    outcome.bug = bug
    return outcome


@contextlib.contextmanager
def _habits(random: Random) -> Iterator[None]:
    """Read in small pages and look back a little only, now and then: what one page never shows, several may."""
    chosen: list[tuple[Any, str, Any]] = [
        (look, "ROWS", random.choice([4, 10, 50])),
        (reconcile, "ROWS", random.choice([20, 200])),
    ]
    overlap = random.choice([timedelta(seconds=5), look.OVERLAP])
    chosen += [(look, "OVERLAP", overlap), (reconcile, "OVERLAP", overlap)]
    before = [(module, name, getattr(module, name)) for module, name, _ in chosen]
    for module, name, value in chosen:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


class _Run:
    def __init__(self, seed: int, loop: VirtualLoop, socket: str, journal: Journal, bug: Bug) -> None:
        self.seed = seed
        self.loop = loop
        self.bug = bug
        self.journal = journal
        self.redis_ahead_s = 0.0
        self.server = Server(socket, now_us=self._redis_us, journal=journal)
        self.direct: Any = self.server.direct
        self.random = Random(f"run/{seed}")
        self.outside = Outside(seed, loop, journal)
        self.secrets: dict[str, str] = {}
        self.rollbacks = 0
        self.may_roll_back = seed % 5 == 4
        self.may_jump = seed % 5 == 2
        self.calm = seed % 10 == 0
        self.settings = Settings(
            redis_url=f"unix://{socket}",
            secret_keys=(KEY,),
            data_dir=Path("no such directory"),
            allow_networks=parse_networks("127.0.0.0/8"),
            clopos_url="http://127.0.0.1:1/open-api/v2",
            poll_interval_s=2.0,
            reconcile_interval_s=60.0,
            attempt_timeout_s=5.0,
            retry_schedule=SCHEDULE,
        )
        self.processes: list[tuple[Process, tuple[str, ...]]] = []

    def _redis_us(self) -> int:
        """Redis' clock."""
        return int((self.loop.wall_s() + self.redis_ahead_s) * 1_000_000)

    async def go(self) -> Outcome:
        self.outside.faults.over = True
        api = self._process("api")
        await self._configure(api)
        for name, kinds in (
            ("a", ("poll",)),
            ("b", ("poll",)),
            ("c", ("deliver",)),
            ("d", ("deliver",)),
            ("e", ("maintain",)),
        ):
            process = self._process(name)
            process.start(kinds)
            self.processes.append((process, kinds))
        keeper = self.loop.create_task(self._restart_the_dead())
        await self._until(lambda: self._first_look_done(api), 60)
        self.outside.faults.over = self.calm
        await self._evening(api)
        self.outside.calm()
        for process, _ in self.processes:
            process.awake.set()
        settled = await self._until(lambda: self._quiet(api), QUIET_S)
        struck = self.outside.faults.struck
        verdict = judge(
            self.outside,
            Evidence(
                secrets=self.secrets,
                attempts_at_most=len(SCHEDULE) + 1,
                scripts=self.journal.scripts,
                delivered=self._delivered(),
                rolled_back=self.rollbacks > 0,
                jumped="jump" in struck,
                calm=self.calm,
            ),
        )
        counts = await api.relay.stores.deliveries.counts(list(self.secrets))
        for subscription, row in counts.items():
            if row.unaccounted:
                verdict.say("I1", f"{subscription}: {row}")
            if row.pending:
                verdict.say("I7", f"{subscription} still has {row.pending} pending after {QUIET_S} s of quiet")
        if not settled:
            verdict.say("I10", f"not quiet after {QUIET_S} s: {await self._differences(api)}")
            verdict.problems += self._lanes()
        events = await api.relay.stores.log.count()
        keeper.cancel()
        for process, _ in self.processes:
            process.kill()
            await process.bury()
        api.kill()
        await api.bury()
        return Outcome(
            self.seed,
            verdict,
            len(self.outside.received),
            events,
            self.outside.faults.struck,
            self.loop.time(),
            0.0,
            self.journal.digest,
        )

    def _process(self, name: str) -> Process:
        return Process(
            name, loop=self.loop, settings=self.settings, outside=self.outside, server=self.server, bug=self.bug
        )

    def _delivered(self) -> dict[str, set[str]]:
        """Ids of the events that Redis holds for delivered."""
        positions = {position: name.decode() for name, position in self.direct.hgetall(keys.LOG_IDS).items()}
        return {
            subscription: {
                positions[position]
                for position, record in self.direct.hgetall(f"{keys.lane(subscription)}:dlv").items()
                if record.startswith(b"d|") and position in positions
            }
            for subscription in self.secrets
        }

    async def _configure(self, api: Process) -> None:
        stores = api.relay.stores
        for index, temper in enumerate(TEMPERS):
            secret = new_secret(bytes([index]) * 32)
            name = f"sub_{temper}"
            self.secrets[name] = secret
            self.outside.tempers[name] = temper
            await stores.subscriptions.create(
                name,
                Write(
                    Subscription(
                        id=name,
                        url=f"https://{temper}.example/hooks",
                        event_types=("*",),
                        secrets=(Secret(sealed=stores.vault.seal(secret)),),
                        shapes=(ShapeSince(position=0),),
                        created_at="2026-02-02T00:00:00.000Z",
                        updated_at="2026-02-02T00:00:00.000Z",
                    ),
                    gate="",
                ),
            )
        await stores.brands.create(
            BRAND,
            Write(
                Brand(
                    brand=BRAND,
                    client_id="demo-client",
                    client_secret=stores.vault.seal("demo-secret"),
                    integrator_id="demo-integrator",
                    created_at="2026-02-02T00:00:00.000Z",
                    updated_at="2026-02-02T00:00:00.000Z",
                    generation="1",
                )
            ),
        )
        await stores.polls.ensure_due([BRAND])

    async def _restart_the_dead(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for index, (process, kinds) in enumerate(self.processes):
                if process.dead:
                    await process.bury()
                    await asyncio.sleep(self.random.random() * 5)
                    born = self._process(process.name)
                    born.start(kinds)
                    self.processes[index] = (born, kinds)

    async def _evening(self, api: Process) -> None:
        """What happens at the restaurant, and to everybody."""
        world, random = self.outside.world, self.random
        until = self.loop.time() + ACTIVE_S
        open_orders: list[Any] = []
        while self.loop.time() < until:
            await asyncio.sleep(random.expovariate(2.0))
            draw = random.random()
            if draw < 0.35 or not open_orders:
                open_orders.append(world.place(BRAND, random.choice([1, 2])))
            elif draw < 0.80:
                self._go_on(random.choice(open_orders), random)
            elif draw < 0.85:
                station = random.randrange(1, 4)
                world.put_station(BRAND, 1, station, status=random.choice([0, 1]))
            elif draw < 0.90 and not self.calm:
                self.outside.spoil_clopos()
            elif draw < 0.93:
                order = random.choice(open_orders)
                api.run(self._ignore(api, order.venue_id, order.id))
            elif draw < 0.95 and self.may_roll_back:
                self._take_redis_back()
            elif draw < 0.95 and self.may_jump:
                self._let_redis_clock_jump()

    def _go_on(self, order: Any, random: Random) -> None:
        world = self.outside.world
        match order.status:
            case "PENDING":
                if random.random() < 0.15:
                    world.ignore(order)
                else:
                    world.accept(order)
            case "RECEIVED":
                if random.random() < 0.2:
                    world.edit(order, merge={"meta": {"comment": f"ring {random.randrange(100)} times"}})
                elif random.random() < 0.1:
                    world.set_status(order, "READY")
                else:
                    world.deliver(order)
            case "DELIVERED" | "READY" if random.random() < 0.1:
                world.set_status(order, "RECEIVED")

    async def _ignore(self, api: Process, venue_id: int, order_id: int) -> None:
        brand = await api.relay.stores.brands.get(BRAND)
        if brand is not None:
            # A refusal is the caller's to see; what became of the order is the oracle's.
            with contextlib.suppress(Exception):
                await api.relay.ignorer.ignore(brand, order_id, venue_id=venue_id)

    def _take_redis_back(self) -> None:
        """Redis loses its last moments, as after a power cut: what is there now comes back within a second."""
        kept = self.server.keep()

        def restore() -> None:
            self.rollbacks += 1
            self.outside.faults.note("rollback")
            self.server.restore(kept)

        self.loop.call_later(self.random.random(), restore)

    def _let_redis_clock_jump(self) -> None:
        self.outside.faults.note("jump")
        self.redis_ahead_s += self.random.choice([-15.0, -1.0, 5.0, 25.0, 90.0])

    async def _first_look_done(self, api: Process) -> bool:
        found = await api.relay.stores.polls.found(BRAND, generation="1")
        return bool(found.venues) and all(venue.orders.first_ms for venue in found.venues.values())

    async def _quiet(self, api: Process) -> bool:
        counts = await api.relay.stores.deliveries.counts(list(self.secrets))
        return not any(row.pending for row in counts.values()) and not await self._differences(api)

    async def _differences(self, api: Process) -> list[str]:
        """Orders of which the relay knows another status than Clopos."""
        found: list[str] = []
        orders = self.outside.world.brand(BRAND).orders
        for venue_id in (1, 2):
            known = await api.relay.stores.snapshots.all_objects(Scope(BRAND, venue_id, "orders"))
            for order in orders.of_venue(venue_id):
                status = STATUS.get(order.status, order.status.lower())
                if order.id not in known or known[order.id].object["status"] != status:
                    found.append(f"{venue_id}/{order.id} is {status}")
        return found

    def _lanes(self) -> list[str]:
        """What Redis holds of each lane: where to look when one does not move."""
        lines = [f"{process.name}: {process.state()}" for process, _ in self.processes]
        lines += sorted(waiting_at(task)[:400] for task in asyncio.all_tasks())
        lines += [f"{key} {self.direct.zrange(key, 0, -1, withscores=True)}" for key in ("relay:polls:due",)]
        for key in (
            self.direct.keys("relay:poll:*") + self.direct.keys("relay:brand:*") + self.direct.keys("relay:quota:*")
        ):
            lines.append(
                f"{key} {self.direct.hgetall(key) if self.direct.type(key) == b'hash' else self.direct.type(key)}"[:900]
            )
        lines += [f"due {self.direct.zrange('relay:lanes:due', 0, -1, withscores=True)} now {self._redis_us() // 1000}"]
        for subscription in self.secrets:
            stem = f"relay:lane:{subscription}"
            queues = {key.decode(): self.direct.lrange(key, 0, -1) for key in self.direct.keys(f"{stem}:q:*")}
            heads = {name: self.direct.zrange(f"{stem}:{name}", 0, -1, withscores=True) for name in ("ready", "retry")}
            lines.append(f"{subscription} {self.direct.hgetall(stem)} {heads} queues {queues}")
        return lines

    async def _until(self, condition: Any, limit_s: float) -> bool:
        until = self.loop.time() + limit_s
        while self.loop.time() < until:
            if await condition():
                return True
            await asyncio.sleep(2.0)
        return False
