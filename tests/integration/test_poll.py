"""From a change at Clopos to a committed event."""

from __future__ import annotations

from redis.asyncio import Redis

from tests.integration.polling import rigged


async def test_what_exists_at_the_first_look_is_remembered_and_not_announced(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        async with rig.polling():
            found = await rig.looked(1, 2)
        assert await rig.events() == []
        assert found.brand.venues == {1: "Main", 2: "Seaside"}
        assert found.venues[1].orders.memory_id == 108
        assert found.venues[1].open_orders > 0


async def test_an_orders_life_is_told_in_order(redis: Redis, redis_url: str) -> None:
    async with rigged(redis, redis_url) as rig:
        await rig.brand()
        async with rig.polling():
            await rig.looked(1, 2)
            placed = await rig.tell("POST", "/brands/openapitest/venues/1/orders")
            await rig.got(1)
            await rig.tell("POST", f"/orders/{placed['id']}/accept")
            await rig.got(2)
            await rig.tell("POST", f"/orders/{placed['id']}/deliver")
            events = await rig.got(3)
        assert [event["type"] for event in events] == ["order.created", "order.status_changed", "order.status_changed"]
        assert [event["data"]["order"]["status"] for event in events] == ["pending", "accepted", "delivered"]
        assert events[1]["data"]["changes"]["status"] == ["pending", "accepted"]
        assert {event["origin"] for event in events} == {"poll"}
        assert [event["previous_sequence"] for event in events[1:]] == [event["sequence"] for event in events[:2]]
