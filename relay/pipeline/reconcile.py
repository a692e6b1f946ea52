"""Is what we know what Clopos holds?  The full compare of a venue's recent orders, and what to make of what is missing.

Read by id, the newest first, back to a day before the newest. Each page begins before the end of the one before, so
that a list that loses rows while it is read is noticed by the missing overlap.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from relay.core.errors import UnknownThingError
from relay.pipeline.judge import Rules, moment
from relay.pipeline.look import OVERLAP
from relay.pipeline.pages import Pages
from relay.pipeline.reading import Reader, Tally
from relay.store.findings import FeedState
from relay.store.quota import Granted
from relay.store.snapshots import OPEN, REMOVED, Head

WINDOW: Final = timedelta(hours=24)
"""How far back, by ``created_at``, from the newest order; more after a gap."""

ROWS: Final = 200
MOST_PAGES: Final = 100
MOST_RESTARTS: Final = 3
MOST_OPEN_PAGES: Final = 3
MOST_ASKED: Final = 10
"""Orders asked for one by one in one compare."""

MOST_MISSING: Final = 200
"""Missing things that are kept in mind."""

PASSES_TO_VANISH: Final = 2
PASSES_OF_EMPTY_LIST: Final = 10
"""A list that is empty all of a sudden is more likely wrong than true."""

MISSING_AGAIN_MS: Final = 30_000
"""When something is missing, the next compare comes that soon."""


@dataclass(slots=True)
class Compared:
    """What a full compare covered.

    Attributes:
        lowest: the lowest id of the window that was read whole; None where nothing was read.
        complete: it was read whole.
    """

    lowest: int | None = None
    complete: bool = False


async def compare_recent(
    reader: Reader, state: FeedState, rules: Rules, *, tally: Tally, gap: timedelta, grant: Granted | None
) -> None:
    """Compare a venue's recent orders with Clopos', and see to what is missing there.

    Args:
        reader: of the venue.
        state: of its orders; changed in place.
        rules: how to take rows.
        tally: what it brings; ``late`` counts what the looks should have found.
        gap: how long nobody looked.
        grant: a place in the quota for the first page.

    Raises:
        StaleError, CloposError: see ``Reader.page``; nothing is concluded from what was read.
    """
    mark = moment(state.mark)
    rules = replace(rules, late_before=None if mark is None else mark - OVERLAP)
    compared = Compared()
    for _ in range(MOST_RESTARTS):
        compared = await _read_window(reader, state, rules, tally=tally, window=WINDOW + gap, grant=grant)
        grant = None
        if compared.complete:
            break
    heads = await reader.snapshots.all_heads(reader.scope)
    if compared.complete and compared.lowest is not None:
        await see_to_missing(reader, state, rules, tally=tally, expected=_expected(heads, compared.lowest), asked=True)
    await _ask_for_old(reader, state, rules, tally=tally, heads=heads, lowest=compared.lowest)


async def _read_window(
    reader: Reader, state: FeedState, rules: Rules, *, tally: Tally, window: timedelta, grant: Granted | None
) -> Compared:
    compared = Compared()
    newest: datetime | None = None
    covered = 0
    pages = Pages(tally)
    most = min(ROWS, state.limit)
    for number in range(1, MOST_PAGES + 1):
        most = min(most, state.limit)  # Clopos may have refused as many
        at = overlapping_page(covered, most) if most else PageAt(number, 0)
        page = await reader.page(
            [*reader.source.newest_first, ("page", str(at.number))],
            rules=rules,
            tally=tally,
            state=state,
            rows=at.rows,
            grant=grant if number == 1 else None,
        )
        ended = pages.end_with(page)
        if page.cut:
            return compared  # not to its end
        if not page.rows or (compared.lowest is None and tally.is_whole):
            compared.complete, compared.lowest = True, min((key.id for key in page.keys), default=compared.lowest)
            return compared
        if number == 1 and page.rows < at.rows:
            most = page.rows  # Clopos gives fewer than asked for, or has no more
            if tally.total is not None:
                state.limit = most
        covered = max(covered, (at.number - 1) * at.rows + page.rows)
        if not page.keys:
            continue
        if at.overlaps and compared.lowest is not None and max(key.id for key in page.keys) < compared.lowest:
            return compared  # no overlap: rows went away under the reading
        compared.lowest = min(*(key.id for key in page.keys), compared.lowest or page.keys[0].id)
        created = [when for key in page.keys if (when := moment(key.created_at)) is not None]
        newest = newest or max(created, default=None)
        if ended or (newest is not None and created and created[-1] < newest - window):
            compared.complete = True
            return compared
    return compared


@dataclass(frozen=True, slots=True)
class PageAt:
    """A page to ask for.

    Attributes:
        number: from 1.
        rows: on each page; 0 for as many as Clopos likes.
        overlaps: it begins before the end of what is covered.
    """

    number: int
    rows: int
    overlaps: bool = False


def overlapping_page(covered: int, most: int) -> PageAt:
    """Find the page that goes furthest and still begins before the end of what is covered.

    Args:
        covered: rows from the top that were read.
        most: rows on a page, at most; at least 1.
    """
    if not covered:
        return PageAt(1, most)
    furthest = max(range(1, most + 1), key=lambda rows: ((covered - 1) // rows + 1) * rows)
    number = (covered - 1) // furthest + 1
    if number * furthest > covered:
        return PageAt(number, furthest, overlaps=True)
    # With few rows on a page there may be none that both overlaps and goes further.
    rows = max(rows for rows in range(1, most + 1) if covered % rows == 0)
    return PageAt(covered // rows + 1, rows)


def _expected(heads: dict[int, Head], lowest: int) -> set[int]:
    """Ids that should have come: known, not removed, within the window."""
    return {thing_id for thing_id, head in heads.items() if thing_id >= lowest and REMOVED not in head.flags}


async def see_to_missing(
    reader: Reader, state: FeedState, rules: Rules, *, tally: Tally, expected: set[int], asked: bool
) -> None:
    """Make sure of what did not come: gone is only what is missing twice and, if it can be asked for, a 404 by its id.

    Args:
        reader: of the feed.
        state: of the feed: what was missing before; changed in place.
        rules: how to take rows.
        tally: what came.
        expected: ids of what is known and should have come.
        asked: whether things can be asked for by their ids.
    """
    missing = expected - tally.ids - {row.id for row in tally.bad} - tally.corrupt
    passes = PASSES_TO_VANISH if tally.ids else PASSES_OF_EMPTY_LIST
    counted = {thing_id: state.missing.get(thing_id, 0) + 1 for thing_id in sorted(missing)[:MOST_MISSING]}
    gone = sorted(thing_id for thing_id, times in counted.items() if times >= passes)
    for thing_id in gone[:MOST_ASKED]:
        if asked:
            try:
                await reader.one(thing_id, rules=rules, tally=tally)
            except UnknownThingError:
                pass
            else:
                del counted[thing_id]
                continue
        await reader.remove(thing_id, tally=tally)
        del counted[thing_id]
    elsewhere = {thing_id: times for thing_id, times in state.missing.items() if thing_id not in expected}
    state.missing = elsewhere | counted


async def _ask_for_old(
    reader: Reader, state: FeedState, rules: Rules, *, tally: Tally, heads: dict[int, Head], lowest: int | None
) -> None:
    """Ask for some open orders that are older than the window, by their ids, all of them in turn."""
    old = sorted(
        thing_id
        for thing_id, head in heads.items()
        if OPEN in head.flags and (lowest is None or thing_id < lowest) and thing_id not in tally.ids
    )
    later = [thing_id for thing_id in old if thing_id > state.asked_id]
    for thing_id in (later or old)[:MOST_ASKED]:
        state.asked_id = thing_id
        try:
            await reader.one(thing_id, rules=rules, tally=tally)
            state.missing.pop(thing_id, None)
        except UnknownThingError:
            if state.missing.pop(thing_id, 0):
                await reader.remove(thing_id, tally=tally)
            else:
                state.missing[thing_id] = 1


async def look_at_open(reader: Reader, rules: Rules, *, tally: Tally, open_ids: set[int], state: FeedState) -> None:
    """Read the open orders that a look did not come across: for where changes do not move ``updated_at``.

    Raises:
        StaleError, CloposError: see ``Reader.page``.
    """
    pages = Pages(tally)
    for number in range(1, MOST_OPEN_PAGES + 1):
        if not open_ids - tally.ids:
            return
        params = [*reader.source.newest_first, ("page", str(number))]
        page = await reader.page(params, rules=rules, tally=tally, state=state, rows=ROWS)
        if pages.end_with(page):
            return
