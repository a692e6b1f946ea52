"""Of commands for one order, one runs at a time, and only who holds it gives it back."""

from __future__ import annotations

from relay.store.commands import MAY_TAKE_MS, Begun, Busy, CommandStore
from relay.store.connection import Redis
from relay.store.scripts import Scripts

ORDER = ("openapitest", 1, 7)


async def test_one_command_of_an_order_runs_at_a_time(redis: Redis) -> None:
    commands = CommandStore(redis, Scripts(redis))
    assert await commands.begin(*ORDER, caller="a") is Begun.FIRST
    refused = await commands.begin(*ORDER, caller="b")
    assert isinstance(refused, Busy)
    assert 0 < refused.wait_ms <= MAY_TAKE_MS
    assert await commands.begin("openapitest", 1, 8, caller="b") is Begun.FIRST


async def test_whoever_took_too_long_does_not_end_the_command_of_the_next(redis: Redis) -> None:
    commands = CommandStore(redis, Scripts(redis))
    await commands.begin(*ORDER, caller="a")
    await commands.end(*ORDER, caller="late", nothing_sent=True)
    assert isinstance(await commands.begin(*ORDER, caller="b"), Busy)
    assert await commands.marked(*ORDER[:2], [7, 8]) == {7}


async def test_a_command_that_sent_something_leaves_a_mark_and_one_that_did_not_leaves_none(redis: Redis) -> None:
    commands = CommandStore(redis, Scripts(redis))
    await commands.begin(*ORDER, caller="a")
    await commands.end(*ORDER, caller="a", nothing_sent=False)
    assert await commands.begin(*ORDER, caller="b") is Begun.AGAIN
    await commands.end(*ORDER, caller="b", nothing_sent=True)
    assert await commands.begin(*ORDER, caller="c") is Begun.FIRST
