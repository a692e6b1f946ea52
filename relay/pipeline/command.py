"""How is an order cancelled at Clopos?  One PUT, however often the caller repeats; then what Clopos holds is committed.

A mark is left before anything is sent. Whoever finds one reads the order first: an earlier try may have done it, though
its answer was lost. What is announced is what was read, so a poll that sees the change at the same moment commits the
same event, or finds this one committed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from relay import logs
from relay.clopos.api import Access
from relay.clopos.client import CloposClient
from relay.clopos.feeds import ORDERS
from relay.clopos.schema import RawRow, read_row
from relay.core.changes import compare
from relay.core.errors import (
    CallerError,
    CloposError,
    ConflictError,
    NoAnswerError,
    NotFoundError,
    RefusedError,
    RowUnreadable,
    SignInError,
    ThrottledError,
    UnknownThingError,
)
from relay.core.orders import Order, forget_customer, merge_without_payload
from relay.pipeline.commit import Committer, Proposal
from relay.pipeline.judge import Rules
from relay.pipeline.poll_context import access_of
from relay.pipeline.reading import CANCELLED, Reader, Tally
from relay.pipeline.requests import Requests
from relay.store.brands import Brand
from relay.store.commands import Begun, Busy, CommandStore
from relay.store.connection import RedisError
from relay.store.counters import Counters
from relay.store.documents import Stored
from relay.store.quota import Purpose
from relay.store.snapshots import FORGOTTEN, REMOVED, Scope, SnapshotStore
from relay.store.vault import Vault
from relay.store.venues import PollStore

BUSY_PATIENCE_S: Final = 15.0
"""How long a command waits for another one of the same order."""

_NAP_S: Final = 0.1
_COMMITS: Final = 3
_OLDER_THAN_MEMORY: Final = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignorer:
    """Cancels orders.

    Attributes:
        clopos_url: of brands that name none.
        monotonic: seconds.
        new_name: a name that no caller has had before.
        requests: counts the client's requests; ``counters`` takes them from there.
    """

    client: CloposClient
    snapshots: SnapshotStore
    committer: Committer
    commands: CommandStore
    polls: PollStore
    vault: Vault
    clopos_url: str
    monotonic: Callable[[], float]
    new_name: Callable[[], str]
    requests: Requests
    counters: Counters

    async def ignore(self, stored: Stored[Brand], order_id: int, *, venue_id: int) -> dict[str, Any]:
        """Set an order to IGNORE, and commit what became of it.

        Args:
            stored: the brand.
            order_id: of the order.
            venue_id: where it is.

        Returns:
            The order as it is now, and its ``sequence``.

        Raises:
            NotFoundError: Clopos knows no such order there.
            ConflictError: Clopos refuses, with its reason; or another command for the order does not get done.
            CloposError: Clopos is away; nothing changed here. ``NoAnswerError`` with ``timeout``: it did not answer in
                time, and the order is not cancelled as far as could be read.
        """
        brand = stored.value.brand
        scope = Scope(brand, venue_id, ORDERS.feed.value)
        known = await self.known(scope, order_id)
        if known is not None and known["status"] == CANCELLED:
            return known
        caller = self.new_name()
        began_s = self.monotonic()
        begun = await self._begin(brand, venue_id, order_id, caller)
        access = access_of(stored, vault=self.vault, clopos_url=self.clopos_url)
        command = _Command(self, stored, access, scope, order_id)
        again = begun is Begun.AGAIN
        outcome = "failed"
        try:
            order = await command.run(again=again)
        except CallerError as error:
            outcome = "not_found" if isinstance(error, NotFoundError) else "refused"
            raise
        else:
            outcome = "done"
            return order
        finally:
            # What an earlier command left unsure stays marked until it is known.
            nothing_sent = not command.sent and not again
            self.requests.count(f"commands|{brand}|ignore|{outcome}")
            await self._tidy_up(brand, venue_id, order_id, caller=caller, nothing_sent=nothing_sent)
            logs.event(
                "ignore",
                brand=brand,
                venue_id=venue_id,
                order_id=order_id,
                outcome=outcome,
                sent=command.sent,
                again=again,
                event_ids=command.event_ids,
                duration_ms=round((self.monotonic() - began_s) * 1000),
            )

    async def _tidy_up(self, brand: str, venue_id: int, order_id: int, *, caller: str, nothing_sent: bool) -> None:
        """Let the next command in, and count; where Redis is away, what was done is done, and its answer stands."""
        counters = self.requests.drain()
        try:
            await self.commands.end(brand, venue_id, order_id, caller=caller, nothing_sent=nothing_sent)
            await self.counters.add_fields(counters)
        except RedisError as error:
            self.requests.put_back(counters)
            logs.event("command not tidied up", level="warning", exc=error, brand=brand, order_id=order_id)

    async def _begin(self, brand: str, venue_id: int, order_id: int, caller: str) -> Begun:
        give_up_s = self.monotonic() + BUSY_PATIENCE_S
        while True:
            begun = await self.commands.begin(brand, venue_id, order_id, caller=caller)
            if not isinstance(begun, Busy):
                return begun
            if self.monotonic() > give_up_s:
                raise ConflictError("another command for this order is still running: try again", reason="busy")
            await asyncio.sleep(min(_NAP_S, begun.wait_ms / 1000))

    async def known(self, scope: Scope, order_id: int) -> dict[str, Any] | None:
        """Give an order as last known, with its ``sequence``; None for one that is not, or is removed."""
        (head,) = await self.snapshots.heads(scope, [order_id])
        (snapshot,) = await self.snapshots.objects(scope, [order_id])
        if head is None or snapshot is None or REMOVED in head.flags:
            return None
        return {**snapshot.object, "sequence": head.sequence or None}


@dataclass(slots=True)
class _Command:
    """One command on its way; ``event_ids`` are those of the events that it led to."""

    parts: Ignorer
    stored: Stored[Brand]
    access: Access
    scope: Scope
    order_id: int
    sent: bool = False
    event_ids: list[str] = field(default_factory=list)

    async def run(self, *, again: bool) -> dict[str, Any]:
        if again:
            found = await self._read()
            if found["status"] == CANCELLED:
                return found
        self.sent = True
        try:
            row = await self.parts.client.put_ignore(self.access, self.order_id, venue_id=self._venue_id)
        except UnknownThingError:
            raise NotFoundError("Clopos knows no such order in this venue.") from None
        except (SignInError, ThrottledError):
            raise
        except (NoAnswerError, RefusedError) as error:
            return await self._see(error)
        return await self._commit_done(row)

    @property
    def _venue_id(self) -> int:
        return cast("int", self.scope.venue_id)

    async def _see(self, error: NoAnswerError | RefusedError) -> dict[str, Any]:
        """Read what became of a PUT that failed, before anything is said."""
        try:
            found = await self._read()
        except CloposError:
            raise error from None
        if found["status"] == CANCELLED:
            return found
        if isinstance(error, RefusedError) and error.reason != "upstream":
            raise ConflictError(error.message, reason="clopos_refused") from None
        raise error

    async def _commit_done(self, row: RawRow | None) -> dict[str, Any]:
        """Commit what Clopos did: as the order reads now, or else as the answer to the PUT has it."""
        try:
            found = await self._read()
        except CloposError:
            found = None
        if found is not None and found["status"] == CANCELLED:
            return found
        merged = None if row is None else await self._merge(row)
        if merged is None:
            raise NoAnswerError("Clopos took the command, and the order cannot be read.", reason="timeout")
        return merged

    async def _read(self) -> dict[str, Any]:
        """Read the order at Clopos, commit it, and give it as it is known then."""
        reader = Reader(
            client=self.parts.client,
            snapshots=self.parts.snapshots,
            committer=self.parts.committer,
            commands=self.parts.commands,
            access=self.access,
            source=ORDERS,
            scope=self.scope,
            fence=None,
            origin="poll",
            purpose=Purpose.COMMAND,
        )
        brand = self.stored.value
        looked = await self.parts.polls.found(brand.brand, generation=brand.generation)
        venue = looked.venues.get(self._venue_id)
        rules = Rules(
            currency=brand.currency, memory_id=_OLDER_THAN_MEMORY if venue is None else venue.orders.memory_id
        )
        for _ in range(_COMMITS):
            tally = Tally()
            try:
                await reader.one(self.order_id, rules=rules, tally=tally)
            except UnknownThingError:
                raise NotFoundError("Clopos knows no such order in this venue.") from None
            self.event_ids += [event_id for _, _, event_id, _, _ in tally.events]
            if tally.bad:
                raise RowUnreadable("The order cannot be read.", reason=tally.bad[0].reason, row_id=self.order_id)
            if not tally.conflicts:
                break
        known = await self.parts.known(self.scope, self.order_id)
        if known is None:
            raise NotFoundError("Clopos has removed this order.")
        return known

    async def _merge(self, row: RawRow) -> dict[str, Any] | None:
        """Commit the answer to the PUT, on top of what is known."""
        started = await self.parts.snapshots.begin()
        (head,) = await self.parts.snapshots.heads(self.scope, [self.order_id])
        (snapshot,) = await self.parts.snapshots.objects(self.scope, [self.order_id])
        if head is None or snapshot is None:
            return None
        try:
            order = merge_without_payload(cast("Order", snapshot.object), read_row(row))
        except RowUnreadable:
            return None
        if order["status"] != CANCELLED:
            return None
        if FORGOTTEN in head.flags:
            order = forget_customer(order)
        thing = cast("dict[str, Any]", order)
        proposal = Proposal(
            entity=self.order_id,
            subject=ORDERS.feed.subject(self.order_id),
            venue_id=self.scope.venue_id,
            head=head,
            object=thing,
            raw=snapshot.raw,
            fingerprint="",
            change=compare(ORDERS.feed, snapshot.object, thing),
            flags=FORGOTTEN if FORGOTTEN in head.flags else "",
            settled=True,
        )
        report = await self.parts.committer.commit(
            self.scope, [proposal], started=started, fence=None, origin="command"
        )
        self.event_ids += [event_id for _, _, event_id, _, _ in report.events]
        return await self.parts.known(self.scope, self.order_id)
