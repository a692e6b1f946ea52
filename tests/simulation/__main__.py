"""Run seeds from the command line: `python -m tests.simulation --seeds 200`, `--seed 17` for one again."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from relay import logs
from relay.supervise.redis_server import find_redis_server, redis_answers, redis_command
from tests.simulation.run import Outcome, simulate


def run_some(seeds: list[int], until_s: float = float("inf")) -> list[Outcome]:
    """Run seeds one after the other on a Redis of their own; begin none after ``until_s``, monotonic seconds."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "redis.sock"
        server = subprocess.Popen(
            [*redis_command(find_redis_server(), folder=Path(folder), unix_socket=socket), "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not redis_answers(socket):
                time.sleep(0.02)
            outcomes = []
            for seed in seeds:
                if time.monotonic() > until_s:
                    break
                outcomes.append(simulate(seed, f"unix://{socket}"))
                print(outcomes[-1].line(), flush=True)  # noqa: T201
                for problem in outcomes[-1].verdict.problems:
                    print("    ", problem, flush=True)  # noqa: T201
            return outcomes
        finally:
            server.kill()
            server.wait()


def main() -> int:
    """Parse, run, sum up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further seed after so long")
    parser.add_argument("--log", action="store_true", help="show the relay's log")
    arguments = parser.parse_args()
    if arguments.log:
        logs.configure("json")
    if arguments.seed is not None:
        outcomes = run_some([arguments.seed])
    else:
        until_s = time.monotonic() + arguments.seconds
        seeds = list(range(arguments.first, arguments.first + arguments.seeds))
        parts = [seeds[n :: arguments.processes] for n in range(arguments.processes)]
        with ProcessPoolExecutor(arguments.processes) as pool:
            outcomes = [outcome for part in pool.map(run_some, parts, [until_s] * len(parts)) for outcome in part]
    failed = sorted(outcome.seed for outcome in outcomes if outcome.verdict.problems)
    print(  # noqa: T201
        f"{len(outcomes)} seeds, {len(failed)} failed{': ' + ', '.join(map(str, failed)) if failed else ''}; "
        f"{sum(o.events for o in outcomes)} events, {sum(o.received for o in outcomes)} requests, "
        f"{sum(o.virtual_s for o in outcomes) / 3600:.1f} hours of virtual time"
    )
    return bool(failed)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names must have one order, or a seed would not repeat.
        os.execve(  # noqa: S606 - this very program, in this very interpreter
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
