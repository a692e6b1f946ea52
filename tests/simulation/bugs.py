"""Would the oracle notice?  Five bugs that such a relay is likely to have, to be planted in a run: ``--bug NAME``.

Each breaks one invariant, here only: the relay's files stay as they are. ``SEEDS`` names seeds that catch each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from relay.core import drafts
from relay.pipeline import look
from relay.pipeline.attempt import DELIVERED, Head, unsent
from relay.pipeline.in_hand import InHand
from relay.pipeline.judge import moment
from relay.pipeline.reading import Reader, Taken
from relay.store.scripts import Call

RunAll = Callable[[Sequence[Call]], Awaitable[list[Any]]]


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug.

    Attributes:
        does: what is wrong then, in a few words.
        edits: of scripts: by name, what is replaced by what.
        also: scripts made from others: new name, and the other's name with edits of its own.
        halves: runs the calls of a turn otherwise.
        plant: patches functions for the length of a run.
    """

    does: str
    edits: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    also: Mapping[str, tuple[str, Sequence[tuple[str, str]]]] = field(default_factory=dict)
    halves: Callable[[RunAll, Sequence[Call]], Awaitable[list[Any]]] | None = None
    plant: Callable[[], Any] = _nothing

    def scripts(self, sources: Mapping[str, str]) -> dict[str, str]:
        """The relay's scripts, with the bug.

        Raises:
            AssertionError: a script does not hold the text that was to be replaced: the bug must be written anew.
        """
        changed = dict(sources)
        for name, edits in self.edits.items():
            changed[name] = _edited(name, sources[name], edits)
        for name, (original, edits) in self.also.items():
            changed[name] = _edited(original, sources[original], edits)
        return changed


def _edited(name: str, text: str, edits: Sequence[tuple[str, str]]) -> str:
    for old, new in edits:
        assert old in text, f"{name}.lua does not hold {old!r} any more"
        text = text.replace(old, new)
    return text


@contextmanager
def _early_watermark() -> Iterator[None]:
    """The watermark moves with the first page, though others are to follow."""
    original = Reader.page

    async def page(self: Reader, params: Sequence[tuple[str, str]], **options: Any) -> Taken:
        taken = await original(self, params, **options)
        state = options["state"]
        if state.first_ms and ("page", "1") in params and list(params[:-1]) == list(self.source.latest_first):
            touched = [when for key in taken.keys if (when := moment(key.updated_at)) is not None]
            look._move_mark(state, touched, state.mark_ms)  # noqa: SLF001  (what it does, too early)
        return taken

    Reader.page = page  # type: ignore[method-assign]
    try:
        yield
    finally:
        Reader.page = original  # type: ignore[method-assign]


@contextmanager
def _counted_ids() -> Iterator[None]:
    """Ids are numbered instead of made from the change."""
    original, numbers = drafts.event_id, count(1)
    drafts.event_id = lambda *_, **__: f"evt_{next(numbers):026}"
    try:
        yield
    finally:
        drafts.event_id = original


@contextmanager
def _early_ack() -> Iterator[None]:
    """A delivery is settled as delivered while its attempt is under way."""
    original = InHand.begin

    def begin(self: InHand, lane: Any, endpoint: Any, head: Head) -> None:
        original(self, lane, endpoint, head)
        self.end(lane, unsent(head.queue, head.position, head.record, verdict=DELIVERED))

    InHand.begin = begin  # type: ignore[method-assign]
    try:
        yield
    finally:
        InHand.begin = original  # type: ignore[method-assign]


async def _snapshot_first(run_all: RunAll, calls: Sequence[Call]) -> list[Any]:
    """Two scripts where one was: the second writes the events of what the first has remembered."""
    if not any(name == "commit" for name, _, _ in calls):
        return await run_all(calls)
    ((_, keys, args),) = calls
    (remembered,) = await run_all([("commit_snapshot", keys, args)])
    if remembered[0]:
        return [remembered]
    (told,) = await run_all([("commit_event", keys, args)])
    if told[0]:
        return [told]
    results = [event if first[0] == 1 else first for first, event in zip(remembered[1], told[1], strict=True)]
    return [[told[0], results, *told[2:]]]


_SNAPSHOT = [
    (
        "      local id = stream_id(position)\n",
        """      call('HSET', 'virtual:before', change.event, text(change.sequence))
      if false then
      local id = ''
""",
    ),
    ("      results[index] = { 1,", "      end\n      results[index] = { 1,"),
]
_EVENT = [
    (
        """  elseif same then
    change.result = { 0 }
  elseif current ~= change.expected or (written and tonumber(written) > started) then
    change.result = { -1 }
""",
        """  elseif change.event == '' or change.last_event ~= change.event
    or call('HEXISTS', KEYS[3], change.event) == 1 then
    change.result = { 0 }
""",
    ),
    (
        "sequence = math.max(now_ms, change.sequence + 1)",
        "sequence, change.sequence = change.sequence, tonumber(call('HGET', 'virtual:before', change.event))",
    ),
]

BUGS: dict[str, Bug] = {
    "early-watermark": Bug("the watermark moves before the last page is committed", plant=_early_watermark),
    "snapshot-before-event": Bug(
        "the snapshot is written by one script, its event by the next",
        also={"commit_snapshot": ("commit", _SNAPSHOT), "commit_event": ("commit", _EVENT)},
        halves=_snapshot_first,
    ),
    "counter-as-id": Bug("ids of events are numbered, not made from the change", plant=_counted_ids),
    "no-fence": Bug(
        "the late writes of a worker that lost its lease are taken",
        edits={
            "commit": [("if fence ~= '' and call('HGET', KEYS[7], 'fence') ~= fence then", "if false then")],
            "settle": [("if tonumber(call('HGET', lane, 'fence') or '-1') ~= fence then", "if false then")],
            "take": [("if tonumber(state[1]) ~= fence or not owned then", "if false then")],
            "keep_lanes": [("if tonumber(state[1]) ~= fence then", "if false then")],
            "poll_note": [("if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then", "if false then")],
            "poll_release": [("if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then", "if false then")],
        },
    ),
    "ack-before-settle": Bug("a delivery counts as delivered once its attempt begins", plant=_early_ack),
}

NO_BUG = Bug("nothing is wrong")

SEEDS: dict[str, tuple[int, ...]] = {
    "early-watermark": (13, 18),
    "snapshot-before-event": (1, 21),
    "counter-as-id": (9, 19, 29),
    "no-fence": (5, 15),
    "ack-before-settle": (1, 13),
}
"""Seeds in which the oracle finds each bug; without it, they pass.

What happens in a seed changes with the relay's code: where none of a bug's seeds finds it any more, ``--bugs`` looks
for one that does, and says which to name here.
"""

SEARCHED = 60
"""Seeds, from 0 on, that are tried then."""
