"""Is what there is to do on the list of what is due?  A list that Redis has lost alone is made again from what is.

A brand that is looked at is always on the list of looks; a subscription for which something waits, on that of lanes.
The scheduler sees to it every few seconds, so that neither waits for a worker to begin anew. (Background tasks are put
back by the workers that run them.)
"""

from dataclasses import dataclass

from relay import logs
from relay.store.brands import BrandStore
from relay.store.connection import ResponseError
from relay.store.deliveries import DeliveryStore
from relay.store.subscriptions import SubscriptionStore
from relay.store.venues import PollStore


@dataclass(frozen=True, slots=True, kw_only=True)
class DueLists:
    """What tells what there is to do, and the lists."""

    brands: BrandStore
    polls: PollStore
    subscriptions: SubscriptionStore
    deliveries: DeliveryStore

    async def refill(self) -> None:
        """Put on the lists, due now, what is not there and should be; what is there stays as it is.

        Garbage in the place of one, or no room to write in, is logged: it must not keep the scheduler from waking.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        for see_to in (self._see_to_looks, self._see_to_lanes):
            try:
                await see_to()
            except ResponseError as error:
                logs.event("list of what is due not seen to", level="warning", exc=error)

    async def _see_to_looks(self) -> None:
        brands = await self.brands.all()
        await self.polls.ensure_due([name for name, stored in brands.items() if stored.value.enabled])

    async def _see_to_lanes(self) -> None:
        pushed = [
            name
            for name, stored in (await self.subscriptions.all()).items()
            if stored.value.status == "active" and stored.value.url is not None
        ]
        absent = await self.deliveries.not_due(pushed)
        counts = await self.deliveries.counts(absent)
        await self.deliveries.ensure_due([name for name in absent if counts[name].pending])
