"""How is the customer of one order forgotten?  In its snapshot first, for whatever comes later; then all over the log.

What waits in lanes refers to the log, so what is sent from then on is without. What partners answered may quote it, so
that goes, too. Identity and status stay.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from relay import logs
from relay.clopos.feeds import ORDERS
from relay.core.errors import ConflictError, CorruptStateError, NotFoundError
from relay.core.events import pack_static, unpack_static
from relay.core.normalize import NORMALIZER_VERSION
from relay.core.shaping import forget
from relay.pipeline.commit import Committer, Proposal
from relay.store.deliveries import DeliveryStore
from relay.store.log import Log
from relay.store.maintenance import Maintenance
from relay.store.rewriting import Rewriting
from relay.store.snapshots import FORGOTTEN, REMOVED, Scope, SnapshotStore
from relay.store.subscriptions import SubscriptionStore

COMMITS: Final = 10
WAIT_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetter:
    """Forgets customers.

    Attributes:
        new_name: a name that no caller has had before.
        patience_s: how long to wait for another's rewriting of the log.
    """

    snapshots: SnapshotStore
    committer: Committer
    rewriting: Rewriting
    log: Log
    deliveries: DeliveryStore
    subscriptions: SubscriptionStore
    maintenance: Maintenance
    new_name: Callable[[], str]
    patience_s: float = 60.0

    async def forget(self, brand: str, order_id: int, *, venue_id: int) -> int:
        """Forget the customer of an order; to be repeated when it was cut off. How many events were changed.

        Raises:
            NotFoundError: no such order is known.
            ConflictError: the order changes faster than it can be written, or the log is being rewritten for others.
        """
        await self._in_snapshot(Scope(brand, venue_id, ORDERS.feed.value), order_id)
        changed = await self._in_log(brand, order_id, venue_id)
        await self._in_answers(brand, order_id, venue_id)
        logs.event("customer forgotten", brand=brand, venue_id=venue_id, order_id=order_id, events=changed)
        return changed

    async def _in_snapshot(self, scope: Scope, order_id: int) -> None:
        for _ in range(COMMITS):
            started = await self.snapshots.begin()
            (head,) = await self.snapshots.heads(scope, [order_id])
            (known,) = await self.snapshots.objects(scope, [order_id])
            if head is None or known is None:
                raise NotFoundError("There is no such order.")
            if FORGOTTEN in head.flags:
                return
            thing, raw = ORDERS.forget(known.object, known.raw)
            proposal = Proposal(
                entity=order_id,
                subject=ORDERS.feed.subject(order_id),
                venue_id=scope.venue_id,
                head=head,
                object=thing,
                raw=raw,
                fingerprint=head.fingerprint if head.normalizer == NORMALIZER_VERSION else "",
                change=None,
                flags=head.flags + FORGOTTEN,
                settled=REMOVED in head.flags or not ORDERS.is_open(thing),
            )
            report = await self.committer.commit(scope, [proposal], started=started, fence=None, origin="command")
            if not report.conflicts:
                return
        raise ConflictError("The order changes faster than it can be written: try again.")

    async def _in_log(self, brand: str, order_id: int, venue_id: int) -> int:
        subject = ORDERS.feed.subject(order_id)

        def change(static: bytes) -> bytes | None:
            try:
                event = unpack_static(static)
            except CorruptStateError:
                return None
            if (event.brand, event.venue_id, event.subject) != (brand, venue_id, subject):
                return None
            data, raw = forget(event.data, event.raw)
            return pack_static(replace(event, data=data, raw=raw))

        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + self.patience_s
        while True:
            changed = await self.rewriting.run(change, owner=self.new_name())
            if changed is not None:
                return changed
            if loop.time() > give_up_s:
                raise ConflictError("The log is being rewritten for another order: try again.")
            await asyncio.sleep(WAIT_S)

    async def _in_answers(self, brand: str, order_id: int, venue_id: int) -> None:
        lanes = [*(await self.subscriptions.all()), *(await self.maintenance.gone_lanes())]
        async for entries in self.log.of_subject(brand, venue_id, ORDERS.feed.subject(order_id)):
            for entry in entries:
                await self.deliveries.blank_excerpts(entry.position, lanes)
