"""Schemathesis makes up requests from the served OpenAPI document, right and wrong ones, and judges every answer.

Few of them, and always the same; `tests/schemathesis.toml` says how to have it make up many more.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from relay.api.app import create_app
from tests.conftest import RedisServer
from tests.integration.apis import ADMIN, BRAND, SUBSCRIPTION, Api, running_api

SETTINGS = Path(__file__).parent.parent / "schemathesis.toml"

pytestmark = pytest.mark.timeout(300)  # a quarter of a minute each, on a machine that has nothing else to do

Listening = Callable[[ASGIApp], AbstractAsyncContextManager[str]]


@pytest.fixture
async def api(own_redis: RedisServer) -> AsyncIterator[Api]:
    async with running_api(own_redis.url) as up:
        yield up


async def judged(url: str, folder: Path, *words: str) -> str:
    """Run it against an API that is up, and give its report."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS), "run", f"{url}/openapi.json"),
        *(
            "-H",
            f"Authorization: Bearer {ADMIN}",
            "--checks",
            "all",
            "--seed",
            "1",
            "--generation-deterministic",
            "--output-sanitize",
            "false",
        ),
        *words,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, said
    assert "39 selected / 39 total" in said
    assert int(re.search(r"(\d+) generated, \1 passed", said)[1]) > 100, said  # type: ignore[index]  # is what is asked
    return said


async def test_no_request_gets_an_answer_that_the_description_does_not_have(
    api: Api, listening: Listening, tmp_path: Path
) -> None:
    async with listening(create_app(api.services)) as url:
        await judged(url, tmp_path, "--phases", "examples,fuzzing,stateful", "--max-examples", "3")
    ledger = (await api.admin.get("/v1/ledger")).json()
    assert ledger["unaccounted"] == 0


async def test_without_redis_no_request_gets_an_answer_that_the_description_does_not_have(
    api: Api, own_redis: RedisServer, listening: Listening, tmp_path: Path
) -> None:
    assert (await api.admin.post("/v1/brands", json=BRAND)).status_code == 201
    assert (await api.admin.post("/v1/subscriptions", json=SUBSCRIPTION)).status_code == 201
    own_redis.kill()
    async with listening(create_app(api.services)) as url:
        await judged(
            url,
            tmp_path,
            "--phases",
            "examples,fuzzing",
            "--max-examples",
            "2",
            "--exclude-checks",
            "not_a_server_error",
        )
