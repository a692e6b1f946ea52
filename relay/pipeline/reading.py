"""How is one page of a feed taken in?  Ask, judge, commit: the one step that every look at Clopos is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, cast

from relay.clopos.api import Access
from relay.clopos.client import CloposClient
from relay.clopos.feeds import FeedSource
from relay.clopos.rowkeys import RowKey, row_key
from relay.clopos.schema import BadRow, RawRow, bad_row
from relay.core.changes import compare
from relay.core.errors import PageUnreadable, RefusedError, RowUnreadable, StaleError, UnknownThingError
from relay.pipeline.commit import CommitReport, Committer, Proposal
from relay.pipeline.judge import Judgement, Rules, judge, moment
from relay.store.commands import CommandStore
from relay.store.commit import Fence
from relay.store.findings import FeedState
from relay.store.quota import Granted, Purpose
from relay.store.snapshots import FORGOTTEN, OPEN, REMOVED, Scope, SnapshotStore

CANCELLED: Final = "cancelled"
"""The status that a command through our API brings about."""

FEWER_ROWS: Final = {200: 100, 100: 50, 50: 20, 20: 0}
"""What to ask for when Clopos refuses a number of rows; 0 is no number at all."""


@dataclass(slots=True)
class Tally:
    """What the pages of one look brought together.

    Attributes:
        statuses: id -> status of every thing whose row was parsed, see ``Judgement``.
        closed: ids of things whose row was known, and that are not open.
        events: committed, as ``CommitReport`` has them.
        late: events of the full compare, see ``Rules.late_before``.
        corrupt: ids of things whose snapshot cannot be read.
        ids: of every row read.
        touched: ``updated_at`` of the rows that were not as known.
        venues: of a list of all venues at once: what it brought for each.
    """

    requests: int = 0
    rows: int = 0
    known: int = 0
    silent: int = 0
    conflicts: int = 0
    strangers: int = 0
    silent_changes: int = 0
    late: int = 0
    corrupt: set[int] = field(default_factory=set)
    total: int | None = None
    bad: list[BadRow] = field(default_factory=list)
    statuses: dict[int, str | None] = field(default_factory=dict)
    events: list[tuple[int | str, str, str, int, int]] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)
    touched: list[datetime] = field(default_factory=list)
    venues: "dict[int, Tally]" = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether as many rows came as Clopos says that there are."""
        return self.total is not None and len(self.ids) + len(self.bad) + self.strangers >= self.total

    def add(self, found: Judgement, report: CommitReport) -> None:
        """Take in one page."""
        self.rows += len(found.keys) + len(found.bad)
        self.known += found.known
        self.silent += report.silent
        self.conflicts += found.conflicts + len(report.conflicts)
        self.strangers += found.strangers
        self.corrupt.update(found.unreadable_heads)
        late = {proposal.entity for proposal in found.proposals if proposal.origin == "reconcile"}
        self.late += sum(1 for event in report.events if event[0] in late)
        self.silent_changes += found.silent_changes
        self.bad += found.bad
        self.statuses.update(found.statuses)
        self.events += report.events
        self.ids.update(key.id for key in found.keys)
        fresh = {proposal.entity for proposal in found.proposals}
        self.touched += [when for key in found.keys if key.id in fresh and (when := moment(key.updated_at)) is not None]
        self.closed.update(row_id for row_id, head in found.heads.items() if OPEN not in head.flags)

    def sum_up(self, keys: Sequence[RowKey]) -> None:
        """Make this the sum of its venues' parts, after a page with these rows."""
        parts = self.venues.values()
        self.rows += len(keys)
        self.ids.update(key.id for key in keys)
        self.known = sum(part.known for part in parts)
        self.silent = sum(part.silent for part in parts)
        self.conflicts = sum(part.conflicts for part in parts)
        self.silent_changes = sum(part.silent_changes for part in parts)
        self.events = [event for part in parts for event in part.events]
        self.touched = [when for part in parts for when in part.touched]


@dataclass(frozen=True, slots=True)
class Taken:
    """One page, taken in.

    Attributes:
        keys: of its readable rows, in order.
        rows: how many it had, readable or not.
        changed: whether any row was not as known.
        cut: it came empty, and Clopos says that there are rows that far down: nothing is to be concluded from it.
    """

    keys: list[RowKey]
    rows: int
    changed: bool
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads one feed of one venue for whoever owns the brand.

    Attributes:
        fence: proof of the ownership; None for a caller without a lease.
        origin: of the events.
        purpose: whose share of the quota it uses.
        memories: None for a scope of one venue. Else the list is of all venues at once, and this is the highest id of
            each one's first look; rows of other venues are left aside.
    """

    client: CloposClient
    snapshots: SnapshotStore
    committer: Committer
    commands: CommandStore
    access: Access
    source: FeedSource
    scope: Scope
    fence: Fence | None
    origin: str
    purpose: Purpose
    memories: Mapping[int, int] | None = None

    async def page(
        self,
        params: Sequence[tuple[str, str]],
        *,
        rules: Rules,
        tally: Tally,
        state: FeedState,
        rows: int,
        grant: Granted | None = None,
    ) -> Taken:
        """Take in one page.

        Args:
            params: of the query, without ``limit``.
            rules: how to take its rows.
            tally: where what it brought is added.
            state: of the feed; its ``limit`` is lowered when Clopos refuses the number of rows asked for.
            rows: how many to ask for at most; 0 does not ask for a number.
            grant: a place in the quota that is there already.

        Raises:
            StaleError: another worker owns the brand by now.
            CloposError: see ``core.errors``; nothing of the page was committed.
        """
        started = await self.snapshots.begin()
        limit = min(rows, state.limit)
        asked = [*params, ("limit", str(limit))] if limit else list(params)
        tally.requests += 1
        try:
            page = await self.client.get_page(
                self.access, self.source.path, asked, venue_id=self.scope.venue_id, purpose=self.purpose, grant=grant
            )
        except RefusedError as error:
            if error.reason != "refused" or not limit:
                raise
            state.limit = FEWER_ROWS.get(state.limit, 0)
            return await self.page(params, rules=rules, tally=tally, state=state, rows=rows)
        if page.total and not page.rows and not page.bad_rows and dict(params).get("page", "1") == "1":
            raise PageUnreadable(f"Clopos says that there are {page.total} rows, and sends none.", reason="empty_page")
        tally.total = page.total if page.total is not None else tally.total
        count = len(page.rows) + len(page.bad_rows)
        cut = not count and (page.total or 0) > (int(dict(params).get("page", "1")) - 1) * limit > 0
        if self.memories is not None:
            taken = await self._take_all(page.rows, page.bad_rows, started=started, rules=rules, tally=tally)
            return replace(taken, cut=cut)
        found = await self._take(page.rows, page.bad_rows, started=started, rules=rules, tally=tally)
        return Taken(found.keys, count, bool(found.proposals), cut)

    async def _take_all(
        self, rows: Sequence[RawRow], bad: Sequence[BadRow], *, started: int, rules: Rules, tally: Tally
    ) -> Taken:
        """Take in rows of several venues, each with what is known of its own."""
        memories = cast("Mapping[int, int]", self.memories)
        keys: list[RowKey] = []
        by_venue: dict[int, list[RawRow]] = {}
        tally.bad += bad
        for raw in rows:
            try:
                key = row_key(raw)
            except RowUnreadable as error:
                tally.bad.append(bad_row(raw, error))
                continue
            keys.append(key)
            if key.venue_id in memories:
                by_venue.setdefault(cast("int", key.venue_id), []).append(raw)
            else:
                tally.strangers += 1
        changed = False
        for venue_id, own in by_venue.items():
            reader = replace(self, scope=replace(self.scope, venue_id=venue_id), memories=None)
            part = tally.venues.setdefault(venue_id, Tally())
            own_rules = replace(rules, memory_id=memories[venue_id])
            found = await reader._take(own, (), started=started, rules=own_rules, tally=part)  # noqa: SLF001  its own
            changed = changed or bool(found.proposals)
        tally.sum_up(keys)
        return Taken(keys, len(rows) + len(bad), changed)

    async def one(self, order_id: int, *, rules: Rules, tally: Tally) -> None:
        """Take in one order, asked for by its id.

        Raises:
            UnknownThingError: Clopos does not know it in this venue.
            StaleError: another worker owns the brand by now.
            CloposError: see ``core.errors``; nothing was committed.
        """
        started = await self.snapshots.begin()
        tally.requests += 1
        row = await self.client.get_order(
            self.access, order_id, venue_id=cast("int", self.scope.venue_id), purpose=self.purpose
        )
        found = await self._take([row], (), started=started, rules=rules, tally=tally)
        if found.strangers:
            raise UnknownThingError("Clopos gives an order of another venue.", status=200)

    async def remove(self, thing_id: int, *, tally: Tally) -> None:
        """Commit that a thing is gone, which the caller has made sure of.

        Raises:
            StaleError: another worker owns the brand by now.
        """
        started = await self.snapshots.begin()
        (head,) = await self.snapshots.heads(self.scope, [thing_id])
        (known,) = await self.snapshots.objects(self.scope, [thing_id])
        if head is None or known is None or REMOVED in head.flags:
            return
        proposal = Proposal(
            entity=thing_id,
            subject=self.source.feed.subject(thing_id),
            venue_id=self.scope.venue_id if self.source.of_venue else thing_id,
            head=head,
            object=known.object,
            raw=known.raw,
            fingerprint="",
            change=compare(self.source.feed, known.object, None, removed=True),
            flags=REMOVED + (FORGOTTEN if FORGOTTEN in head.flags else ""),
            settled=True,
        )
        tally.add(Judgement(statuses={thing_id: None}), await self._commit([proposal], started))

    async def _take(
        self, rows: Sequence[RawRow], bad: Sequence[BadRow], *, started: int, rules: Rules, tally: Tally
    ) -> Judgement:
        found = await judge(self.snapshots, self.source, self.scope, rows, started=started, rules=rules)
        found.bad += bad
        report = CommitReport()
        if found.proposals:
            report = await self._commit(await self._attribute(found.proposals), started)
        tally.add(found, report)
        return found

    async def _commit(self, proposals: list[Proposal], started: int) -> CommitReport:
        report = await self.committer.commit(
            self.scope, proposals, started=started, fence=self.fence, origin=self.origin
        )
        if report.lost:
            raise StaleError("another worker looks at this brand by now")
        return report

    async def _attribute(self, proposals: list[Proposal]) -> list[Proposal]:
        """Say of cancellations that were caused through our API that they were: this look may see them first."""
        venue_id = self.scope.venue_id
        cancelled = [
            proposal.entity
            for proposal in proposals
            if isinstance(proposal.entity, int)
            and proposal.change is not None
            and proposal.object.get("status") == CANCELLED
            and proposal.change.data.get("previous_status") != CANCELLED
        ]
        if not cancelled or venue_id is None:
            return proposals
        ours = await self.commands.marked(self.scope.brand, venue_id, cancelled)
        return [replace(each, origin="command") if each.entity in ours else each for each in proposals]
