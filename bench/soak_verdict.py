"""What came of a soak?  Judged from what happened at Clopos, what partners got, and the ledger."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from bench.soak_partners import Got

STATUS = {"PENDING": "pending", "RECEIVED": "accepted", "IGNORE": "cancelled", "DELIVERED": "delivered"}
BLOCKS = "▁▂▃▄▅▆▇█"
AFTER_S = 30.0
"""A change so long after a fault is one of those that the fault may have delayed."""

HEALED_S = 60.0
"""So long after a fault all must be well again."""

Subject = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Happened:
    """One change at Clopos."""

    at_s: float
    subject: Subject
    status: str


@dataclass(slots=True)
class Verdict:
    """Counts; those of ``PROMISED`` must be 0.

    Attributes:
        repeats: deliveries that were answered with 2xx, and came again, as the answer was lost with a process.
        pending: deliveries that were so when all should have been well.
        strays: processes that outlived the supervisor's end, or an exit code of it that is not 0.
        longest_delay_s: from a change to the answer of a partner who is always well.
        longest_healing_s: the longest stretch of such a delay without a further fault.
        longest_untouched_s: of those with no fault shortly before.
        not_healed: stretches longer than ``HEALED_S``.
    """

    changes: int = 0
    events: int = 0
    requests: int = 0
    repeats: int = 0
    lost: int = 0
    two_bodies: int = 0
    two_names: int = 0
    out_of_order: int = 0
    unaccounted: int = 0
    pending: int = 0
    dead: int = 0
    strays: int = 0
    longest_delay_s: float = 0.0
    longest_healing_s: float = 0.0
    longest_untouched_s: float = 0.0
    not_healed: int = 0
    examples: list[str] = field(default_factory=list)

    PROMISED = (
        "lost",
        "two_bodies",
        "two_names",
        "out_of_order",
        "unaccounted",
        "pending",
        "dead",
        "strays",
        "not_healed",
    )

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return not any(getattr(self, name) for name in self.PROMISED)

    def example(self, text: str) -> None:
        """Keep a few."""
        if len(self.examples) < 12:
            self.examples.append(text)


def judge(
    happened: Sequence[Happened],
    journal: Mapping[str, Sequence[Got]],
    ledger: Mapping[str, Any],
    *,
    faults_s: Sequence[float],
    prompt: Sequence[str],
) -> Verdict:
    """Judge.

    Args:
        happened: changes, in order.
        journal: requests, by partner.
        ledger: the relay's.
        faults_s: when each fault began.
        prompt: partners who answer at once: delays are measured by them.
    """
    verdict = Verdict(changes=len(happened), events=ledger["events"])
    verdict.unaccounted, verdict.pending, verdict.dead = (ledger[name] for name in ("unaccounted", "pending", "dead"))
    last = {change.subject: change.status for change in happened}
    for name, requests in journal.items():
        verdict.requests += len(requests)
        _judge_partner(verdict, name, requests, last)
    for name in prompt:
        _delays(verdict, happened, journal[name], faults_s)
    return verdict


def _judge_partner(verdict: Verdict, name: str, requests: Sequence[Got], last: Mapping[Subject, str]) -> None:
    data: dict[str, str] = {}
    told: dict[Subject, tuple[int, str]] = {}
    highest: dict[Subject, int] = {}
    names: dict[tuple[Subject, str, str | None], str] = {}
    by_sequence: dict[tuple[Subject, int], str] = {}
    done: set[str] = set()
    for got in requests:
        event = got.event
        subject, sequence = (event["venue_id"], event["subject"]), event["sequence"]
        text = json.dumps(event["data"], sort_keys=True)
        if got.id not in data:
            data[got.id] = text
            if sequence < highest.get(subject, 0):
                verdict.out_of_order += 1
                verdict.example(f"{name}: {subject} {got.id} came first after a later one")
            previous = event["previous_sequence"]
            before = None if previous is None else by_sequence.get((subject, previous), "?")
            if before != "?" and names.setdefault((subject, text, before), got.id) != got.id:
                verdict.two_names += 1
                verdict.example(f"{name}: {subject} {got.id} is {names[subject, text, before]} again")
        elif data[got.id] != text:
            verdict.two_bodies += 1
            verdict.example(f"{name}: {got.id} had two bodies")
        by_sequence[subject, sequence] = got.id
        highest[subject] = max(highest.get(subject, 0), sequence)
        if got.done_s:
            verdict.repeats += got.id in done
            done.add(got.id)
            if "order" in event["data"] and sequence >= told.get(subject, (0, ""))[0]:
                told[subject] = (sequence, event["data"]["order"]["status"])
    for subject, status in last.items():
        if told.get(subject, (0, ""))[1] != status:
            verdict.lost += 1
            verdict.example(f"{name}: {subject} is {status}, was told {told.get(subject)}")


def _delays(verdict: Verdict, happened: Sequence[Happened], requests: Sequence[Got], faults_s: Sequence[float]) -> None:
    """How long until a partner knew of a change, or of a later one of the same order."""
    known: dict[Subject, list[tuple[float, str]]] = defaultdict(list)
    for got in requests:
        if got.done_s and "order" in got.event["data"]:
            subject = (got.event["venue_id"], got.event["subject"])
            known[subject].append((got.done_s, got.event["data"]["order"]["status"]))
    later: dict[Subject, list[str]] = defaultdict(list)
    for change in reversed(happened):
        truths = later[change.subject]
        truths.append(change.status)
        heard_s = next(
            (at_s for at_s, status in known[change.subject] if at_s >= change.at_s and status in truths), None
        )
        if heard_s is None:
            continue
        verdict.longest_delay_s = max(verdict.longest_delay_s, heard_s - change.at_s)
        faults = [fault_s for fault_s in faults_s if change.at_s - AFTER_S < fault_s < heard_s]
        if faults:
            # What heals is measured from the last fault on: each takes its time anew.
            moments = [change.at_s, *(fault_s for fault_s in faults if fault_s > change.at_s), heard_s]
            healing_s = max(end_s - start_s for start_s, end_s in pairwise(moments))
            verdict.longest_healing_s = max(verdict.longest_healing_s, healing_s)
            verdict.not_healed += healing_s > HEALED_S
        else:
            verdict.longest_untouched_s = max(verdict.longest_untouched_s, heard_s - change.at_s)


def sparkline(values: Sequence[float], *, width: int = 48) -> str:
    """Draw a row of blocks, from 0 to the highest."""
    if not values:
        return ""
    step = max(1, -(-len(values) // width))
    highest = max(values) or 1
    parts = [max(values[at : at + step]) for at in range(0, len(values), step)]
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(part / highest * len(BLOCKS)))] for part in parts)
