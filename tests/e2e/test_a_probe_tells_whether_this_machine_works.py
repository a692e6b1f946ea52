from __future__ import annotations

import signal
import time

import pytest

from tests.conftest import RedisServer
from tests.e2e.rigs import KIND, Rig, ended, until
from workers.health import FRESH_S, check


@pytest.mark.parametrize("role", ["worker", "scheduler"])
async def test_a_process_is_well_from_its_start_to_its_end(rig: Rig, role: str) -> None:
    async def well() -> bool:
        return check(role, data_dir=rig.folder, now_s=time.monotonic()).fresh

    assert not await well()
    process = await (rig.worker() if role == "worker" else rig.scheduler())
    await until(well)
    process.terminate()
    assert await ended(process) == 0
    assert not await well()
    assert list((rig.folder / "run").iterdir()) == []


async def test_a_killed_process_is_not_well_at_once(rig: Rig) -> None:
    process = await rig.worker()
    assert check("worker", data_dir=rig.folder, now_s=time.monotonic()).fresh
    process.kill()
    await ended(process)
    assert not check("worker", data_dir=rig.folder, now_s=time.monotonic()).fresh


async def test_a_frozen_process_is_not_well_after_a_while(rig: Rig) -> None:
    process = await rig.worker()
    process.send_signal(signal.SIGSTOP)
    found = check("worker", data_dir=rig.folder, now_s=time.monotonic() + FRESH_S)
    assert not found.fresh
    assert str(process.pid) in found.reason


async def test_a_process_that_waits_for_redis_is_well_since_a_restart_would_not_help(
    rig: Rig, own_redis: RedisServer
) -> None:
    own_redis.kill()
    rig.start("worker", KIND, "25")

    async def well() -> bool:
        return check("worker", data_dir=rig.folder, now_s=time.monotonic()).fresh

    await until(well)
