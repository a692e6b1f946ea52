"""Run seeds from the command line: `python -m tests.simulation --seeds 200`, `--seed 17` for one again.

`--bug NAME` plants a bug, `--bugs` shows that each is found in the seeds that are named for it, `--log` shows the
journal of a run, with the relay's log.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from relay.supervise.redis_server import find_redis_server, redis_answers, redis_command
from tests.simulation.bugs import BUGS, SEARCHED, SEEDS
from tests.simulation.run import Outcome, simulate

PART = 20
"""Seeds that one process takes at a time."""

Job = tuple[int, str]
"""A seed, and the bug that is planted in it."""


@contextmanager
def _redis() -> Iterator[str]:
    """A server of its own: its socket. Hashes keep the order in which they were written, as a seed must repeat."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "redis.sock"
        server = subprocess.Popen(
            [
                *redis_command(find_redis_server(), folder=Path(folder), unix_socket=socket),
                *("--appendonly", "no", "--save", ""),
                *("--hash-max-listpack-entries", "1000000", "--hash-max-listpack-value", "100000000"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not redis_answers(socket):
                time.sleep(0.02)
            yield str(socket)
        finally:
            server.kill()
            server.wait()


def run_some(jobs: Sequence[Job], until_s: float = float("inf"), *, log: bool = False) -> list[Outcome]:
    """Run seeds one after the other on a Redis of their own; begin none after ``until_s``, monotonic seconds."""
    outcomes: list[Outcome] = []
    with _redis() as socket:
        for seed, bug in jobs:
            if time.monotonic() > until_s:
                break
            outcomes.append(simulate(seed, socket, bug=bug, out=sys.stderr if log else None))
    return outcomes


def run_all(jobs: Sequence[Job], *, processes: int, seconds: float) -> Iterator[Outcome]:
    """Run seeds in some processes, a part at a time, each told as soon as its part is done."""
    until_s = time.monotonic() + seconds
    parts = [jobs[at : at + PART] for at in range(0, len(jobs), PART)]
    with ProcessPoolExecutor(processes) as pool:
        for done in as_completed([pool.submit(run_some, part, until_s) for part in parts]):
            yield from done.result()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  (a command's output)


def _show(outcome: Outcome) -> None:
    _say(outcome.line())
    for problem in outcome.verdict.problems:
        _say(f"     {problem}")


def _sum_up(outcomes: Sequence[Outcome]) -> str:
    failed = sorted(outcome.seed for outcome in outcomes if outcome.verdict.problems)
    return (
        f"{len(outcomes)} seeds, {len(failed)} failed{': ' + ', '.join(map(str, failed)) if failed else ''}; "
        f"{sum(o.events for o in outcomes)} events, {sum(o.received for o in outcomes)} requests, "
        f"{sum(o.virtual_s for o in outcomes) / 3600:.1f} hours of virtual time"
    )


def run_seeds(jobs: Sequence[Job], *, processes: int, seconds: float) -> int:
    """Run many; of thousands, show what fails and how far it has come."""
    outcomes: list[Outcome] = []
    brief = len(jobs) > 500
    for outcome in run_all(jobs, processes=processes, seconds=seconds):
        outcomes.append(outcome)
        if not brief or outcome.verdict.problems:
            _show(outcome)
        if brief and len(outcomes) % 100 == 0:
            _say(f"{time.strftime('%H:%M:%S')}  {len(outcomes)} of {len(jobs)}: {_sum_up(outcomes)}")
    _say(_sum_up(outcomes))
    return int(any(outcome.verdict.problems for outcome in outcomes))


def find_bugs(*, processes: int) -> int:
    """Show that each bug is found in a seed that is named for it, and that nothing is found there without it."""
    planted = [(seed, bug) for bug, seeds in SEEDS.items() for seed in seeds]
    sound = [(seed, "") for seed in sorted({seed for seed, _ in planted})]
    found: set[str] = set()
    wrong = 0
    for outcome in run_all(planted + sound, processes=processes, seconds=float("inf")):
        if outcome.verdict.problems:
            found.add(outcome.bug)
            wrong += not outcome.bug
        _show_bug(outcome)
    for bug in sorted(SEEDS.keys() - found):
        _say(f"{bug}: not found in its seeds any more; looking for another one")
        wrong += not _search(bug)
    _say(f"{len(planted)} seeds with a bug, {len(sound)} without; {wrong} not as they should be")
    return int(bool(wrong))


def _search(bug: str) -> bool:
    for seed in range(SEARCHED):
        (outcome,) = run_some([(seed, bug)])
        if outcome.verdict.problems:
            _show_bug(outcome)
            return True
    return False


def _show_bug(outcome: Outcome) -> None:
    problems = outcome.verdict.problems
    _say(f"{outcome.bug or 'without a bug':<24} seed {outcome.seed:>5}  {'found' if problems else 'nothing found'}")
    for problem in problems[:2]:
        _say(f"     {problem}")


def main() -> int:
    """Parse, run, sum up."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further seed after so long")
    parser.add_argument("--bug", choices=sorted(BUGS), default="", help="plant it")
    parser.add_argument("--bugs", action="store_true", help="show that each bug is found in its seeds")
    parser.add_argument("--log", action="store_true", help="with --seed: show the journal, and the relay's log")
    arguments = parser.parse_args()
    if arguments.bugs:
        return find_bugs(processes=arguments.processes)
    if arguments.seed is not None:
        (outcome,) = run_some([(arguments.seed, arguments.bug)], log=arguments.log)
        _show(outcome)
        return int(bool(outcome.verdict.problems))
    jobs = [(seed, arguments.bug) for seed in range(arguments.first, arguments.first + arguments.seeds)]
    return run_seeds(jobs, processes=arguments.processes, seconds=arguments.seconds)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names must have one order, or a seed would not repeat.
        os.execve(  # noqa: S606 - this very program, in this very interpreter
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
