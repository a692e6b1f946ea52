import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.supervise.processes import Child, Supervisor

Lines = list[tuple[str, str, str]]


def _child(name: str, script: str, **more: object) -> Child:
    return Child(name=name, command=("/bin/sh", "-c", script), environ={"PATH": os.environ["PATH"]}, **more)  # type: ignore[arg-type]  # passed on as they are


@pytest.fixture
async def lines() -> Lines:
    return []


@pytest.fixture
async def supervisor(lines: Lines) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(show=lambda name, channel, line: lines.append((name, channel, line)))
    yield supervisor
    await supervisor.stop()


async def _wait_for_lines(supervisor: Supervisor, lines: Lines, count: int) -> None:
    async def there() -> bool:
        return len(lines) >= count

    assert await supervisor.until(there, timeout_s=20), lines


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"  # a zombie waits for somebody to ask how it ended, and runs no more


async def test_what_a_child_writes_is_passed_on_line_by_line(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(_child("one", "echo data; echo message >&2; printf 'no newline'; exec sleep 60"))
    await _wait_for_lines(supervisor, lines, 2)
    assert sorted(lines) == [("one", "err", "message"), ("one", "out", "data")]
    await supervisor.stop()
    assert ("one", "out", "no newline") in lines


async def test_an_endless_line_is_passed_on_in_pieces(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(_child("one", "head -c 200000 /dev/zero | tr '\\0' x; echo; exec sleep 60"))

    async def whole() -> bool:
        return sum(len(line) for _, _, line in lines) == 200_000

    assert await supervisor.until(whole, timeout_s=20)
    assert len(lines) >= 2


async def test_a_child_that_ends_is_started_again(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(_child("one", "echo here; exit 1"))
    await _wait_for_lines(supervisor, lines, 2)
    assert not supervisor.asked_to_stop.is_set()


async def test_a_child_that_is_killed_is_started_again(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(_child("one", "echo $$; exec sleep 60"))
    await _wait_for_lines(supervisor, lines, 1)
    os.kill(int(lines[0][2]), signal.SIGKILL)
    await _wait_for_lines(supervisor, lines, 2)
    assert lines[1][2] != lines[0][2]


async def test_a_child_with_wrong_settings_ends_it_all(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(_child("good", "exec sleep 60"), _child("wrong", "echo why >&2; exit 2"))
    await asyncio.wait_for(supervisor.asked_to_stop.wait(), 20)
    assert supervisor.exit_code == 2
    assert lines == [("wrong", "err", "why")]


async def test_stopping_leaves_no_process_behind_not_even_one_that_will_not_listen(
    supervisor: Supervisor, lines: Lines
) -> None:
    stubborn = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & echo $$; wait; wait"
    supervisor.start(_child("stubborn", stubborn, grace_s=(0.1, 0.1)), _child("mild", "echo $$; exec sleep 60"))
    await _wait_for_lines(supervisor, lines, 3)
    await supervisor.stop()
    assert [pid for _, _, pid in lines if _alive(int(pid))] == []


async def test_a_second_request_asks_to_be_quick(supervisor: Supervisor, lines: Lines) -> None:
    slow = "quick() { echo second; exit 0; }; asked() { echo first; trap quick TERM; }; trap asked TERM; echo up"
    supervisor.start(_child("slow", f"{slow}; while :; do sleep 0.05; done", grace_s=(0.3, 20.0)))
    await _wait_for_lines(supervisor, lines, 1)
    await supervisor.stop()
    assert [line for _, _, line in lines if line != "Terminated"] == ["up", "first", "second"]


async def test_stages_end_one_after_the_other(supervisor: Supervisor, lines: Lines) -> None:
    last_words = "trap 'sleep 0.2; echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    supervisor.start(_child("below", last_words, stage=0), _child("above", last_words, stage=1))
    await _wait_for_lines(supervisor, lines, 2)
    await supervisor.stop()
    assert [name for name, _, line in lines if line == "bye"] == ["above", "below"]


async def test_a_child_waiting_to_be_started_again_is_not_started_any_more(
    supervisor: Supervisor, lines: Lines
) -> None:
    supervisor.start(_child("one", "echo here; exit 1"))
    await _wait_for_lines(supervisor, lines, 1)
    await supervisor.stop()
    assert len(lines) == 1


def test_killing_the_supervisor_leaves_no_orphan() -> None:
    program = """
import asyncio
from relay.supervise.processes import Child, Supervisor

async def main():
    supervisor = Supervisor(show=lambda name, channel, line: print(line, flush=True))
    supervisor.start(Child(name="one", command=("/bin/sh", "-c", "echo $$; exec sleep 60"), environ={}))
    await supervisor.asked_to_stop.wait()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert _alive(pid)
        parent.kill()
    deadline = time.monotonic() + 10
    while _alive(pid) and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
    assert not _alive(pid)
