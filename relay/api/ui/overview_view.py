"""What does the overview say at a glance?  Pure: findings and figures in, a sentence, tiles and charts out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from relay.api.ui.charts import Chart, portion, stacked
from relay.api.ui.formats import NOTHING, age, count, plural, share
from relay.api.ui.health import OLD_BACKLOG_S, STALE_S, VERY_STALE_S, Finding, name_of, oldest_look_s, waiting_s
from relay.api.ui.statuses import Badge, Level, badge, subscription_badge

SLOTS_AN_HOUR: Final = 12
GOOD_RATE: Final = 0.99
POOR_RATE: Final = 0.9
SAID_AT_ONCE: Final = 2
"""Of several things that are wrong, those that the one sentence names."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Attempts of five minutes."""

    starts_ms: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to "is everything well?"."""

    level: Level
    headline: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure that matters."""

    label: str
    value: str
    detail: str
    level: Level


@dataclass(frozen=True, slots=True)
class BarRow:
    """One thing with a bar of how much of a bound it uses up.

    Attributes:
        fill: 0 to 100.
    """

    name: str
    link: str
    badge: Badge
    value: str
    fill: float
    level: Level
    detail: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that the overview shows."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    tiles: tuple[Tile, ...]
    brands: tuple[BarRow, ...]
    subscriptions: tuple[BarRow, ...]
    attempts: Chart


def overview(
    *,
    brands: Sequence[Mapping[str, Any]],
    subscriptions: Sequence[Mapping[str, Any]],
    found: Sequence[Finding],
    slots: Sequence[Slot],
    now_ms: int,
    partner: bool,
) -> Overview:
    """Put the overview together.

    Args:
        brands: as ``GET /v1/brands`` has them.
        subscriptions: as ``GET /v1/subscriptions`` has them.
        found: see ``health.findings``.
        slots: attempts of the last two hours, oldest first.
        now_ms: epoch ms.
        partner: the reader sees nothing of brands.
    """
    tiles = [_backlog(subscriptions, now_ms), _success(slots), _dead(subscriptions)]
    if not partner:
        tiles.insert(0, _freshness(brands, now_ms))
    verdict = _verdict(found, tiles, brands, subscriptions, partner=partner)
    return Overview(
        verdict=verdict,
        findings=tuple(found),
        tiles=tuple(tiles),
        brands=tuple(sorted((_brand_row(brand, now_ms) for brand in brands), key=_row_need)),
        subscriptions=tuple(_subscription_row(each, now_ms) for each in _by_need(subscriptions, now_ms)),
        attempts=attempts_chart(slots),
    )


def attempts_chart(slots: Sequence[Slot]) -> Chart:
    """Draw attempts over time."""
    well, failed = sum(slot.succeeded for slot in slots), sum(slot.failed for slot in slots)
    label = (
        f"Attempts in the last two hours, five minutes a column: {plural(well, 'succeeded', 'succeeded')}, "
        f"{plural(failed, 'failed', 'failed')}."
    )
    return stacked([(slot.succeeded, slot.failed) for slot in slots], label=label)


def rate_1h(slots: Sequence[Slot]) -> tuple[float | None, int]:
    """Share of the last hour's attempts that succeeded, and how many there were."""
    last = slots[-SLOTS_AN_HOUR:]
    well, failed = sum(slot.succeeded for slot in last), sum(slot.failed for slot in last)
    return (well / (well + failed) if well + failed else None), well + failed


def _verdict(
    found: Sequence[Finding],
    tiles: Sequence[Tile],
    brands: Sequence[Mapping[str, Any]],
    subscriptions: Sequence[Mapping[str, Any]],
    *,
    partner: bool,
) -> Verdict:
    wrong = sum(finding.level is Level.BAD for finding in found)
    odd = len(found) - wrong
    if wrong:
        also = f" {plural(odd, 'other thing needs', 'other things need')} a look, too." if odd else ""
        headline = "Something is wrong" if wrong == 1 else f"{count(wrong)} things are wrong"
        said = " ".join(finding.what for finding in found[: min(wrong, SAID_AT_ONCE)])
        more = f" {wrong - SAID_AT_ONCE} more below." if wrong > SAID_AT_ONCE else ""
        return Verdict(Level.BAD, headline, said + more + also)
    if odd:
        headline = plural(odd, "thing needs a look", "things need a look")
        return Verdict(Level.WARN, headline, "Everything else is well.")
    if partner and not subscriptions:
        return Verdict(Level.IDLE, "You have no subscription yet", "Make one through the API: nothing is sent so far.")
    if not partner and not brands:
        sentence = "Tell the relay which brand of Clopos to look at, and whom to tell of what changes there."
        return Verdict(Level.IDLE, "Nothing is set up yet", sentence)
    if any(brand["state"]["status"] == "waiting" for brand in brands):
        sentence = "Orders that exist now are remembered, and not announced; what happens from now on is."
        return Verdict(Level.BUSY, "The first look is under way", sentence)
    return Verdict(Level.OK, "Everything is well", _all_is_well(tiles, brands, subscriptions, partner=partner))


def _all_is_well(
    tiles: Sequence[Tile],
    brands: Sequence[Mapping[str, Any]],
    subscriptions: Sequence[Mapping[str, Any]],
    *,
    partner: bool,
) -> str:
    parts = []
    if not partner:
        looked = plural(len(brands), "brand is", "brands are")
        parts.append(f"{looked} looked at, the oldest look is {tiles[0].value} old")
    if subscriptions:
        waiting = sum(each["state"]["pending"] for each in subscriptions)
        told = plural(len(subscriptions), "subscription is", "subscriptions are")
        waits = "nothing waits" if not waiting else plural(waiting, "delivery waits", "deliveries wait")
        parts.append(f"{told} served, {waits}")
    else:
        parts.append("nobody has subscribed yet")
    return "; ".join(parts)[:1].upper() + "; ".join(parts)[1:] + "."


def _freshness(brands: Sequence[Mapping[str, Any]], now_ms: int) -> Tile:
    ages = [looked_s for brand in brands if (looked_s := oldest_look_s(brand, now_ms)) is not None and brand["enabled"]]
    if not ages:
        return Tile("Oldest look", NOTHING, "no brand was looked at yet", Level.IDLE)
    oldest = max(ages)
    return Tile("Oldest look", age(oldest), f"of {plural(len(ages), 'brand', 'brands')}", _age_level(oldest))


def _backlog(subscriptions: Sequence[Mapping[str, Any]], now_ms: int) -> Tile:
    pending = sum(each["state"]["pending"] for each in subscriptions)
    pushed = [each for each in subscriptions if each["state"]["status"] == "active" and each["url"]]
    ages = [waits_s for each in pushed if (waits_s := waiting_s(each, now_ms)) is not None]
    if not pending:
        return Tile("Waiting", "0", "nothing waits", Level.OK)
    if not ages:
        return Tile("Waiting", count(pending), "for paused or pulling subscriptions", Level.IDLE)
    level = Level.WARN if max(ages) > OLD_BACKLOG_S else Level.OK
    return Tile("Waiting", count(pending), f"the oldest for {age(max(ages))}", level)


def _success(slots: Sequence[Slot]) -> Tile:
    rate, attempts = rate_1h(slots)
    if rate is None:
        return Tile("Success, last hour", NOTHING, "no attempts", Level.IDLE)
    level = Level.OK if rate >= GOOD_RATE else Level.WARN if rate >= POOR_RATE else Level.BAD
    return Tile("Success, last hour", share(rate), f"of {plural(attempts, 'attempt', 'attempts')}", level)


def _dead(subscriptions: Sequence[Mapping[str, Any]]) -> Tile:
    dead = sum(each["state"]["dead"] for each in subscriptions)
    if not dead:
        return Tile("Given up", "0", "no delivery is dead", Level.OK)
    return Tile("Given up", count(dead), plural(dead, "delivery is dead", "deliveries are dead"), Level.WARN)


def _age_level(age_s: float) -> Level:
    return Level.BAD if age_s > VERY_STALE_S else Level.WARN if age_s > STALE_S else Level.OK


def _brand_row(brand: Mapping[str, Any], now_ms: int) -> BarRow:
    age_s, state = oldest_look_s(brand, now_ms), brand["state"]
    quota = state["quota"]
    venues = plural(len(state["venues"]), "venue", "venues")
    return BarRow(
        name=brand["brand"],
        link=f"/ui/brands/{brand['brand']}",
        badge=badge("brand", state["status"]),
        value="no look yet" if age_s is None else age(age_s),
        fill=0.0 if age_s is None else portion(age_s, STALE_S),
        level=Level.IDLE if age_s is None else _age_level(age_s),
        detail=f"{venues}, {quota['remaining']} of {quota['limit']} requests left",
    )


def _row_need(row: BarRow) -> tuple[int, float, str]:
    """Those that need a look first, then the oldest looks."""
    return row.badge.level.rank, -row.fill, row.name


def _by_need(subscriptions: Sequence[Mapping[str, Any]], now_ms: int) -> list[Mapping[str, Any]]:
    """Those that need a look first, then those with the most to send."""
    return sorted(
        subscriptions,
        key=lambda each: (
            subscription_badge(each["state"]).level.rank,
            -each["state"]["dead"],
            -(waiting_s(each, now_ms) or 0.0),
            name_of(each),
        ),
    )


def _subscription_row(subscription: Mapping[str, Any], now_ms: int) -> BarRow:
    state, age_s = subscription["state"], waiting_s(subscription, now_ms)
    shown = subscription_badge(state)
    waits = "nothing waits" if not state["pending"] else f"{plural(state['pending'], 'waits', 'wait')}"
    rate = "" if state["success_rate_1h"] is None else f", {share(state['success_rate_1h'])} succeed"
    dead = f", {count(state['dead'])} dead" if state["dead"] else ""
    return BarRow(
        name=name_of(subscription),
        link=f"/ui/subscriptions/{subscription['id']}",
        badge=shown,
        value=age(age_s),
        fill=0.0 if age_s is None else portion(age_s, OLD_BACKLOG_S),
        level=shown.level
        if shown.level in (Level.BAD, Level.WARN)
        else Level.WARN
        if (age_s or 0.0) > OLD_BACKLOG_S
        else Level.OK,
        detail=waits + rate + dead,
    )
