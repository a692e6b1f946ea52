"""A process whose log nobody reads does its work, and ends when it is done."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys

PROGRAM = """
import logging, sys
from relay import logs
library = logging.StreamHandler()  # as RQ has one: it is flushed at the end
logs.configure("json")
for number in range(int(sys.argv[1])):
    logs.event("attempt", number=number)
print("done", flush=True)
"""
ENDS_S = 20
LINES = 5_000


async def run(count: int, log: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(count), stdout=asyncio.subprocess.PIPE, stderr=log, env={}
    )


async def test_a_process_ends_though_the_pipe_of_its_log_is_full() -> None:
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        while True:
            try:
                os.write(writing, b"x")
            except BlockingIOError:
                break
        os.set_blocking(writing, True)
        process = await run(3, writing)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(ENDS_S):
                assert await process.stdout.read() == b"done\n"
                assert await process.wait() == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    finally:
        os.close(writing)
        os.close(reading)


async def test_whoever_reads_gets_every_line_whole_and_in_order() -> None:
    reading, writing = os.pipe()
    process = await run(LINES, writing)
    os.close(writing)
    lines = await asyncio.to_thread(_read_all, reading)
    assert await process.wait() == 0
    assert [line["number"] for line in lines] == list(range(LINES))


def _read_all(descriptor: int) -> list[dict[str, int]]:
    with os.fdopen(descriptor) as stream:
        return [json.loads(line) for line in stream]
