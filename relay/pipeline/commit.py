"""How do changes become events in the log and in lanes?  Route, pack, and commit; again where the ground moved."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from relay import logs, traces
from relay.core.changes import Change
from relay.core.digests import content_digest
from relay.core.errors import StaleError
from relay.core.events import Draft, Origin, draft, pack_static
from relay.core.normalize import NORMALIZER_VERSION
from relay.core.subscriptions import Router
from relay.store import keys
from relay.store.commit import (
    MOST_REFERENCES,
    Announcement,
    Answer,
    CommitStore,
    Committed,
    Entry,
    Fence,
    Refused,
    Result,
)
from relay.store.connection import Redis
from relay.store.snapshots import Head, Scope, SnapshotStore, pack, static_head
from relay.store.subscriptions import SubscriptionStore

ROUTING_TRIES = 10
OPERATIONAL_TRIES = 10
MOST_ENTRIES = 500
OPERATIONAL_SCOPE = Scope("", None, "operational")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One thing as it was read, and what became of it.

    Attributes:
        entity: its id at Clopos (or the subject of an operational event).
        subject: ``order/1``.
        venue_id: of its event.
        head: of its snapshot as it was read; None when there was none.
        object: normalized.
        raw: its row as Clopos sent it.
        fingerprint: digest of that row, hex; "" when it does not come from a row.
        change: None writes the snapshot and announces nothing.
        flags: letters of the new head.
        settled: nothing is expected to happen to it.
        origin: of its event, where it differs from that of the whole commit.
    """

    entity: int | str
    subject: str
    venue_id: int | None
    head: Head | None
    object: dict[str, Any]
    raw: bytes | None
    fingerprint: str
    change: Change | None
    flags: str = ""
    settled: bool = False
    origin: str | None = None


@dataclass(slots=True)
class CommitReport:
    """What a commit brought.

    Attributes:
        events: committed now, in order: (entity, type, event id, position, sequence).
        silent: snapshots written without an event.
        unchanged: proposals that were true already.
        conflicts: entities that somebody else wrote since they were read: look again.
        lost: another worker owns the brand; whatever was not committed before is dropped.
    """

    events: list[tuple[int | str, str, str, int, int]] = field(default_factory=list)
    silent: int = 0
    unchanged: int = 0
    conflicts: list[int | str] = field(default_factory=list)
    lost: bool = False


class OperationalEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An operational event that a script put on the list of announcements.

    Attributes:
        about: subscription it must not be told to, None for none.
        nonce: tells two that say the same apart.
    """

    type: str
    subject: str
    brand: str | None = None
    venue_id: int | None = None
    origin: str = Origin.COMMAND.value
    partner: str | None = None
    about: str | None = None
    data: dict[str, Any]
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class _Routing:
    epoch: int
    router: Router
    references: dict[str, str]
    keeps_raw: bool


class Committer:
    """Commits what was found, and tells the workers that deliver."""

    def __init__(
        self,
        *,
        redis: Redis,
        commits: CommitStore,
        snapshots: SnapshotStore,
        subscriptions: SubscriptionStore,
        wake: Callable[[str], Awaitable[None]],
    ) -> None:
        self._redis: Any = redis  # redis-py's annotations cannot say that replies are bytes
        self._commits = commits
        self._snapshots = snapshots
        self._subscriptions = subscriptions
        self._wake = wake
        self._routing: _Routing | None = None
        self._draining = asyncio.Lock()

    async def commit(
        self, scope: Scope, proposals: Sequence[Proposal], *, started: int, fence: Fence | None, origin: str
    ) -> CommitReport:
        """Commit proposals, each whole or not at all; in batches, so that no script holds Redis up.

        Args:
            started: stamp of ``SnapshotStore.begin``, taken before Clopos was asked.
            fence: None for a caller without a lease.
            origin: of the events: poll, reconcile, command, backfill.

        Raises:
            redis.exceptions.RedisError: a batch was not committed, or its answer was lost; those before it are.
        """
        report = CommitReport()
        rest = list(proposals)
        orphans = 0
        tries = 0
        while rest:
            routing = await self._routes()
            batch, entries, drafts = self._prepare(scope, rest, routing, origin)
            answer = await self._commits.commit(scope, entries, started=started, fence=fence, epoch=routing.epoch)
            if answer is Refused.FENCE:
                report.lost = True
                break
            if answer is Refused.ROUTES:
                self._routing = None
                tries += 1
                if tries > ROUTING_TRIES:
                    raise StaleError("subscriptions change faster than events can be routed: try again")
                continue
            assert isinstance(answer, Answer)  # noqa: S101  (the two refusals are handled above)
            orphans += answer.orphan_lanes
            _warn(answer)
            for proposal, made, result in zip(batch, drafts, answer.results, strict=True):
                _note(report, proposal, made, result)
                if made is not None and result.outcome is Committed.EVENT:
                    _trace("command" if made.origin == Origin.COMMAND else "look", made, started, result)
            rest = rest[len(batch) :]
        if orphans:
            await self._wake("deliver")
        return report

    async def operational(self, event: OperationalEvent, *, listed: bytes = b"") -> bool:
        """Commit one operational event; False when it was committed before.

        Args:
            listed: the element of the list of announcements that it comes from, taken off in the same script.
        """
        for _ in range(OPERATIONAL_TRIES):
            started = await self._snapshots.begin()
            (head,) = await self._snapshots.heads(OPERATIONAL_SCOPE, [event.subject])
            routing = await self._routes()
            made = draft(
                Change(event.type, event.data),
                brand=event.brand,
                venue_id=event.venue_id,
                subject=event.subject,
                origin=event.origin,
                previous_id=None if head is None else head.event_id,
                raw=None,
            )
            wanted = routing.router.match(
                event.brand, event.venue_id, event.type, partner=event.partner, about=event.about
            )
            entry = Entry(
                entity=event.subject,
                head=head,
                static_head=static_head(
                    normalizer=0,
                    fingerprint="",
                    content=content_digest({"id": made.id, "nonce": event.nonce}),
                    flags="",
                ),
                packed=b"",
                settled=True,
                announcement=_announcement(made, tuple(routing.references[s] for s in wanted), listed=listed),
            )
            answer = await self._commits.commit(
                OPERATIONAL_SCOPE, [entry], started=started, fence=None, epoch=routing.epoch
            )
            if isinstance(answer, Refused):
                self._routing = None
                continue
            if answer.results[0].outcome is Committed.CONFLICT:
                continue
            _warn(answer)
            (result,) = answer.results
            if result.outcome is Committed.EVENT:
                _trace("announcement", made, started, result)
            if answer.orphan_lanes:
                await self._wake("deliver")
            return result.outcome is Committed.EVENT
        raise StaleError("too many operational events of one subject at once: try again")

    async def drain_announcements(self) -> int:
        """Commit the operational events that scripts have put on their list; how many were."""
        done = 0
        async with self._draining:
            while True:
                listed = await self._redis.lrange(keys.ANNOUNCEMENTS, 0, 99)
                if not listed:
                    return done
                for element in listed:
                    try:
                        event = msgspec.json.decode(element, type=OperationalEvent)
                    except msgspec.DecodeError as error:
                        logs.event("announcement unreadable", level="error", exc=error)
                        await self._redis.lrem(keys.ANNOUNCEMENTS, 1, element)
                        continue
                    done += await self.operational(event, listed=element)

    async def _routes(self) -> _Routing:
        """The present routing; a stale one is found out by the commit itself."""
        if self._routing is None:
            epoch, stored = await self._subscriptions.snapshot()
            subscriptions = [document.value for document in stored.values()]
            self._routing = _Routing(
                epoch,
                Router([s.route for s in subscriptions]),
                {s.id: s.reference for s in subscriptions},
                any(shape.include_raw for s in subscriptions for shape in s.shapes[-1:]),
            )
        return self._routing

    def _prepare(
        self, scope: Scope, proposals: Sequence[Proposal], routing: _Routing, origin: str
    ) -> tuple[list[Proposal], list[Entry], list[Draft | None]]:
        """As many proposals as fit one call."""
        batch: list[Proposal] = []
        entries: list[Entry] = []
        drafts: list[Draft | None] = []
        references = 0
        for proposal in proposals:
            raw = proposal.raw if routing.keeps_raw else None
            made = None
            event = None
            if proposal.change is not None:
                made = draft(
                    proposal.change,
                    brand=scope.brand,
                    venue_id=proposal.venue_id,
                    subject=proposal.subject,
                    origin=proposal.origin or origin,
                    previous_id=None if proposal.head is None else proposal.head.event_id,
                    raw=raw,
                )
                wanted = routing.router.match(scope.brand, proposal.venue_id, proposal.change.type)
                references += len(wanted)
                if batch and (references > MOST_REFERENCES or len(batch) >= MOST_ENTRIES):
                    break
                event = _announcement(made, tuple(routing.references[s] for s in wanted))
            elif len(batch) >= MOST_ENTRIES:
                break
            batch.append(proposal)
            drafts.append(made)
            entries.append(
                Entry(
                    entity=str(proposal.entity),
                    head=proposal.head,
                    static_head=static_head(
                        normalizer=NORMALIZER_VERSION,
                        fingerprint=proposal.fingerprint,
                        content=content_digest(proposal.object),
                        flags=proposal.flags,
                    ),
                    packed=pack(proposal.object, raw),
                    settled=proposal.settled,
                    announcement=event,
                )
            )
        return batch, entries, drafts


def queue_of(brand: str | None, venue_id: int | None, subject: str) -> str:
    """Name of the queue of a subject within a lane."""
    return f"{brand or ''}/{'' if venue_id is None else venue_id}/{subject}"


def encode_announcement(event: OperationalEvent) -> bytes:
    """An operational event as the list of announcements holds it."""
    return orjson.dumps(msgspec.to_builtins(event))


def _announcement(made: Draft, references: tuple[str, ...], *, listed: bytes = b"") -> Announcement:
    return Announcement(
        event_id=made.id,
        static=pack_static(made),
        counter=f"events|{made.brand or ''}|{made.type}|{made.origin}",
        queue=queue_of(made.brand, made.venue_id, made.subject),
        references=references,
        taken_from_list=listed,
    )


def _warn(answer: Answer) -> None:
    for name in answer.corrupt_lanes:
        logs.event("lane unreadable", level="error", subscription=name)


def _note(report: CommitReport, proposal: Proposal, made: Draft | None, result: Result) -> None:
    match result.outcome:
        case Committed.EVENT if made is not None:
            report.events.append((proposal.entity, made.type, made.id, result.position, result.sequence))
        case Committed.CONFLICT:
            report.conflicts.append(proposal.entity)
        case Committed.UNCHANGED:
            report.unchanged += 1
        case _:
            report.silent += 1


def _trace(what: str, made: Draft, started: int, result: Result) -> None:
    """Begin the event's trace: from before Clopos was asked to the commit."""
    if traces.on():
        traces.found(
            made.id,
            what=what,
            began_ms=started // keys.STAMPS_PER_MS,
            ended_ms=result.position // keys.STAMPS_PER_MS,
            attributes={
                "relay.event_id": made.id,
                "relay.type": made.type,
                "relay.brand": made.brand,
                "relay.venue_id": made.venue_id,
                "relay.subject": made.subject,
                "relay.origin": made.origin,
            },
        )
