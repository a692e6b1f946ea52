"""Does it hold, for as long as you like, whatever is killed?  Real processes, a real Redis, and no mercy.

    python -m bench.soak [--minutes 10] [--seed 1] [--json FILE]

A brand of forty venues whose orders come and go at the stand-in, twenty partners of every temper, and a whole
`relay up` on a Redis of its own, of which every few seconds something is killed with -9: the API, the scheduler, a
worker of any kind, the supervisor, Redis; Redis' append-only file loses up to its last second now and then. Then
partners answer again, and everybody must know the truth. Prints what was done, and what came of it; the exit code is 1
if anything is not zero that is promised to be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2 as httpx

from bench.soak_partners import TEMPERS, Partners
from bench.soak_processes import Redis, alive, children_of, resident_mib
from bench.soak_verdict import STATUS, Happened, Verdict, judge, sparkline
from relay.sandbox.documented import BRAND, CLIENT_ID, CLIENT_SECRET, INTEGRATOR_ID
from relay.sandbox.model import DELIVERED, PENDING, RECEIVED, Order, Venue
from relay.sandbox.serve import new_world, running
from relay.sandbox.world import World
from relay.supervise.processes import dies_with_parent

VENUES = 40
TOKEN = "made-up-token-of-a-soak-00000000"
KEY = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
CHANGES_A_SECOND = 6.0
FAULT_EVERY_S = (4.0, 12.0)
TIMEOUT_S = 3.0
QUIET_S = 180.0
"""So long after the last fault all must be well."""

SETTINGS = {
    "RELAY_ADMIN_TOKEN": TOKEN,
    "RELAY_SECRET_KEYS": KEY,
    "RELAY_ALLOW_NETWORKS": "127.0.0.0/8",
    "RELAY_LOG_FORMAT": "json",
    "RELAY_ATTEMPT_TIMEOUT": f"{TIMEOUT_S}s",
    "RELAY_RETRY_SCHEDULE": ",".join(["1s", "2s", "5s", "10s", "20s", *["60s"] * 5, *["5m"] * 10]),
}
ROLES = ("api", "scheduler", "poll", "deliver", "maintain", "supervisor", "redis", "redis-cut")
WEIGHTS = (2, 2, 4, 5, 1, 1, 1, 1)


@dataclass
class Soak:
    """One run."""

    seed: int
    minutes: float
    folder: Path
    world: World
    clopos_url: str
    port: int
    partners: Partners
    hooks_port: int
    redis: Redis
    supervisor: subprocess.Popen[bytes] | None = None
    happened: list[Happened] = field(default_factory=list)
    faults: list[tuple[float, str]] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cut_bytes: int = 0

    async def run(self) -> Verdict:
        """All of it."""
        self.random = Random(f"soak/{self.seed}")
        await self.redis.start()
        self._start_relay()
        headers = {"authorization": f"Bearer {TOKEN}"}
        url = f"http://127.0.0.1:{self.port}"
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10, trust_env=False) as api:
            ids = await self._set_up(api)
            until_s = time.monotonic() + self.minutes * 60
            watching = asyncio.create_task(self._watch())
            try:
                await asyncio.gather(self._evening(until_s), self._strike(until_s))
                self.partners.calm = True
                say(f"partners are well again; waiting up to {QUIET_S:.0f} s until everybody knows the truth")
                ledger = await self._until_quiet(api, ids)
            finally:
                watching.cancel()
        strays = await self._stop()
        prompt = [name for name, temper in TEMPERS.items() if temper == "fast"]
        faults_s = [at_s for at_s, _ in self.faults]
        verdict = judge(self.happened, self.partners.journal, ledger, faults_s=faults_s, prompt=prompt)
        verdict.strays = strays
        return verdict

    def _start_relay(self) -> None:
        settings = {
            **SETTINGS,
            "RELAY_REDIS_URL": f"unix://{self.redis.socket}",
            "RELAY_DATA_DIR": str(self.folder / "data"),
            "RELAY_PORT": str(self.port),
            "RELAY_CLOPOS_URL": self.clopos_url,
        }
        with (self.folder / "relay.log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-P", "-m", "relay.cli", "up", "--processes", "2"],
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent(),  # noqa: PLW1509  no threads that hold locks are running
            )

    async def _set_up(self, api: httpx.AsyncClient) -> list[str]:
        await self._until(lambda: self._ready(api), 90, "the API is ready")
        ids = []
        for name in TEMPERS:
            wanted = {"name": name, "url": f"http://127.0.0.1:{self.hooks_port}/{name}", "event_types": ["order.*"]}
            answer = await api.post("/v1/subscriptions", json=wanted)
            answer.raise_for_status()
            ids.append(answer.json()["id"])
        brand = {"brand": BRAND, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "integrator_id": INTEGRATOR_ID}
        (await api.post("/v1/brands", json=brand)).raise_for_status()

        async def looked() -> bool:
            return bool((await api.get(f"/v1/brands/{BRAND}")).json()["state"]["status"] == "ok")

        await self._until(looked, 120, "every venue was looked at")
        return ids

    async def _evening(self, until_s: float) -> None:
        """Orders come and go."""
        random, world = Random(f"evening/{self.seed}"), self.world
        venues = sorted(world.brand(BRAND).venues)
        orders: list[Order] = []
        while time.monotonic() < until_s:
            await asyncio.sleep(random.expovariate(CHANGES_A_SECOND))
            if random.random() < 0.35 or not orders:
                order = world.place(BRAND, random.choice(venues))
                orders.append(order)
            else:
                order = random.choice(orders)
                match order.status:
                    case _ if order.status == PENDING:
                        world.ignore(order) if random.random() < 0.15 else world.accept(order)
                    case _ if order.status == RECEIVED:
                        world.set_status(order, "READY" if random.random() < 0.3 else DELIVERED)
                    case "READY":
                        world.deliver(order)
                    case _:
                        orders.remove(order)
                        continue
            status = STATUS.get(order.status, order.status.lower())
            self.happened.append(Happened(time.time(), (order.venue_id, f"order/{order.id}"), status))

    async def _strike(self, until_s: float) -> None:
        """Kill something, again and again."""
        random = self.random
        while True:
            await asyncio.sleep(random.uniform(*FAULT_EVERY_S))
            if time.monotonic() > until_s - 2:
                return
            (role,) = random.choices(ROLES, WEIGHTS)
            self.faults.append((time.time(), role))
            if role.startswith("redis"):
                self.redis.kill()
                lost = self.redis.cut(random) if role == "redis-cut" else 0
                self.cut_bytes += lost
                await asyncio.sleep(random.uniform(0.2, 4.0))
                await self.redis.start()
                say(f"killed Redis{f', cut {lost} bytes' if lost else ''}")
            elif role == "supervisor":
                assert self.supervisor is not None
                self.supervisor.kill()
                self.supervisor.wait()
                await asyncio.sleep(random.uniform(0.5, 3.0))
                self._start_relay()
                say("killed the supervisor, started another")
            else:
                self._kill_child(role)

    def _kill_child(self, role: str) -> None:
        assert self.supervisor is not None
        pids = sorted(pid for pid, name in children_of(self.supervisor.pid).items() if name == role)
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(pids), signal.SIGKILL)
        say(f"killed {role}{'' if pids else ': none was there'}")

    async def _watch(self) -> None:
        """Note the memory of each process, and how far the append-only file is."""
        ticks = 0
        while True:
            self.redis.look()
            if ticks % 10 == 0 and self.supervisor is not None:
                highest: dict[str, float] = defaultdict(float)
                for pid, role in children_of(self.supervisor.pid).items():
                    highest[role] = max(highest[role], resident_mib(pid))
                highest["supervisor"] = resident_mib(self.supervisor.pid)
                highest["redis"] = resident_mib(self.redis.process.pid) if self.redis.process else 0.0
                for role, mib in highest.items():
                    self.memory[role].append(mib)
            ticks += 1
            await asyncio.sleep(0.2)

    async def _until_quiet(self, api: httpx.AsyncClient, ids: list[str]) -> dict[str, Any]:
        """Wait until nothing is pending and everybody knows the last status of every order; the ledger then."""
        last = {change.subject: change.status for change in self.happened}
        ledger: dict[str, Any] = {}

        async def quiet() -> bool:
            nonlocal ledger
            for each in ids:
                (await api.patch(f"/v1/subscriptions/{each}", json={"enabled": True})).raise_for_status()
            known = await self._known(api)
            ledger = (await api.get("/v1/ledger")).raise_for_status().json()
            return not ledger["pending"] and all(known.get(subject) == status for subject, status in last.items())

        await self._until(quiet, QUIET_S, "everybody knows the truth", required=False)
        return ledger

    async def _known(self, api: httpx.AsyncClient) -> dict[tuple[int, str], str]:
        known: dict[tuple[int, str], str] = {}
        cursor = None
        while True:
            params = {"limit": 200, **({"cursor": cursor} if cursor else {})}
            page = (await api.get(f"/v1/brands/{BRAND}/orders", params=params)).raise_for_status().json()
            known |= {(row["venue_id"], f"order/{row['id']}"): row["status"] for row in page["data"]}
            cursor = page["next_cursor"]
            if not cursor:
                return known

    async def _stop(self) -> int:
        """Stop the relay as an operator would; how many of its processes outlive that, or whether it says 1."""
        assert self.supervisor is not None
        pids = [*children_of(self.supervisor.pid)]
        self.supervisor.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self.supervisor.wait, 40)
        self.redis.kill()
        return sum(map(alive, pids)) + (self.supervisor.returncode != 0)

    @staticmethod
    async def _ready(api: httpx.AsyncClient) -> bool:
        return (await api.get("/readyz")).status_code == 200

    @staticmethod
    async def _until(condition: Any, limit_s: float, what: str, *, required: bool = True) -> None:
        until_s = time.monotonic() + limit_s
        while time.monotonic() < until_s:
            with contextlib.suppress(httpx.HTTPError):
                if await condition():
                    return
            await asyncio.sleep(0.5)
        if required:
            raise SystemExit(f"not within {limit_s:.0f} s: {what}")
        say(f"not within {limit_s:.0f} s: {what}")


def say(text: str) -> None:
    """Tell on stderr how it goes."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def show(soak: Soak, verdict: Verdict) -> None:
    """Print the table."""
    struck: dict[str, int] = defaultdict(int)
    for _, role in soak.faults:
        struck[role] += 1
    print(f"seed {soak.seed}, {soak.minutes:g} minutes, {VENUES} venues, {len(TEMPERS)} partners")
    print(f"killed                    {', '.join(f'{role} {count}' for role, count in sorted(struck.items()))}")
    print(f"bytes cut off             {soak.cut_bytes}")
    print(f"changes made              {verdict.changes}")
    print(f"events                    {verdict.events}")
    print(f"requests to partners      {verdict.requests}")
    print(f"delivered again           {verdict.repeats}")
    print(f"longest delay             {verdict.longest_delay_s:.1f} s")
    print(f"  where nothing failed    {verdict.longest_untouched_s:.1f} s")
    print(f"  from a fault on         {verdict.longest_healing_s:.1f} s")
    print("promised to be zero:")
    for name in Verdict.PROMISED:
        print(f"  {name.replace('_', ' '):<24}{getattr(verdict, name)}")
    for example in verdict.examples:
        print(f"      {example}")
    print("memory, MiB:              first  last   most")
    for role, values in sorted(soak.memory.items()):
        print(f"  {role:<24}{values[0]:5.0f} {values[-1]:5.0f} {max(values):6.0f}  {sparkline(values)}")


def written(soak: Soak, verdict: Verdict) -> dict[str, Any]:
    """All of it, for a machine to read."""
    return {
        "seed": soak.seed,
        "minutes": soak.minutes,
        "faults": [{"at_s": at_s, "killed": role} for at_s, role in soak.faults],
        "cut_bytes": soak.cut_bytes,
        "kept": verdict.kept,
        **asdict(verdict),
        "memory_mib": dict(soak.memory),
    }


async def run(arguments: argparse.Namespace) -> int:
    """Stand it up, let it go, tell."""
    world = new_world(seed=arguments.seed)
    for venue_id in range(3, VENUES + 1):
        world.add_venue(BRAND, Venue(venue_id, f"Venue {venue_id}"))
    partners = Partners(arguments.seed, TIMEOUT_S)
    with tempfile.TemporaryDirectory(prefix="relay-soak-") as name:
        folder = Path(name)
        (folder / "redis").mkdir(mode=0o700)
        async with running(world=world) as clopos:
            soak = Soak(
                seed=arguments.seed,
                minutes=arguments.minutes,
                folder=folder,
                world=world,
                clopos_url=clopos.base_url,
                port=arguments.port,
                partners=partners,
                hooks_port=await partners.open(),
                redis=Redis(folder / "redis"),
            )
            try:
                verdict = await soak.run()
            finally:
                for process in (soak.supervisor, soak.redis.process):
                    if process is not None and process.poll() is None:
                        process.kill()
                await partners.close()
                if arguments.keep_log:
                    arguments.keep_log.write_bytes((folder / "relay.log").read_bytes())
    show(soak, verdict)
    if arguments.json:
        arguments.json.write_text(json.dumps(written(soak, verdict), indent=1))
    return 0 if verdict.kept else 1


def main() -> int:
    """Parse, run."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=18_431, help="of the API")
    parser.add_argument("--json", type=Path, help="write all of it there, too")
    parser.add_argument("--keep-log", type=Path, help="write the relay's log there")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
