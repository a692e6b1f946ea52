"""What do rows that were just read change?  Their heads first; whatever is new in bytes is parsed and compared."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from relay.clopos.feeds import FeedSource
from relay.clopos.rowkeys import RowKey, row_key
from relay.clopos.schema import BadRow, RawRow, bad_row, read_row
from relay.core.changes import Change, Feed, compare
from relay.core.digests import content_digest
from relay.core.errors import CorruptStateError, RowUnreadable
from relay.core.normalize import NORMALIZER_VERSION
from relay.pipeline.commit import Proposal
from relay.store.snapshots import FORGOTTEN, OPEN, REMOVED, Head, Scope, Snapshot, SnapshotStore

_ROWS_AT_ONCE: Final = 50
"""Rows judged before others get a turn in the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How rows are to be taken.

    Attributes:
        currency: the brand's.
        memory_id: the highest id of the first look: a row without snapshot at or below it is older than memory. At
            the first look itself: the highest id that an interrupted first look has left; 0 for none.
        first_look: rows without snapshot are remembered, and not announced, unless they came after an interrupted one.
        announce_since: at the first look, announce orders whose ``created_at`` is not before this all the same.
        retake: the settings changed: compare rows anew even where their bytes are known.
        only: ids that are of interest; None for all.
        silent: remember, announce nothing.
        late_before: rows whose ``updated_at`` is not after this should have been seen by an earlier look: their changes
            are of the full compare.
    """

    currency: str | None = None
    memory_id: int = 0
    first_look: bool = False
    announce_since: datetime | None = None
    retake: bool = False
    only: frozenset[int] | None = None
    silent: bool = False
    late_before: datetime | None = None


@dataclass(slots=True)
class Judgement:
    """What a page's rows mean.

    Attributes:
        keys: of all readable rows, in the page's order.
        known: rows whose bytes were known.
        proposals: what to commit, the row that was touched first in front.
        bad: rows that cannot be read.
        strangers: rows of another venue than the one asked for.
        conflicts: things that somebody else wrote after this page was asked for: look again.
        silent_changes: changed things whose ``updated_at`` is the one they had before.
        unreadable_heads: ids of things whose snapshot is not what was written; they are left alone.
        statuses: id -> status of every thing whose row was parsed; None when nothing is expected to happen to it.
        heads: of the rows that had one.
    """

    keys: list[RowKey] = field(default_factory=list)
    known: int = 0
    proposals: list[Proposal] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    strangers: int = 0
    conflicts: int = 0
    silent_changes: int = 0
    unreadable_heads: list[int] = field(default_factory=list)
    statuses: dict[int, str | None] = field(default_factory=dict)
    heads: dict[int, Head] = field(default_factory=dict)


async def judge(
    snapshots: SnapshotStore, source: FeedSource, scope: Scope, rows: Sequence[RawRow], *, started: int, rules: Rules
) -> Judgement:
    """Compare the rows of one page with what is known.

    Args:
        snapshots: what is known.
        source: the feed.
        scope: the feed of the venue that was asked for.
        rows: as the page has them.
        started: stamp taken before the page was asked for; what was written since is newer than the page.
        rules: how to take them.
    """
    found = Judgement()
    last = _named(found, source, scope, rows, rules)
    heads = await _heads(snapshots, scope, last, found)
    found.heads = {row_id: head for row_id, head in zip(last, heads, strict=True) if head is not None}
    fresh: list[tuple[RowKey, RawRow, Head | None]] = []
    for (key, raw), head in zip(last.values(), heads, strict=True):
        if head is None or rules.retake or not _is_known(head, raw):
            if head is not None and head.stamp > started:
                found.conflicts += 1
            else:
                fresh.append((key, raw, head))
        else:
            found.known += 1
    before = await _objects(snapshots, scope, [key.id for key, _, head in fresh if head is not None])
    if not rules.first_look and any(head is None for _, _, head in fresh):
        rules = replace(rules, memory_id=max(rules.memory_id, await snapshots.floor(scope)))
    for at in range(0, len(fresh), _ROWS_AT_ONCE):
        if at:
            await asyncio.sleep(0)
        for key, raw, head in fresh[at : at + _ROWS_AT_ONCE]:
            _judge_row(found, source, scope, (key, raw, head, before.get(key.id)), rules)
    found.proposals.reverse()
    return found


async def _heads(
    snapshots: SnapshotStore, scope: Scope, last: dict[int, tuple[RowKey, RawRow]], found: Judgement
) -> list[Head | None]:
    """Heads in the order of ``last``; a row whose head cannot be read is taken out of it."""
    try:
        return await snapshots.heads(scope, list(last))
    except CorruptStateError:
        heads: list[Head | None] = []
        for row_id in list(last):
            try:
                heads += await snapshots.heads(scope, [row_id])
            except CorruptStateError:
                del last[row_id]
                found.unreadable_heads.append(row_id)
        return heads


async def _objects(snapshots: SnapshotStore, scope: Scope, ids: list[int]) -> dict[int, Snapshot | None]:
    """Objects by id; None for one that cannot be read, as if it were not there."""
    try:
        return dict(zip(ids, await snapshots.objects(scope, ids), strict=True))
    except CorruptStateError:
        objects: dict[int, Snapshot | None] = {}
        for row_id in ids:
            try:
                objects[row_id] = (await snapshots.objects(scope, [row_id]))[0]
            except CorruptStateError:
                objects[row_id] = None
        return objects


def _named(
    found: Judgement, source: FeedSource, scope: Scope, rows: Sequence[RawRow], rules: Rules
) -> dict[int, tuple[RowKey, RawRow]]:
    """The rows that are of interest, by id; of a row that is there twice the later one."""
    last: dict[int, tuple[RowKey, RawRow]] = {}
    for raw in rows:
        try:
            key = row_key(raw)
        except RowUnreadable as error:
            found.bad.append(bad_row(raw, error))
            continue
        if source.of_venue and key.venue_id not in (None, scope.venue_id):
            found.strangers += 1
        elif rules.only is None or key.id in rules.only:
            found.keys.append(key)
            last[key.id] = (key, raw)
    return last


def _is_known(head: Head, raw: RawRow) -> bool:
    """Whether a row need not be parsed: its bytes are known, or a newer version of this program has taken it."""
    return head.normalizer > NORMALIZER_VERSION or (
        head.normalizer == NORMALIZER_VERSION and head.fingerprint == raw.fingerprint.hex()
    )


def _judge_row(
    found: Judgement,
    source: FeedSource,
    scope: Scope,
    read: tuple[RowKey, RawRow, Head | None, Snapshot | None],
    rules: Rules,
) -> None:
    key, raw, head, known = read
    try:
        row = read_row(raw)
        thing = source.normalize(row, rules.currency)
    except RowUnreadable as error:
        found.bad.append(bad_row(raw, error))
        return
    if thing.get("venue_id", 0) is None:
        thing["venue_id"] = scope.venue_id
    kept: bytes | None = raw.data
    flags = ""
    if head is not None and FORGOTTEN in head.flags:
        thing, kept = source.forget(thing, kept)
        flags = FORGOTTEN
    removed = source.is_removed(row)
    was_removed = head is not None and REMOVED in head.flags
    before = None if known is None or was_removed else known.object
    still_open = not removed and source.is_open(thing)
    flags = (OPEN if still_open else "") + (REMOVED if removed else "") + flags
    change = None if rules.silent else _change(source, before, thing, head, raw, removed=removed, rules=rules)
    found.statuses[key.id] = thing.get("status") if still_open else None
    if change is None and _is_same(head, raw, thing, flags):
        found.known += 1
        return
    if change is not None and before is not None and before.get("updated_at") == thing.get("updated_at") is not None:
        found.silent_changes += 1
    found.proposals.append(
        Proposal(
            entity=key.id,
            subject=source.feed.subject(key.id),
            venue_id=scope.venue_id if source.of_venue else key.id,
            head=head,
            object=thing,
            raw=kept,
            fingerprint=raw.fingerprint.hex(),
            change=change,
            flags=flags,
            settled=not still_open,
            origin=_origin(key, head, rules),
        )
    )


def _is_same(head: Head | None, raw: RawRow, thing: dict[str, Any], flags: str) -> bool:
    """Whether the snapshot would not differ at all."""
    return (
        head is not None
        and _is_known(head, raw)
        and set(head.flags) == set(flags)
        and head.content == content_digest(thing)
    )


def _change(
    source: FeedSource,
    before: dict[str, Any] | None,
    thing: dict[str, Any],
    head: Head | None,
    raw: RawRow,
    *,
    removed: bool,
    rules: Rules,
) -> Change | None:
    if removed:
        return None if before is None else compare(source.feed, before, None, removed=True)
    if head is None:
        wanted = source.feed is Feed.ORDERS and _is_wanted(thing, rules.announce_since)
        if _is_memory(int(thing["id"]), rules) and not wanted:
            return None
        older = not rules.first_look and int(thing["id"]) <= rules.memory_id
        return compare(source.feed, None, thing, unknown_before=older)
    if REMOVED in head.flags:
        return compare(source.feed, None, thing)  # it is back
    if head.fingerprint == raw.fingerprint.hex():
        return None  # the same row, taken by another version or with other settings
    if before is not None and "currency" in before:
        before = {**before, "currency": thing["currency"]}
    return compare(source.feed, before, thing, unknown_before=True)


def _origin(key: RowKey, head: Head | None, rules: Rules) -> str | None:
    """Where an event of a row comes from, if not from where the rest of its page does."""
    if head is None and _is_memory(key.id, rules):
        return "backfill"
    if rules.late_before is None:
        return None
    touched = moment(key.updated_at)
    return "reconcile" if touched is None or touched <= rules.late_before else None


def _is_memory(thing_id: int, rules: Rules) -> bool:
    """Whether a thing without snapshot was there when the first look began."""
    return rules.first_look and (not rules.memory_id or thing_id <= rules.memory_id)


def _is_wanted(thing: dict[str, Any], since: datetime | None) -> bool:
    created = moment(thing.get("created_at"))
    return since is not None and created is not None and created >= since


def moment(text: Any) -> datetime | None:
    """Read a time as Clopos writes it; None for what is none. Only to be compared with others of Clopos'."""
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when
