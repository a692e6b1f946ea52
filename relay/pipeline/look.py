"""How is one venue looked at?  What was touched last, until what is known; all of it, the first time.

``updated_at`` is a token that orders rows: it is compared with other rows' only, never with our clock. What a row
holds decides whether it has changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from relay.clopos.rowkeys import RowKey
from relay.pipeline.judge import Rules, moment
from relay.pipeline.pages import Pages
from relay.pipeline.reading import Reader, Tally
from relay.store.findings import FeedState
from relay.store.quota import Granted

OVERLAP: Final = timedelta(seconds=120)
"""A row may turn up that late, its ``updated_at`` in the past, and is still seen soon."""

OVERLAP_EVERY_MS: Final = 10_000
"""How often a look goes back that far, as long as something has changed lately; the others stop at what is known."""

ROWS: Final = 50
"""Asked for on a page of a look: few, as most looks find nothing; as many as Clopos gives unasked."""

ROWS_OF_ALL: Final = 200
"""Asked for on a page when all is read."""

MOST_PAGES: Final = 20
"""Of one look; what lies deeper is found by the full compare, which is then due at once."""

FIRST_PAGES: Final = 50
"""Of one venue's first look, at most."""

FIRST_PAGES_OF_BRAND: Final = 300
"""Of the first looks of all venues of a brand, shared out evenly, but at least three for each."""

FULL_LIST_PAGES: Final = 50
"""Of a list that is read whole (stations)."""


@dataclass(frozen=True, slots=True)
class Pass:
    """How a look ended.

    Attributes:
        again: something moved under it: look again at once.
        deeper: it did not reach what is known: a full compare is due.
        cut: the list went on where it came empty: nothing follows from what did not come.
    """

    again: bool = False
    deeper: bool = False
    cut: bool = False


async def look_at_latest(
    reader: Reader, state: FeedState, rules: Rules, *, tally: Tally, now_ms: int, grant: Granted | None
) -> Pass:
    """Read what was touched since the last look, and move the watermark once all of it is committed.

    Args:
        reader: of the venue.
        state: of its feed; changed in place, to be written down by the caller.
        rules: how to take rows.
        tally: what the pages bring.
        now_ms: Redis' clock.
        grant: a place in the quota for the first page.

    Raises:
        StaleError, CloposError: see ``Reader.page``; the watermark has not moved.
    """
    mark = moment(state.mark)
    deep = _is_deep(state, now_ms)
    settled = now_ms - state.mark_ms > OVERLAP / timedelta(milliseconds=1)
    deeper = False
    pages = Pages(tally)
    for number in range(1, MOST_PAGES + 2):
        if number > MOST_PAGES:
            deeper = True
            break
        page = await reader.page(
            [*reader.source.latest_first, ("page", str(number))],
            rules=rules,
            tally=tally,
            state=state,
            rows=ROWS,
            grant=grant if number == 1 else None,
        )
        if not _in_order(page.keys):
            state.unsorted_ms = now_ms
            return Pass(again=True)
        if page.cut:
            # What follows is unread: where the watermark stands, the next look goes that deep again.
            return Pass(again=tally.conflicts > 0)
        times = [when for key in page.keys if (when := moment(key.updated_at)) is not None]
        if pages.end_with(page):
            break
        if mark is not None and times:
            if not deep and not page.changed and (settled or times[-1] <= mark):
                break
            if times[-1] < (mark - OVERLAP if deep else mark):
                break
    _move_mark(state, tally.touched, now_ms)
    if deep:
        state.deep_ms = now_ms
    return Pass(again=tally.conflicts > 0, deeper=deeper)


def _is_deep(state: FeedState, now_ms: int) -> bool:
    """Whether rows may have turned up late that no look has gone back for yet."""
    overlap_ms = OVERLAP / timedelta(milliseconds=1)
    return state.deep_ms <= state.mark_ms + overlap_ms and now_ms - state.deep_ms >= OVERLAP_EVERY_MS


async def look_by_date(
    reader: Reader, state: FeedState, rules: Rules, *, tally: Tally, now_ms: int, grant: Granted | None
) -> Pass:
    """Read the orders of the last days whole: for when Clopos does not put first what was touched last.

    The days are ours and Clopos' may begin elsewhere, so there is one more at either end.

    Raises:
        StaleError, CloposError: see ``Reader.page``.
    """
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    window = [("date[0]", str(today - timedelta(days=2))), ("date[1]", str(today + timedelta(days=1)))]
    pages = Pages(tally)
    for number in range(1, MOST_PAGES + 1):
        page = await reader.page(
            [*reader.source.newest_first, *window, ("page", str(number))],
            rules=rules,
            tally=tally,
            state=state,
            rows=ROWS_OF_ALL,
            grant=grant if number == 1 else None,
        )
        if pages.end_with(page):
            return Pass(again=tally.conflicts > 0)
    return Pass(again=tally.conflicts > 0, deeper=True)


async def look_first(
    reader: Reader, state: FeedState, rules: Rules, *, tally: Tally, now_ms: int, most_pages: int
) -> Pass:
    """Read a venue for the first time: remember what is there, announce what the brand's ``backfill`` wants.

    Rows come touched last first, so what lies beyond ``most_pages`` is what is least likely to change; it counts as
    older than memory. Safe to repeat: what an interrupted first look has committed is known.

    Raises:
        StaleError, CloposError: see ``Reader.page``; the venue waits for its first look still.
    """
    heads = await reader.snapshots.all_heads(reader.scope)
    rules = replace(rules, first_look=True, memory_id=max(heads, default=0))
    touched: list[datetime] = []
    memory_id = 0
    pages = Pages(tally)
    for number in range(1, most_pages + 1):
        page = await reader.page(
            [*reader.source.latest_first, ("page", str(number))],
            rules=rules,
            tally=tally,
            state=state,
            rows=ROWS_OF_ALL,
        )
        touched += [when for key in page.keys if (when := moment(key.updated_at)) is not None]
        if pages.end_with(page):
            break
        if number == 1:
            # There is more than will be read, perhaps: the newest are read for sure, and tell where memory ends.
            await reader.page(
                [*reader.source.newest_first, ("page", "1")], rules=rules, tally=tally, state=state, rows=ROWS_OF_ALL
            )
            memory_id = max(tally.ids, default=0)
    _move_mark(state, touched, now_ms)
    state.deep_ms = now_ms
    state.memory_id = max(memory_id or max(tally.ids, default=0), state.memory_id)
    state.first_ms = now_ms
    return Pass(again=True)


async def look_at_all(
    reader: Reader, state: FeedState, rules: Rules, *, tally: Tally, now_ms: int, grant: Granted | None
) -> Pass:
    """Read a list that knows no order of its own, whole: stations, venues."""
    first = not state.first_ms
    if first:
        heads = await reader.snapshots.all_heads(reader.scope)
        rules = replace(rules, first_look=True, memory_id=max(heads, default=0))
    pages = Pages(tally)
    for number in range(1, FULL_LIST_PAGES + 1):
        page = await reader.page(
            [("page", str(number))] if reader.source.paged else [],
            rules=rules,
            tally=tally,
            state=state,
            rows=ROWS_OF_ALL if reader.source.paged else 0,
            grant=grant if number == 1 else None,
        )
        if not reader.source.paged or pages.end_with(page):
            break
    if first:
        state.memory_id = max(tally.ids, default=0)
        state.first_ms = now_ms
    return Pass(again=tally.conflicts > 0, cut=page.cut)


def _in_order(keys: Sequence[RowKey]) -> bool:
    times = [when for key in keys if (when := moment(key.updated_at)) is not None]
    return all(later >= earlier for later, earlier in pairwise(times))


def _move_mark(state: FeedState, touched: Sequence[datetime], now_ms: int) -> None:
    """Move the watermark to the latest change that was found.

    That is the first row's ``updated_at`` as a rule. Where Clopos' clock went back it is an earlier time, and the next
    look reads deeper: a hint that is too old costs a longer look, one that is too new loses changes.
    """
    if touched:
        state.mark = max(touched).isoformat()
        state.mark_ms = now_ms
