"""What does Prometheus see?  One table of metrics, and the exposition of what was read from Redis.

All are for the whole installation: two API replicas export the same figures.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from relay import __version__
from relay.core.buckets import DURATION_MS, LATENCY_MS
from relay.store.brand_state import last_looks, status_of
from relay.store.brands import Brand
from relay.store.counters import SUM
from relay.store.documents import Stored
from relay.store.figures import Figures
from relay.store.findings import Found
from relay.store.installation import Standing
from relay.store.quota import QuotaState

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class BrandFigures:
    """What is known of a brand."""

    stored: Stored[Brand]
    found: Found
    quota: QuotaState


@dataclass(frozen=True, slots=True)
class View:
    """What a scrape shows.

    Attributes:
        is_up: whether this scrape could read Redis; else all is as last known.
        workers: by kind, those with a fresh heartbeat.
        skew_ms: by how much the clock of a process is off Redis' at most, of this one and of the workers.
        standing: since when there is something to be lost, and whether it is lost.
    """

    is_up: bool
    figures: Figures
    brands: Mapping[str, BrandFigures]
    workers: Mapping[str, int]
    skew_ms: int
    standing: Standing


Read = Callable[[View], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Row:
    """One metric.

    Attributes:
        labels: their names, in order.
        counter: name of the counter in Redis that it shows, with the same labels; None for a gauge.
        bounds: of a histogram's buckets, ms.
        read: samples of a gauge, or zeros of a counter: (values of the labels, value).
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    counter: str | None = None
    bounds: tuple[int, ...] = ()
    read: Read = lambda _: ()


def _staleness(view: View) -> Iterator[Sample]:
    for name, brand in view.brands.items():
        if not brand.stored.value.enabled:
            continue
        since_ms = min(last_looks(brand.stored.value, brand.found).values(), default=0)
        # Before the first look, the wait for it is what is stale.
        yield (name,), _age_s(view, since_ms or _made_ms(brand.stored.value))


def _compared(view: View) -> Iterator[Sample]:
    for name, brand in view.brands.items():
        compared = [v.orders.compared_ms for v in brand.found.venues.values() if v.orders.compared_ms]
        if brand.stored.value.enabled and compared:
            yield (name,), _age_s(view, min(compared))


def _brand_states(view: View) -> Iterator[Sample]:
    for name, brand in view.brands.items():
        status = status_of(brand.stored.value, brand.found)
        for state in ("waiting", "ok", "failing", "disabled"):
            yield (name, state), float(state == status)


def _subscription_states(view: View) -> Iterator[Sample]:
    for name, subscription in view.figures.subscriptions.items():
        for state in ("active", "paused", "disabled"):
            yield (name, state), float(state == subscription.status)


def _oldest(view: View) -> Iterator[Sample]:
    for name, lane in view.figures.lanes.items():
        yield (name,), 0.0 if lane.oldest_ms is None else _age_s(view, lane.oldest_ms)


def _jobs(view: View) -> Iterator[Sample]:
    for kind, queue in view.figures.queues.items():
        yield (kind, "queued"), float(queue.queued)
        yield (kind, "started"), float(queue.started)


def _delivery_zeros(view: View) -> Iterator[Sample]:
    for name in view.figures.subscriptions:
        for outcome in ("delivered", "dead", "expired", "discarded"):
            yield (name, outcome), 0.0


def _age_s(view: View, at_ms: int) -> float:
    return max(0.0, (view.figures.now_ms - at_ms) / 1000)


def _made_ms(brand: Brand) -> int:
    return int(datetime.fromisoformat(brand.created_at).timestamp() * 1000)


def _gauge(name: str, labels: str, read: Read, help: str) -> Row:  # noqa: A002  (as Prometheus calls it)
    return Row(name, "gauge", tuple(labels.split()), help, read=read)


def _counts(name: str, labels: str, counter: str, help: str, *, zeros: Read = lambda _: ()) -> Row:  # noqa: A002  (same)
    return Row(name, "counter", tuple(labels.split()), help, counter=counter, read=zeros)


def _histogram(name: str, counter: str, bounds: tuple[int, ...], help: str) -> Row:  # noqa: A002  (same)
    return Row(name, "histogram", (), help, counter=counter, bounds=bounds)


TABLE: Final = (
    _counts(
        "relay_poll_requests_total",
        "brand resource outcome",
        "poll_requests",
        "Requests to Clopos; outcome is ok, unauthorized, throttled, timeout or error.",
    ),
    _histogram("relay_poll_duration_seconds", "poll_duration", DURATION_MS, "How long a request to Clopos took."),
    _gauge("relay_poll_staleness_seconds", "brand", _staleness, "Age of the oldest venue's last look."),
    _gauge(
        "relay_quota_remaining",
        "brand",
        lambda view: (((name,), float(b.quota.remaining)) for name, b in view.brands.items()),
        "Requests that the brand has left in this window.",
    ),
    _counts("relay_events_total", "brand type origin", "events", "Events committed."),
    _counts(
        "relay_deliveries_total",
        "subscription outcome",
        "deliveries",
        "Deliveries that ended; outcome is delivered, dead, expired or discarded.",
        zeros=_delivery_zeros,
    ),
    _counts(
        "relay_delivery_attempts_total",
        "subscription status_class",
        "attempts",
        "Requests to partners; status_class is 2xx to 5xx, timeout, network or refused (by the guard).",
    ),
    _histogram("relay_delivery_duration_seconds", "duration", DURATION_MS, "How long a request to a partner took."),
    _histogram("relay_event_latency_seconds", "latency", LATENCY_MS, "From seen to 2xx; replays are not counted."),
    _gauge(
        "relay_backlog_deliveries",
        "subscription",
        lambda view: (((name,), float(lane.pending)) for name, lane in view.figures.lanes.items()),
        "Deliveries pending.",
    ),
    _gauge(
        "relay_backlog_oldest_seconds",
        "subscription",
        _oldest,
        "How long the delivery has waited that waits longest, since it was made or opened again; 0 without any.",
    ),
    _gauge(
        "relay_dead_deliveries",
        "subscription",
        lambda view: (((name,), float(lane.dead)) for name, lane in view.figures.lanes.items()),
        "Deliveries that are dead and retained.",
    ),
    _gauge(
        "relay_subscription_state",
        "subscription state",
        _subscription_states,
        "1 for the state it is in: active, paused or disabled.",
    ),
    _gauge(
        "relay_unaccounted_deliveries",
        "",
        lambda view: [((), float(view.figures.audit[0]))] if view.figures.audit else [],
        "What the ledger cannot account for, as last counted in the background: 0 unless the relay is wrong.",
    ),
    _gauge(
        "relay_ledger_audit_age_seconds",
        "",
        lambda view: [((), _age_s(view, view.figures.audit[1]))] if view.figures.audit else [],
        "Since the ledger was last counted.",
    ),
    _gauge("relay_queue_jobs", "queue state", _jobs, "Jobs in RQ (queued) and shifts that run (started)."),
    _gauge(
        "relay_workers",
        "queue",
        lambda view: (((kind,), float(count)) for kind, count in view.workers.items()),
        "Worker processes with a fresh heartbeat.",
    ),
    _gauge(
        "relay_redis_memory_bytes", "", lambda view: [((), float(view.figures.memory_bytes))], "Memory that Redis uses."
    ),
    _gauge("relay_build_info", "version", lambda _: [((__version__,), 1.0)], "1; the version is in the label."),
    _gauge(
        "relay_redis_up",
        "",
        lambda view: [((), float(view.is_up))],
        "1 when this scrape could read Redis; else all other figures are as last known.",
    ),
    _gauge(
        "relay_state_missing",
        "",
        lambda view: [((), float(view.standing.missing))],
        "1 when Redis is empty and should not be.",
    ),
    _gauge(
        "relay_installation_created_timestamp_seconds",
        "",
        lambda view: [((), view.standing.since_ms / 1000)],
        "When the first brand or subscription was noted, Unix time: another value, or 0, means that all was lost.",
    ),
    _gauge(
        "relay_redis_maxmemory_bytes",
        "",
        lambda view: [((), float(view.figures.memory_limit_bytes))],
        "Memory that Redis may use; 0 without a limit.",
    ),
    _gauge(
        "relay_schedulers",
        "",
        lambda view: [((), float(view.figures.schedulers))],
        "Schedulers at work: 1, or 0 while none holds the lease.",
    ),
    _gauge(
        "relay_overdue_seconds",
        "queue",
        lambda view: (((kind,), queue.overdue_ms / 1000) for kind, queue in view.figures.queues.items()),
        "How long the first work that nobody looks after has been due.",
    ),
    _gauge(
        "relay_brand_state", "brand state", _brand_states, "1 for the state it is in: waiting, ok, failing or disabled."
    ),
    _gauge(
        "relay_quarantined_rows",
        "brand",
        lambda view: (((name,), float(len(b.found.bad))) for name, b in view.brands.items()),
        "Rows of Clopos' that cannot be read and are set aside.",
    ),
    _counts(
        "relay_rows_set_aside_total",
        "brand resource",
        "poll_rows_set_aside",
        "Rows of Clopos' that were set aside, each content once.",
    ),
    _counts(
        "relay_commit_conflicts_total",
        "brand resource",
        "poll_conflicts",
        "Rows dropped because somebody else had written a newer state: looked at again.",
    ),
    _counts(
        "relay_reconcile_drift_total",
        "brand",
        "poll_reconcile_found",
        "Changes that only the full compare found: 0 in good order.",
        zeros=lambda view: (((name,), 0.0) for name in view.brands),
    ),
    _gauge("relay_reconcile_age_seconds", "brand", _compared, "Age of the oldest venue's last full compare."),
    _counts("relay_commands_total", "brand command outcome", "commands", "Commands to Clopos."),
    _gauge(
        "relay_clock_skew_seconds",
        "",
        lambda view: [((), view.skew_ms / 1000)],
        "Greatest distance of a process' clock from Redis' clock.",
    ),
    _counts("relay_shifts_total", "queue ended", "shifts", "Shifts, by how they ended."),
    _counts("relay_jobs_refused_total", "queue reason", "jobs_refused", "What lay in RQ's queues and was not run."),
)
"""Every metric there is."""


def exposition(view: View) -> bytes:
    """Write a view in Prometheus' text format.

    By hand, and held against the official parser in tests: with a thousand subscriptions the library's own writer takes
    several times as long, and more than a scrape may.

    Source:
        https://prometheus.io/docs/instrumenting/exposition_formats/ ("Text-based format").
    """
    by_name: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for (name, *values), count in view.figures.counters.items():
        by_name.setdefault(name, []).append((tuple(values), count))
    lines: list[str] = []
    for row in TABLE:
        counted = by_name.get(row.counter or "", [])
        if row.kind == "gauge" and not (view.is_up or view.figures.now_ms or row.name in _ALWAYS):
            continue
        lines.append(f"# HELP {row.name} {row.help}\n# TYPE {row.name} {row.kind}\n")
        if row.kind == "histogram":
            lines += _histogram_lines(row, counted)
        else:
            samples = _totals(row, view, counted) if row.kind == "counter" else row.read(view)
            lines += _lines(row, samples)
    return "".join(lines).encode()


_ALWAYS: Final = ("relay_redis_up", "relay_build_info")
"""What is known without Redis."""


def _lines(row: Row, samples: Iterable[Sample]) -> Iterator[str]:
    name, names = row.name, row.labels
    return (f"{_series(name, names, labels)} {float(value)!r}\n" for labels, value in samples)


@functools.lru_cache(maxsize=100_000)
def _series(name: str, names: tuple[str, ...], labels: tuple[str, ...]) -> str:
    """Name and labels of a line; the same ones are written with every scrape."""
    if not names:
        return name
    return f"{name}{{{','.join(f'{label}={_quoted(value)}' for label, value in zip(names, labels, strict=True))}}}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def _totals(row: Row, view: View, counted: Sequence[tuple[tuple[str, ...], int]]) -> Iterable[Sample]:
    values = dict(row.read(view))
    values |= {labels: float(value) for labels, value in counted if len(labels) == len(row.labels)}
    return values.items()


def _histogram_lines(row: Row, counted: Sequence[tuple[tuple[str, ...], int]]) -> Iterator[str]:
    counts = {labels[0]: value for labels, value in counted if len(labels) == 1}
    total = 0
    for index, bound in enumerate([*row.bounds, None]):
        total += counts.get(str(index), 0)
        yield f'{row.name}_bucket{{le="{"+Inf" if bound is None else repr(bound / 1000)}"}} {float(total)!r}\n'
    yield f"{row.name}_count {float(total)!r}\n{row.name}_sum {counts.get(SUM, 0) / 1000!r}\n"
