"""What many of these tests may ask for."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.integration.relays import Parts


@pytest.fixture
async def parts(redis: Redis, redis_url: str) -> AsyncIterator[Parts]:
    """Everything between a change and a partner, on an empty Redis, with one brand."""
    pop = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
    made = Parts(redis, pop)
    await made.brand()
    try:
        yield made
    finally:
        await pop.aclose()
