"""Whoever comes too late writes nothing: tokens of other credentials, answers of other requests, lanes of before."""

from __future__ import annotations

from relay.core.changes import Change
from relay.core.events import draft
from relay.store import keys
from relay.store.connection import Redis
from relay.store.idempotency import Done, IdempotencyStore, Run
from relay.store.scripts import Scripts
from relay.store.tokens import Renew, Token, TokenStore
from relay.store.vault import Vault
from tests.integration.relays import Parts, order
from tests.integration.test_lane_scripts import URL, claim

KEY = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
TOKEN = Token("of the old credentials", 0, 3_600_000, 1_800_000)


async def test_a_token_of_credentials_that_were_changed_meanwhile_is_not_shared(redis: Redis) -> None:
    tokens = TokenStore(Scripts(redis), Vault((KEY,)))
    assert isinstance(await tokens.take("b", version="b/1", owner="a"), Renew)
    assert isinstance(await tokens.take("b", version="b/2", owner="c"), Renew)
    await tokens.keep("b", TOKEN, version="b/1", owner="a")
    assert await redis.hget(keys.token("b"), "sealed") is None
    await tokens.keep("b", TOKEN, version="b/2", owner="c")
    assert isinstance(await tokens.take("b", version="b/2", owner="d"), Token)


async def test_an_answer_to_a_request_that_is_forgotten_is_not_kept_for_ever_nor_for_another(redis: Redis) -> None:
    answers = IdempotencyStore(Scripts(redis), Vault((KEY,)))
    run = await answers.begin(caller="c", key="k", fingerprint="f", nonce="1")
    assert isinstance(run, Run)
    await redis.delete(run.request)
    await answers.end(run, "late")
    assert not await redis.exists(run.request)
    again = await answers.begin(caller="c", key="k", fingerprint="f", nonce="2")
    assert isinstance(again, Run)
    await answers.end(run, "late")
    await answers.end(again, "right")
    assert await answers.begin(caller="c", key="k", fingerprint="f", nonce="3") == Done("right")


async def test_what_comes_into_a_lane_whose_owner_s_lease_has_ended_wakes_somebody_else(parts: Parts) -> None:
    subscription = await parts.subscribe(URL)
    await parts.see(order(1))
    await claim(parts)
    await parts.redis.hset(keys.lane(subscription.id), "until", 1)
    await parts.redis.delete(keys.wake("deliver"), keys.wake("deliver", "a"))
    await parts.see(order(2))
    assert await parts.redis.exists(keys.wake("deliver"))
    assert not await parts.redis.exists(keys.wake("deliver", "a"))


async def test_an_event_for_one_subscription_that_is_in_the_log_keeps_its_place(parts: Parts) -> None:
    subscription = await parts.subscribe(URL)
    change = Change("order.created", {"order": order(1), "previous_status": None, "changes": {}})
    made = draft(change, brand="b", venue_id=1, subject="order/1", origin="command", previous_id=None)
    first = await parts.log.append_for(subscription.id, [(made, 7, None)])
    assert await parts.log.append_for(subscription.id, [(made, 7, None)]) == first
    assert await parts.redis.xlen(keys.LOG) == 1


async def test_a_record_that_an_attempt_has_moved_on_is_not_written_over(parts: Parts) -> None:
    await parts.redis.hset("records", "1", "d|2||||new")
    assert await parts.scripts.run("replace_record", ["records"], ["1", "p|1||||old", "p|1||||blank"]) == [0]
    assert await parts.redis.hget("records", "1") == b"d|2||||new"
    assert await parts.scripts.run("replace_record", ["records"], ["1", "d|2||||new", "d|2||||blank"]) == [1]
    assert await parts.redis.hget("records", "1") == b"d|2||||blank"
