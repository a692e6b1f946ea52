"""A Redis that is empty and should not be is told from a fresh one, and never taken for one in silence."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from relay import logs
from relay.pipeline.installation import FILE, SAY_EVERY_S, Installation
from relay.settings import SettingsError
from relay.store import keys
from relay.store.installation import InstallationStore
from relay.store.scripts import Scripts
from relay.supervise.data_dir import DataDir
from relay.supervise.emptied import refuse_emptied
from tests.integration.apis import BRAND, Api, running_api


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged."""
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    yield stream
    structlog.reset_defaults()


@pytest.fixture
async def api(redis_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(redis_url, data_dir=tmp_path) as up:
        yield up


def lines(log: io.StringIO) -> list[str]:
    logs.flush()
    return [json.loads(line)["event"] for line in log.getvalue().splitlines()]


async def standing(api: Api) -> tuple[float, float]:
    """Whether state is missing, and since when there is some: as exported."""
    text = (await api.nobody.get("/metrics")).text
    found = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    return found["relay_state_missing"], found["relay_installation_created_timestamp_seconds"]


async def test_a_fresh_redis_is_nothing_to_worry_about(api: Api, tmp_path: Path, log: io.StringIO) -> None:
    assert await standing(api) == (0, 0)
    assert not (tmp_path / FILE).exists()
    assert "state missing" not in lines(log)


async def test_a_redis_that_lost_everything_is_told_until_somebody_decides(
    api: Api, redis: Redis, log: io.StringIO
) -> None:
    await api.brand()
    missing, since_s = await standing(api)
    assert missing == 0
    assert since_s > 0
    await redis.flushall()
    assert await standing(api) == (1, 0)
    assert lines(log).count("state missing") == 1
    await api.brand()
    missing, again_s = await standing(api)
    assert missing == 0
    assert again_s > since_s
    assert "installation began anew" in lines(log)


async def test_what_was_deleted_through_the_api_is_not_missing(api: Api) -> None:
    await api.brand()
    before = await standing(api)
    assert (await api.admin.delete(f"/v1/brands/{BRAND['brand']}")).status_code == 204
    assert await standing(api) == before


async def test_the_data_directory_remembers_for_a_process_that_starts_later(
    api: Api, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    await api.brand()
    await standing(api)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    await redis.flushall()
    async with running_api(redis_url, data_dir=tmp_path) as later:
        assert await standing(later) == (1, 0)
    async with running_api(redis_url, data_dir=tmp_path / "another") as elsewhere:
        assert await standing(elsewhere) == (0, 0)


async def test_it_is_said_again_every_minute(redis: Redis, tmp_path: Path, log: io.StringIO) -> None:
    (tmp_path / FILE).write_text("1770039965120\n")
    now_s = 0.0
    installation = Installation(InstallationStore(Scripts(redis)), data_dir=tmp_path, clock=lambda: now_s)
    for _ in range(10):
        assert (await installation.look()).missing
    now_s = SAY_EVERY_S
    assert (await installation.look()).missing
    assert lines(log).count("state missing") == 2


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"soon"])
async def test_a_file_that_cannot_be_read_remembers_nothing(redis: Redis, tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / FILE).write_bytes(garbage)
    installation = Installation(InstallationStore(Scripts(redis)), data_dir=tmp_path, clock=lambda: 0.0)
    assert not (await installation.look()).missing


async def test_garbage_in_its_place_is_better_than_an_alarm(redis: Redis, tmp_path: Path) -> None:
    await redis.set(keys.INSTALLATION, "garbage")
    installation = Installation(InstallationStore(Scripts(redis)), data_dir=tmp_path, clock=lambda: 0.0)
    assert not (await installation.look()).missing


async def test_up_refuses_a_redis_that_lost_what_its_data_directory_remembers(
    api: Api, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    await refuse_emptied(redis_url, DataDir(tmp_path))
    await api.brand()
    await standing(api)
    await refuse_emptied(redis_url, DataDir(tmp_path))
    await redis.flushall()
    with pytest.raises(SettingsError) as refused:
        await refuse_emptied(redis_url, DataDir(tmp_path))
    assert str(tmp_path / FILE) in str(refused.value)
    assert "relay apply" in str(refused.value)
    await refuse_emptied("unix:///nowhere.sock", DataDir(tmp_path))
    (tmp_path / FILE).unlink()
    await refuse_emptied(redis_url, DataDir(tmp_path))
