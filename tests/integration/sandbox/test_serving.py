"""The stand-in as a process, and as something that a test opens and closes."""

import asyncio
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process

import httpx2 as httpx
import pytest

from relay.sandbox.serve import running

PROGRAM = "from relay.sandbox.serve import run; run(port=0, scenario='evening', seed=4)"


async def started() -> tuple[Process, list[str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", PROGRAM, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout
    lines = [(await process.stdout.readline()).decode() for _ in range(7)]
    return process, lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_is_and_who_may_enter_and_ends_cleanly(number: signal.Signals) -> None:
    process, lines = await started()
    said = "".join(lines)
    match = re.search(r"http://127\.0\.0\.1:\d+/open-api/v2", said)
    assert match
    assert all(word in said for word in ("openapitest", "demo-client", "demo-secret", "demo-integrator", "/control"))
    credentials = {
        "client_id": "demo-client",
        "client_secret": "demo-secret",
        "brand": "openapitest",
        "integrator_id": "demo-integrator",
    }
    async with httpx.AsyncClient(base_url=match[0]) as client:
        assert (await client.post("/auth", json=credentials)).json()["success"] is True
        control = match[0].replace("/open-api/v2", "/control")
        await client.post(f"{control}/faults", json={"kind": "hang"})
        left_hanging = asyncio.create_task(client.get("/orders"))
        while (await client.get(f"{control}/faults")).json()["faults"][0]["struck"] == 0:
            pass

        process.send_signal(number)
        out, err = await asyncio.wait_for(process.communicate(), 10)

        assert (process.returncode, out, err) == (0, b"", b"")
        with pytest.raises(httpx.TransportError):
            await left_hanging


async def test_a_port_that_is_taken_is_said_to_be() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with running(port=taken.getsockname()[1]):
                pass


async def test_a_scenario_plays_while_it_is_open() -> None:
    async with running(scenario="rush", seed=1) as up, asyncio.timeout(10), httpx.AsyncClient() as client:
        while (await client.get(f"{up.control_url}/history")).json()["next"] < 3:
            pass


async def test_two_can_be_open_at_once_and_share_nothing() -> None:
    async with running() as one, running() as other:
        one.world.place("openapitest", 1)

        assert one.base_url != other.base_url
        assert len(other.world.brand("openapitest").orders) == 4
