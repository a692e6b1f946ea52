"""Is what there is to do on the list of what is due?  A list that Redis has lost alone is made again from what is.

A brand that is looked at is always on the list of looks; a subscription for which something waits, on that of lanes.
The scheduler sees to it every few seconds, so that neither waits for a worker to begin anew. (Background tasks are put
back by the workers that run them.)
"""

from dataclasses import dataclass

from relay.store.brands import BrandStore
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

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        brands = await self.brands.all()
        await self.polls.ensure_due([name for name, stored in brands.items() if stored.value.enabled])
        if await self.deliveries.any_due():
            return
        pushed = [
            name
            for name, stored in (await self.subscriptions.all()).items()
            if stored.value.status == "active" and stored.value.url is not None
        ]
        counts = await self.deliveries.counts(pushed)
        await self.deliveries.ensure_due([name for name in pushed if counts[name].pending])
