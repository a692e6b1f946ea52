"""Was everything right?  Judged from journals alone: what partners received, what truly happened, what Redis kept."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from standardwebhooks import Webhook

from tests.simulation.clock import EPOCH_S
from tests.simulation.journal import ScriptRun
from tests.simulation.outside import Outside, Received
from tests.simulation.scripts import Mark, late_writes, marks

OK = 200
HELD_UP_S = 1.0
STATUS = {"PENDING": "pending", "RECEIVED": "accepted", "IGNORE": "cancelled", "DELIVERED": "delivered"}


@dataclass
class Verdict:
    """What an oracle says of one run."""

    problems: list[str] = field(default_factory=list)

    def say(self, invariant: str, text: str) -> None:
        """Note a violation, the first few of each kind."""
        if sum(problem.startswith(invariant) for problem in self.problems) < 5:
            self.problems.append(f"{invariant} {text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is judged beside the partners' journals.

    Attributes:
        secrets: by subscription.
        attempts_at_most: of one delivery.
        scripts: what Redis ran, in order.
        delivered: ids of the events that Redis holds for delivered in the end, by subscription.
        rolled_back: Redis lost a second now and then: bodies may differ but in data, and a change may be missed.
        jumped: Redis' clock jumped: leases may have ended before their time.
        calm: nothing failed but partners.
    """

    secrets: dict[str, str]
    attempts_at_most: int
    scripts: Sequence[ScriptRun]
    delivered: dict[str, set[str]]
    rolled_back: bool
    jumped: bool
    calm: bool


def judge(outside: Outside, evidence: Evidence) -> Verdict:
    """Check what partners received, and who wrote what when."""
    verdict = Verdict()
    rolled_back, most = evidence.rolled_back, evidence.attempts_at_most
    by_subscription: dict[str, list[Received]] = defaultdict(list)
    for received in outside.received:
        by_subscription[received.subscription].append(received)
    for subscription in evidence.secrets:
        requests = by_subscription[subscription]
        _bodies(verdict, requests, rolled_back=rolled_back)
        _signatures(verdict, requests, evidence.secrets[subscription])
        told = _told(requests)
        _ends(verdict, outside, told, rolled_back=rolled_back)
        _names(verdict, requests)
        if not rolled_back:
            _order(verdict, requests, most)
            _attempts(verdict, requests, most)
            _stories(verdict, outside, told)
            if evidence.calm:
                _origins(verdict, requests)
            _answered(verdict, requests, evidence.delivered[subscription])
            if not evidence.jumped:
                _one_at_a_time(verdict, requests)
    if not rolled_back:
        for line in late_writes(evidence.scripts):
            verdict.say("OWNER", line)
    if not rolled_back and not evidence.jumped:
        _marks(verdict, outside.received, marks(evidence.scripts))
    return verdict


def _names(verdict: Verdict, received: list[Received]) -> None:
    """The same change after the same event has the same id, also where Redis forgot that it had been told."""
    by_sequence = {
        (each.event["subject"], each.event["venue_id"], each.event["sequence"]): each.id for each in received
    }
    ids: dict[tuple[Any, ...], str] = {}
    for each in received:
        event = each.event
        before = event["previous_sequence"]
        place = (event["subject"], event["venue_id"])
        if before is not None and (*place, before) not in by_sequence:
            continue
        previous = None if before is None else by_sequence[*place, before]
        data = json.dumps(event["data"], sort_keys=True)
        if ids.setdefault((*place, event["type"], data, previous), each.id) != each.id:
            verdict.say("NAME", f"{place}: one change under two names, {each.id} is the second")


def _marks(verdict: Verdict, received: list[Received], written: list[Mark]) -> None:
    """The watermark follows the commit: what was touched before it has been committed before it."""
    seen: set[str] = set()
    for each in received:
        event = each.event
        if each.id in seen or not event["type"].startswith("order.") or event["origin"] not in ("poll", "reconcile"):
            continue
        seen.add(each.id)
        touched = datetime.fromisoformat(event["data"]["order"]["updated_at"])
        committed_s = datetime.fromisoformat(event["timestamp"]).timestamp() - EPOCH_S
        for mark in written:
            if mark.venue_id in (None, event["venue_id"]) and mark.at_s < committed_s - 0.001 and mark.mark > touched:
                verdict.say(
                    "MARK",
                    f"{event['subject']}: {each.id}, touched {touched.isoformat()}, was committed at {committed_s:.3f},"
                    f" after a watermark of {mark.mark.isoformat()} was written down at {mark.at_s:.3f}",
                )
                break


def _origins(verdict: Verdict, received: list[Received]) -> None:
    """The full compare finds nothing that the looks have missed."""
    for each in received:
        if each.event["origin"] == "reconcile":
            verdict.say("ORIGIN", f"{each.event['subject']}: {each.id} was found by the full compare only")


def _answered(verdict: Verdict, received: list[Received], delivered: set[str]) -> None:
    """I1: nothing counts as delivered that no partner has said 2xx to."""
    answered = {each.id for each in received if each.status == OK}
    for name in sorted(delivered - answered):
        verdict.say("I1", f"{name} counts as delivered, and was answered by nobody")


def _one_at_a_time(verdict: Verdict, received: list[Received]) -> None:
    """A partner never has two attempts of one subject in hand, but for what a frozen process had as good as sent."""
    busy: dict[tuple[Any, ...], Received] = {}
    for each in received:
        if each.at_s - each.begun_s > HELD_UP_S:
            continue
        subject = (each.event["brand"], each.event["venue_id"], each.event["subject"])
        before = busy.get(subject)
        if before is not None and each.at_s < before.until_s:
            verdict.say(
                "I3",
                f"{subject}: {each.process} sent {each.id} at {each.at_s:.3f}, while {before.process}'s {before.id}"
                f" was under way until {before.until_s:.3f}",
            )
        busy[subject] = each


def _bodies(verdict: Verdict, received: list[Received], *, rolled_back: bool) -> None:
    """I2: one id, one body."""
    first: dict[str, Any] = {}
    for each in received:
        body: Any = json.dumps(each.event["data"], sort_keys=True) if rolled_back else each.body
        if first.setdefault(each.id, body) != body:
            verdict.say("I2", f"{each.id} came with two bodies")


def _order(verdict: Verdict, received: list[Received], most: int) -> None:
    """I3: first attempts in the order of the commit, and none while an earlier one is pending."""
    subjects: dict[tuple[Any, ...], list[Received]] = defaultdict(list)
    for each in received:
        event = each.event
        subjects[event["brand"], event["venue_id"], event["subject"]].append(each)
    for subject, stream in subjects.items():
        highest = 0
        seen: dict[int, bool] = {}
        for each in stream:
            sequence = each.event["sequence"]
            earlier = [number for number, done in seen.items() if number < sequence and not done]
            if sequence not in seen:
                if sequence < highest:
                    verdict.say("I3", f"{subject}: {sequence} was first attempted after {highest}")
                if earlier and each.number == 1:
                    verdict.say("I3", f"{subject}: {sequence} was attempted while {earlier} were pending")
            highest = max(highest, sequence)
            # Delivered, or dead after its last attempt.
            seen[sequence] = seen.get(sequence, False) or each.status == OK or each.number >= most


def _attempts(verdict: Verdict, received: list[Received], most: int) -> None:
    """I8: attempts never exceed the schedule."""
    for each in received:
        if each.number > most:
            verdict.say("I8", f"{each.id} was attempted as number {each.number} of {most}")


def _signatures(verdict: Verdict, received: list[Received], secret: str) -> None:
    """I9: another library verifies every request."""
    webhook = Webhook(secret)
    for each in received[:: max(1, len(received) // 50)]:
        try:
            expected = webhook.sign(each.id, _when(each), each.body.decode())
        except Exception as error:  # noqa: BLE001
            verdict.say("I9", f"{each.id}: {error}")
            continue
        if expected not in each.headers["webhook-signature"].split(" "):
            verdict.say("I9", f"{each.id} has another signature")


def _when(each: Received) -> datetime:
    return datetime.fromtimestamp(int(each.headers["webhook-timestamp"]), UTC)


Subject = tuple[str, int, str]


def _told(received: list[Received]) -> dict[Subject, list[dict[str, Any]]]:
    """What a partner knows of each order, by sequence."""
    told: dict[Subject, dict[int, dict[str, Any]]] = defaultdict(dict)
    for each in received:
        event = each.event
        if event["subject"].startswith("order/"):
            told[event["brand"], event["venue_id"], event["subject"]][event["sequence"]] = event
    return {subject: [events[sequence] for sequence in sorted(events)] for subject, events in told.items()}


def _truth(outside: Outside) -> dict[Subject, list[str]]:
    """Every status that each order truly had."""
    truth = {subject: [status] for subject, status in outside.initial.items()}
    for change in outside.world.history:
        if change.what.startswith("order.") and change.what != "order.removed":
            status = str(change.status)
            subject = (change.brand, change.venue_id, f"order/{change.subject_id}")
            truth.setdefault(subject, []).append(STATUS.get(status, status.lower()))
    return truth


def _stories(verdict: Verdict, outside: Outside, told: dict[Subject, list[dict[str, Any]]]) -> None:
    """No event is false, none is missing between two, none comes twice under two names."""
    truth = _truth(outside)
    for subject, story in told.items():
        statuses = [story[0]["data"]["previous_status"], *(event["data"]["order"]["status"] for event in story)]
        happened = truth.get(subject, [])
        if not _is_subsequence(_squeezed([s for s in statuses if s is not None]), _squeezed(happened)):
            verdict.say("TRUTH", f"{subject}: told {statuses}, happened {happened}")
        for before, after in pairwise(story):
            if after["previous_sequence"] != before["sequence"]:
                verdict.say("CHAIN", f"{subject}: {after['sequence']} does not follow {before['sequence']}")
            if after["data"]["order"] == before["data"]["order"]:
                verdict.say("TWICE", f"{subject}: one change under two names, {before['id']} and {after['id']}")


def _ends(verdict: Verdict, outside: Outside, told: dict[Subject, list[dict[str, Any]]], *, rolled_back: bool) -> None:
    """I10: in the end everybody knows the truth."""
    for subject, happened in _truth(outside).items():
        story = told.get(subject, [])
        if not story:
            if len(happened) > 1 and not rolled_back:
                verdict.say("I10", f"{subject}: nothing was told of {happened}")
        elif story[-1]["type"] != "order.removed" and story[-1]["data"]["order"]["status"] != happened[-1]:
            last = story[-1]["data"]["order"]["status"]
            verdict.say("I10", f"{subject}: the last status told is {last}, not that of {happened}")


def _squeezed(statuses: list[str]) -> list[str]:
    return [status for index, status in enumerate(statuses) if index == 0 or status != statuses[index - 1]]


def _is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(each in rest for each in part)
