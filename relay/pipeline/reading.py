"""How is one page of a feed taken in?  Ask, judge, commit: the one step that every look at Clopos is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from relay.clopos.api import Access
from relay.clopos.client import CloposClient
from relay.clopos.feeds import FeedSource
from relay.clopos.rowkeys import RowKey
from relay.clopos.schema import BadRow
from relay.core.errors import PageUnreadable, RefusedError, StaleError
from relay.pipeline.commit import CommitReport, Committer, Proposal
from relay.pipeline.judge import OPEN, Judgement, Rules, judge
from relay.store.commands import CommandStore
from relay.store.commit import Fence
from relay.store.quota import Granted, Purpose
from relay.store.snapshots import Scope, SnapshotStore
from relay.store.venues import FeedState

CANCELLED: Final = "cancelled"
"""The status that a command through our API brings about."""

FEWER_ROWS: Final = {200: 50, 50: 0}
"""What to ask for when Clopos refuses a number of rows; 0 is no number at all."""


@dataclass(slots=True)
class Tally:
    """What the pages of one look brought together.

    Attributes:
        statuses: id -> status of every thing whose row was parsed, see ``Judgement``.
        closed: ids of things whose row was known, and that are not open.
        events: committed, as ``CommitReport`` has them.
        ids: of every row read.
    """

    requests: int = 0
    rows: int = 0
    known: int = 0
    silent: int = 0
    conflicts: int = 0
    strangers: int = 0
    silent_changes: int = 0
    total: int | None = None
    bad: list[BadRow] = field(default_factory=list)
    statuses: dict[int, str | None] = field(default_factory=dict)
    events: list[tuple[int | str, str, str, int, int]] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)

    def add(self, found: Judgement, report: CommitReport) -> None:
        """Take in one page."""
        self.rows += len(found.keys) + len(found.bad)
        self.known += found.known
        self.silent += report.silent
        self.conflicts += found.conflicts + len(report.conflicts)
        self.strangers += found.strangers
        self.silent_changes += found.silent_changes
        self.bad += found.bad
        self.statuses.update(found.statuses)
        self.events += report.events
        self.ids.update(key.id for key in found.keys)
        self.closed.update(row_id for row_id, head in found.heads.items() if OPEN not in head.flags)


@dataclass(frozen=True, slots=True)
class Taken:
    """One page, taken in.

    Attributes:
        keys: of its readable rows, in order.
        rows: how many it had, readable or not.
        changed: ids of the things that were not as known.
    """

    keys: list[RowKey]
    rows: int
    changed: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads one feed of one venue for whoever owns the brand.

    Attributes:
        fence: proof of the ownership; None for a caller without a lease.
        origin: of the events.
        purpose: whose share of the quota it uses.
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
        found = await judge(self.snapshots, self.source, self.scope, page.rows, started=started, rules=rules)
        found.bad += page.bad_rows
        report = CommitReport()
        if found.proposals:
            proposals = await self._attribute(found.proposals)
            report = await self.committer.commit(
                self.scope, proposals, started=started, fence=self.fence, origin=self.origin
            )
            if report.lost:
                raise StaleError("another worker looks at this brand by now")
        tally.add(found, report)
        tally.total = page.total if page.total is not None else tally.total
        changed = frozenset(proposal.entity for proposal in found.proposals if isinstance(proposal.entity, int))
        return Taken(found.keys, len(page.rows) + len(page.bad_rows), changed)

    async def _attribute(self, proposals: list[Proposal]) -> list[Proposal]:
        """Say of cancellations that were caused through our API that they were: this look may see them first."""
        venue_id = self.scope.venue_id
        cancelled = [
            proposal.entity
            for proposal in proposals
            if isinstance(proposal.entity, int)
            and proposal.change is not None
            and proposal.change.type.endswith("status_changed")
            and proposal.object.get("status") == CANCELLED
        ]
        if not cancelled or venue_id is None:
            return proposals
        ours = await self.commands.marked(self.scope.brand, venue_id, cancelled)
        return [replace(each, origin="command") if each.entity in ours else each for each in proposals]
