"""Seeds of the simulation; `python -m tests.simulation --seed N` runs one again, exactly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def simulation(*arguments: str, timeout_s: float = 390) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.mark.timeout(400)
def test_every_invariant_holds_whatever_fails() -> None:
    many = "CI" in os.environ
    ran = simulation("--seeds", "300" if many else "10", "--seconds", "200")
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert " 0 failed" in ran.stdout


@pytest.mark.timeout(120)
def test_a_seed_repeats_byte_for_byte() -> None:
    for seed in ("3", "4", "7"):
        one, other = (simulation("--seed", seed, "--log").stderr for _ in range(2))
        assert len(one) > 100_000
        assert one == other


@pytest.mark.timeout(200)
def test_each_known_bug_is_found_in_the_seeds_named_for_it_and_nothing_without_it() -> None:
    ran = simulation("--bugs")
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert " 0 not as they should be" in ran.stdout
