from copy import deepcopy
from dataclasses import replace
from typing import Any

from relay.api.brand_models import EXAMPLE as BRAND
from relay.api.subscription_answers import EXAMPLE as SUBSCRIPTION
from relay.api.ui.formats import epoch_ms
from relay.api.ui.health import Finding, Machinery, findings
from relay.api.ui.overview_view import Overview, Slot, overview, rate_1h
from relay.api.ui.statuses import Level
from relay.core.operational import rfc3339

NOW_MS = (epoch_ms("2026-02-02T13:46:05.120Z") or 0) + 1000
WORKERS = {"poll": 1, "deliver": 1, "maintain": 1}
RUNS = Machinery(workers=WORKERS, schedulers=1, memory=0.1, is_emptied=False, unaccounted=0)
SLOTS = [Slot(starts_ms=index * 300_000, succeeded=10, failed=0) for index in range(24)]


def brand(**state: Any) -> dict[str, Any]:
    made = deepcopy(BRAND)
    made["state"] |= state
    return made


def subscription(**state: Any) -> dict[str, Any]:
    made = deepcopy(SUBSCRIPTION)
    made["state"] |= state
    return made


def found(**more: Any) -> list[Finding]:
    asked: dict[str, Any] = {
        "brands": [brand()],
        "subscriptions": [subscription()],
        "errors": {},
        "machinery": RUNS,
        "now_ms": NOW_MS,
        **more,
    }
    return findings(**asked)


def shown(**more: Any) -> Overview:
    asked: dict[str, Any] = {"brands": [brand()], "subscriptions": [subscription()], "slots": SLOTS, **more}
    facts = {name: asked[name] for name in ("brands", "subscriptions")}
    things = found(**facts, machinery=RUNS)
    return overview(found=things, now_ms=NOW_MS, partner=asked.pop("partner", False), **asked)


def test_all_is_well_says_so_with_figures() -> None:
    view = shown()
    assert (view.verdict.level, view.verdict.headline) == (Level.OK, "Everything is well")
    assert "1 brand is looked at, the oldest look is 1\u202fs old" in view.verdict.sentence
    assert "1 subscription is served, 3 deliveries wait." in view.verdict.sentence
    assert [tile.value for tile in view.tiles] == ["1\u202fs", "3", "100\u202f%", "0"]
    assert view.findings == ()


def test_an_empty_relay_says_what_to_do() -> None:
    assert shown(brands=[], subscriptions=[], slots=[]).verdict.headline == "Nothing is set up yet"
    assert shown(brands=[], subscriptions=[], slots=[], partner=True).verdict.headline == "You have no subscription yet"
    assert shown(brands=[brand(status="waiting")]).verdict.level is Level.BUSY


def test_what_is_wrong_comes_before_what_needs_a_look() -> None:
    failing = brand(status="failing", error="Clopos refuses the credentials.", since="2026-02-02T13:40:00.000Z")
    slow = subscription(failing_since="2026-02-02T13:45:00.000Z")
    view = shown(brands=[failing], subscriptions=[slow])
    assert view.verdict.headline == "Something is wrong"
    assert view.verdict.sentence == "Brand openapitest cannot be looked at. 1 other thing needs a look, too."
    assert [finding.level for finding in view.findings] == [Level.BAD, Level.WARN]
    assert view.findings[0].why == "Clopos refuses the credentials."


def test_of_several_things_that_are_wrong_the_sentence_names_two() -> None:
    failing = brand(status="failing", error="Clopos refuses the credentials.", since="2026-02-02T13:40:00.000Z")
    off = [subscription(status="disabled", disabled_reason="the endpoint answered 410 Gone") for _ in range(3)]
    for each, name in zip(off, "abc", strict=True):
        each["name"] = name
    view = shown(brands=[failing], subscriptions=off)
    assert view.verdict.headline == "4 things are wrong"
    assert view.verdict.sentence == (
        "Brand openapitest cannot be looked at. a is disabled: nothing is sent to it. 2 more below."
    )
    assert {row.level for row in view.subscriptions} == {Level.BAD}


def test_nobody_at_work_is_wrong_and_a_partner_is_not_told() -> None:
    (thing,) = found(machinery=replace(RUNS, workers={**WORKERS, "deliver": 0}))
    assert (thing.level, thing.what) == (Level.BAD, "Nothing is sent: no worker of the queue deliver is alive.")
    assert found(brands=[], machinery=None) == []


def test_a_ledger_that_does_not_close_is_wrong() -> None:
    (thing,) = found(machinery=replace(RUNS, unaccounted=2))
    assert (thing.level, thing.what) == (Level.BAD, "The ledger does not close: 2 deliveries are missing.")


def test_what_the_relay_runs_on_is_looked_at_too() -> None:
    things = found(machinery=replace(RUNS, schedulers=0, memory=0.8, is_emptied=True))
    assert [(thing.level, thing.what) for thing in things] == [
        (Level.BAD, "Redis is empty and should not be."),
        (Level.BAD, "No scheduler is alive."),
        (Level.BAD, "Redis has used 80\u202f% of its memory."),
    ]
    assert found(machinery=replace(RUNS, memory=None)) == []


def test_a_brand_that_is_not_looked_at_is_told_by_how_long() -> None:
    venue = deepcopy(BRAND["state"]["venues"][0])
    levels = []
    for age_s in (60, 130, 400):
        venue["orders"]["last_poll_at"] = rfc3339(NOW_MS - age_s * 1000)
        things = found(brands=[brand(venues=[deepcopy(venue)])])
        levels.append([thing.level for thing in things])
    assert levels == [[], [Level.WARN], [Level.BAD]]


def test_why_a_subscription_fails_is_in_its_last_error() -> None:
    failing = subscription(failing_since="2026-02-02T13:45:00.000Z")
    (thing,) = found(subscriptions=[failing], errors={failing["id"]: "connect: nobody listens on that port"})
    assert thing.what == "courier does not take what it is sent."
    assert thing.why == "Nobody listens on that port."
    assert thing.link == f"/ui/subscriptions/{failing['id']}"


def test_what_was_done_on_purpose_is_no_finding() -> None:
    assert found(subscriptions=[subscription(status="paused", oldest_pending_at="2026-02-01T00:00:00.000Z")]) == []
    assert found(subscriptions=[subscription(status="disabled", disabled_reason="by the operator")]) == []
    (thing,) = found(subscriptions=[subscription(status="disabled", disabled_reason="no success for five days")])
    assert (thing.level, thing.why) == (Level.BAD, "No success for five days. 3 events wait.")


def test_the_dead_and_the_late_need_a_look() -> None:
    things = found(subscriptions=[subscription(dead=1, oldest_pending_at="2026-02-02T13:40:00.000Z")])
    assert [thing.what for thing in things] == [
        "courier is behind: its oldest event waits for 6\u202fmin.",
        "courier: 1 delivery was given up.",
    ]


def test_rows_that_cannot_be_read_are_told_of() -> None:
    row = {"feed": "orders", "venue_id": 1, "id": 5, "reason": "The order has no usable id.", "since": None}
    (thing,) = found(brands=[brand(set_aside={"count": 1, "rows": [row]})])
    assert thing.what == "Brand openapitest: 1 row is set aside as unreadable."
    assert thing.why == "The order has no usable id."


def test_the_rate_is_of_the_last_hour_and_the_chart_of_all() -> None:
    slots = [*[Slot(0, 0, 100)] * 12, *[Slot(0, 9, 1)] * 12]
    assert rate_1h(slots) == (0.9, 120)
    chart = shown(slots=slots).attempts
    assert chart.highest == 100
    assert chart.label == "Attempts in the last two hours, five minutes a column: 108 succeeded, 1212 failed."
    assert all(bar.y >= 0 and bar.height > 0 and bar.x + bar.width <= chart.width for bar in chart.bars)


def test_subscriptions_that_need_a_look_come_first() -> None:
    names = [
        subscription() | {"name": "well", "id": "sub_a"},
        subscription(status="disabled", disabled_reason="the endpoint answered 410 Gone") | {"name": "gone"},
        subscription(failing_since="2026-02-02T13:45:00.000Z") | {"name": "failing"},
    ]
    assert [row.name for row in shown(subscriptions=names).subscriptions] == ["gone", "failing", "well"]
