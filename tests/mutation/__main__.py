"""Break one thing at a time in a copy, and see who notices: `python -m tests.mutation guards`, `… modules`.

`guards` takes each guard out of the scripts once (`guards.py`); `modules` breaks modules of Python at places that a
seed chooses (`mutants.py`). What nobody notices is shown. The copy is a clone of what is committed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.guards import GUARDS, SIMULATED, Guard
from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
LIMIT_S = 90
SEEDS = 12
BROADEST = 12
"""Test files that are asked about a module, at most."""


def noticed(copy: Path, command: Sequence[str]) -> bool:
    """Whether a command fails in the copy, or does not end."""
    environ = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=environ,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(LIMIT_S) != 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return True


def pytest(*files: str) -> list[str]:
    """The command that runs test files until one fails."""
    return [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]


def who_misses_guard(copy: Path, guard: Guard) -> str:
    """Take a guard out; who notices."""
    path = copy / "relay" / "store" / "lua" / f"{guard.script}.lua"
    sound = path.read_text()
    if guard.there not in sound:
        return "NOT THERE"
    path.write_text(sound.replace(guard.there, guard.gone, 1))
    try:
        if noticed(copy, pytest(*(f"tests/integration/test_{name}.py" for name in guard.tests))):
            return "test"
        if guard.script in SIMULATED and noticed(copy, [sys.executable, "-m", "tests.simulation", f"--seeds={SEEDS}"]):
            return "simulation"
        return "NOBODY"
    finally:
        path.write_text(sound)


DELIVERING = frozenset({"turns", "in_hand", "lane_run", "lane_book", "handing_out", "deliver", "attempt", "lanes"})
"""Modules that call scripts of lanes; others outside the core call those of looks and commits."""


def asked_of_caller(module: str) -> list[list[str]]:
    """What is run where a module that calls scripts is broken: the simulation, then tests on a real Redis."""
    names = ("commit_guards", "poll", "poll_quirks", "reconcile")
    if Path(module).stem in DELIVERING:
        names = ("lane_scripts", "deliver", "deliver_endpoints", "deliver_crashes")
    simulated = [sys.executable, "-m", "tests.simulation", f"--seeds={SEEDS // 2}"]
    return [simulated, pytest(*(f"tests/integration/test_{name}.py" for name in names))]


def tests_of(copy: Path, module: str) -> list[str]:
    """Unit tests that import a module; all that import its package where none does."""
    dotted = module.removesuffix(".py").replace("/", ".")
    package, _, name = dotted.rpartition(".")
    texts = {path: path.read_text() for path in sorted(copy.glob("tests/unit/test_*.py"))}
    wanted = (f"from {dotted} import", f"import {dotted}", f"from {package} import {name}")
    found = [path for path, text in texts.items() if any(each in text for each in wanted)]
    found = found or [path for path, text in texts.items() if f"from {package}." in text]
    return [str(path.relative_to(copy)) for path in found[:BROADEST]]


def who_misses_mutant(copy: Path, mutant: Mutant) -> str:
    """Put a mutant in its module's place; who notices."""
    path = copy / mutant.module
    sound = path.read_text()
    path.write_text(mutant.text)
    try:
        if not mutant.module.startswith("relay/core/"):
            return "test" if any(noticed(copy, command) for command in asked_of_caller(mutant.module)) else "NOBODY"
        return "test" if noticed(copy, pytest(*tests_of(copy, mutant.module))) else "NOBODY"
    finally:
        path.write_text(sound)


def say(text: str) -> None:
    """Print a line."""
    print(text, flush=True)  # noqa: T201  (a command's output)


def main() -> int:
    """Parse, run, sum up; 1 when something was noticed by nobody."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("what", choices=["guards", "modules"])
    parser.add_argument("--script", action="append", help="guards of this script alone; may be repeated")
    parser.add_argument("--glob", action="append", help="modules below the root; relay/core/*.py unless given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    tally: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="relay-mutation-") as folder:
        copy = Path(folder) / "copy"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(copy)], check=True)  # noqa: S607  git of the developer
        if arguments.what == "guards":
            for guard in GUARDS:
                if not arguments.script or guard.script in arguments.script:
                    who = who_misses_guard(copy, guard)
                    tally[who] = tally.get(who, 0) + 1
                    say(f"{who:<11} {guard.script:<18} {' '.join(guard.there.split())[:110]}")
        else:
            modules = arguments.glob or ["relay/core/[a-z]*.py"]
            for mutant in mutants(copy, modules, seed=arguments.seed, count=arguments.count):
                who = who_misses_mutant(copy, mutant)
                tally[who] = tally.get(who, 0) + 1
                if who == "NOBODY":
                    say(f"{mutant.module}:{mutant.line}  {mutant.before!r} -> {mutant.after!r}")
    say(", ".join(f"{who.lower()}: {count}" for who, count in sorted(tally.items())))
    return int(bool(tally.keys() - {"test", "simulation"}))


if __name__ == "__main__":
    sys.exit(main())
