"""What every test with real processes may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import RedisServer
from tests.e2e.pages import chromium
from tests.e2e.rigs import Rig, rigged

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.fixture
async def rig(own_redis: RedisServer, tmp_path: Path) -> AsyncIterator[Rig]:
    """Workers and schedulers to be started, on a Redis of their own."""
    async with rigged(own_redis.url, tmp_path) as made:
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium without a window."""
    async with chromium() as started:
        yield started
