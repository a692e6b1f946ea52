"""What do the Grafana dashboards of the chart look like?

Writes `helm/clopos-relay/dashboards/*.json`; with `--check` it only says which file differs.
"""
# ruff: noqa: INP001, T201  a script, not a package: it prints what it did

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent.parent / "helm" / "clopos-relay" / "dashboards"
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and the name of its lines."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        unit: as Grafana names it: ``s``, ``bytes``, ``short``, ``percentunit``, ``ops``.
        width: of 24.
        height: in rows of the grid.
        steps: from which value on a stat turns yellow, and red.
        names: of values that stand for states, with the colour.
    """

    kind: str
    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    width: int = 12
    height: int = 8
    description: str = ""
    steps: tuple[float, float] | None = None
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A heading and what is under it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard.

    Attributes:
        variables: further choices beside data source and job: a label and the metric that knows its values.
    """

    file: str
    title: str
    variables: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


def one(metric: str, *labels: str, by: str = "") -> str:
    """A gauge, once: every replica of the API exports the same figures."""
    inner = f"{metric}{_selector(labels)}"
    return f"max by ({by}) ({inner})" if by else f"max({inner})"


def rate(metric: str, *labels: str, by: str) -> str:
    """A counter's rate by some of its labels: the greatest of the replicas, then the sum over the other labels."""
    return f"sum by ({by}) (max without (instance, pod) (rate({metric}{_selector(labels)}[$__rate_interval])))"


def quantile(q: float, metric: str) -> str:
    """A quantile of a histogram."""
    buckets = rate(f"{metric}_bucket", by="le")
    return f"histogram_quantile({q}, {buckets})"


def _selector(labels: tuple[str, ...]) -> str:
    return "{" + ",".join(('job=~"$job"', *labels)) + "}"


def _eq(label: str, value: str) -> str:
    return f'{label}="{value}"'


BRAND: Final = 'brand=~"$brand"'
SUBSCRIPTION: Final = 'subscription=~"$subscription"'
UP: Final = {"0": ("away", "red"), "1": ("up", "green")}
GONE: Final = {"0": ("there", "green"), "1": ("MISSING", "red")}


def quantiles(title: str, metric: str, description: str = "") -> Panel:
    """Median, p95 and p99 of a histogram."""
    lines = tuple(Query(quantile(q, metric), name) for q, name in ((0.5, "median"), (0.95, "p95"), (0.99, "p99")))
    return Panel("timeseries", title, lines, unit="s", description=description)


def stat(title: str, expr: str, unit: str = "short", steps: tuple[float, float] | None = None, **more: Any) -> Panel:
    """One figure."""
    return Panel(
        "stat", title, (Query(expr, more.pop("legend", "")),), unit=unit, width=4, height=4, steps=steps, **more
    )


OVERVIEW: Final = Board(
    "overview.json",
    "Clopos relay / Overview",
    (),
    (
        Row(
            "Now",
            (
                stat("Redis", one("relay_redis_up"), names=UP),
                stat("Workers", one("relay_workers", by="queue"), legend="{{queue}}"),
                stat("Oldest look", one("relay_poll_staleness_seconds"), "s", (120, 300)),
                stat("Backlog", f"sum({one('relay_backlog_deliveries', by='subscription')})", steps=(1_000, 10_000)),
                stat("Dead", f"sum({one('relay_dead_deliveries', by='subscription')})", steps=(1, 100)),
                stat("Unaccounted", one("relay_unaccounted_deliveries"), steps=(1, 1)),
                stat(
                    "Brands failing",
                    f"sum({one('relay_brand_state', _eq('state', 'failing'), by='brand')})",
                    steps=(1, 2),
                ),
                stat(
                    "Subscriptions disabled",
                    f"sum({one('relay_subscription_state', _eq('state', 'disabled'), by='subscription')})",
                    steps=(1, 5),
                ),
                stat("Seen to accepted, p95", quantile(0.95, "relay_event_latency_seconds"), "s", (10, 30)),
                stat("Most overdue", one("relay_overdue_seconds", by="queue"), "s", (10, 30), legend="{{queue}}"),
                stat(
                    "Redis memory",
                    f"{one('relay_redis_memory_bytes')} / ({one('relay_redis_maxmemory_bytes')} > 0)",
                    "percentunit",
                    (0.75, 0.85),
                ),
                stat("Version", one("relay_build_info", by="version"), legend="{{version}}"),
            ),
        ),
        Row(
            "Flow",
            (
                Panel(
                    "timeseries",
                    "Events by type",
                    (Query(rate("relay_events_total", by="type"), "{{type}}"),),
                    unit="ops",
                    stacked=True,
                ),
                Panel(
                    "timeseries",
                    "Attempts by status class",
                    (Query(rate("relay_delivery_attempts_total", by="status_class"), "{{status_class}}"),),
                    unit="ops",
                    stacked=True,
                ),
                Panel(
                    "timeseries",
                    "Requests to Clopos by outcome",
                    (Query(rate("relay_poll_requests_total", by="outcome"), "{{outcome}}"),),
                    unit="ops",
                    stacked=True,
                ),
                quantiles("Seen to accepted", "relay_event_latency_seconds"),
                Panel(
                    "timeseries",
                    "Commands by outcome",
                    (Query(rate("relay_commands_total", by="command, outcome"), "{{command}}: {{outcome}}"),),
                    unit="ops",
                ),
                Panel(
                    "timeseries",
                    "Deliveries that ended, by outcome",
                    (Query(rate("relay_deliveries_total", by="outcome"), "{{outcome}}"),),
                    unit="ops",
                ),
            ),
        ),
    ),
)

BRANDS: Final = Board(
    "brands.json",
    "Clopos relay / Brands and freshness",
    (("brand", "relay_poll_staleness_seconds"),),
    (
        Row(
            "Freshness",
            (
                Panel(
                    "timeseries",
                    "Age of the oldest venue's last look",
                    (Query(one("relay_poll_staleness_seconds", BRAND, by="brand"), "{{brand}}"),),
                    unit="s",
                    description="RelayBrandStale fires above 120 s, RelayBrandNotPolled above 300 s.",
                ),
                Panel(
                    "state-timeline",
                    "State",
                    (Query(one("relay_brand_state", BRAND, by="brand, state") + " == 1", "{{brand}}: {{state}}"),),
                    names={"1": ("yes", "blue")},
                ),
                Panel(
                    "timeseries",
                    "Events by brand and origin",
                    (Query(rate("relay_events_total", BRAND, by="brand, origin"), "{{brand}}: {{origin}}"),),
                    unit="ops",
                    stacked=True,
                ),
                Panel(
                    "timeseries",
                    "Events by brand and type",
                    (Query(rate("relay_events_total", BRAND, by="brand, type"), "{{brand}}: {{type}}"),),
                    unit="ops",
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Clopos",
            (
                Panel(
                    "timeseries",
                    "Requests by brand and outcome",
                    (Query(rate("relay_poll_requests_total", BRAND, by="brand, outcome"), "{{brand}}: {{outcome}}"),),
                    unit="ops",
                ),
                Panel(
                    "timeseries",
                    "Requests by resource",
                    (Query(rate("relay_poll_requests_total", BRAND, by="resource"), "{{resource}}"),),
                    unit="ops",
                    stacked=True,
                ),
                Panel(
                    "timeseries", "Quota left", (Query(one("relay_quota_remaining", BRAND, by="brand"), "{{brand}}"),)
                ),
                quantiles("Duration of a request", "relay_poll_duration_seconds", "All brands together."),
            ),
        ),
        Row(
            "What went wrong",
            (
                Panel(
                    "timeseries",
                    "Changes that only reconciliation found, within the hour",
                    (
                        Query(
                            "sum by (brand) (max without (instance, pod) "
                            f"(increase(relay_reconcile_drift_total{_selector((BRAND,))}[1h])))",
                            "{{brand}}",
                        ),
                    ),
                    width=8,
                    description="Should be zero.",
                ),
                Panel(
                    "timeseries",
                    "Age of the last full compare",
                    (Query(one("relay_reconcile_age_seconds", BRAND, by="brand"), "{{brand}}"),),
                    unit="s",
                    width=8,
                ),
                Panel(
                    "timeseries",
                    "Rows that cannot be read",
                    (Query(one("relay_quarantined_rows", BRAND, by="brand"), "{{brand}}"),),
                    width=8,
                ),
                Panel(
                    "timeseries",
                    "Rows set aside, by brand and resource",
                    (
                        Query(
                            rate("relay_rows_set_aside_total", BRAND, by="brand, resource"), "{{brand}}: {{resource}}"
                        ),
                    ),
                    unit="ops",
                    description="Each content once.",
                ),
                Panel(
                    "timeseries",
                    "Rows dropped because somebody else had written a newer state",
                    (
                        Query(
                            rate("relay_commit_conflicts_total", BRAND, by="brand, resource"), "{{brand}}: {{resource}}"
                        ),
                    ),
                    unit="ops",
                    description="A few where commands, polls and reconciliation meet; many where a worker stalls.",
                ),
            ),
        ),
    ),
)

DELIVERIES: Final = Board(
    "deliveries.json",
    "Clopos relay / Deliveries by subscription",
    (("subscription", "relay_subscription_state"),),
    (
        Row(
            "Waiting",
            (
                Panel(
                    "timeseries",
                    "Backlog (the twenty largest)",
                    (
                        Query(
                            f"topk(20, {one('relay_backlog_deliveries', SUBSCRIPTION, by='subscription')})",
                            "{{subscription}}",
                        ),
                    ),
                ),
                Panel(
                    "timeseries",
                    "Age of the oldest pending (the twenty oldest)",
                    (
                        Query(
                            f"topk(20, {one('relay_backlog_oldest_seconds', SUBSCRIPTION, by='subscription')})",
                            "{{subscription}}",
                        ),
                    ),
                    unit="s",
                    description="RelayBacklogOld fires above 60 s where the subscription is active.",
                ),
                Panel(
                    "timeseries",
                    "Dead (the twenty most)",
                    (
                        Query(
                            f"topk(20, {one('relay_dead_deliveries', SUBSCRIPTION, by='subscription')})",
                            "{{subscription}}",
                        ),
                    ),
                ),
                Panel(
                    "state-timeline",
                    "Paused or disabled",
                    (
                        Query(
                            one("relay_subscription_state", SUBSCRIPTION, 'state!="active"', by="subscription, state")
                            + " == 1",
                            "{{subscription}}: {{state}}",
                        ),
                    ),
                    names={"1": ("yes", "orange")},
                ),
            ),
        ),
        Row(
            "Attempts",
            (
                Panel(
                    "timeseries",
                    "By status class",
                    (
                        Query(
                            rate("relay_delivery_attempts_total", SUBSCRIPTION, by="status_class"), "{{status_class}}"
                        ),
                    ),
                    unit="ops",
                    stacked=True,
                ),
                Panel(
                    "timeseries",
                    "Share accepted, by subscription (the twenty worst)",
                    (
                        Query(
                            "bottomk(20, "
                            + rate(
                                "relay_delivery_attempts_total",
                                SUBSCRIPTION,
                                _eq("status_class", "2xx"),
                                by="subscription",
                            )
                            + " / ("
                            + rate("relay_delivery_attempts_total", SUBSCRIPTION, by="subscription")
                            + " > 0))",
                            "{{subscription}}",
                        ),
                    ),
                    unit="percentunit",
                ),
                quantiles("Duration of an attempt", "relay_delivery_duration_seconds", "All subscriptions together."),
                quantiles("Seen to accepted", "relay_event_latency_seconds", "All subscriptions together."),
            ),
        ),
        Row(
            "Ledger",
            (
                Panel(
                    "timeseries",
                    "Ended, by outcome",
                    (Query(rate("relay_deliveries_total", SUBSCRIPTION, by="outcome"), "{{outcome}}"),),
                    unit="ops",
                ),
                Panel(
                    "timeseries",
                    "Unaccounted",
                    (Query(one("relay_unaccounted_deliveries"), "unaccounted"),),
                    width=6,
                    description="Always zero.",
                ),
                Panel(
                    "timeseries",
                    "Age of the last count",
                    (Query(one("relay_ledger_audit_age_seconds"), "age"),),
                    unit="s",
                    width=6,
                ),
            ),
        ),
    ),
)

WORKERS: Final = Board(
    "workers.json",
    "Clopos relay / Workers and Redis",
    (),
    (
        Row(
            "Processes",
            (
                Panel(
                    "timeseries", "Workers by queue", (Query(one("relay_workers", by="queue"), "{{queue}}"),), width=8
                ),
                Panel("timeseries", "Schedulers", (Query(one("relay_schedulers"), "alive"),), width=8),
                Panel(
                    "timeseries",
                    "Work due and not taken",
                    (Query(one("relay_overdue_seconds", by="queue"), "{{queue}}"),),
                    unit="s",
                    width=8,
                    description="RelayWorkBehind fires above 30 s: too few workers, or none that work.",
                ),
                Panel(
                    "timeseries",
                    "Jobs in RQ",
                    (Query(one("relay_queue_jobs", by="queue, state"), "{{queue}}: {{state}}"),),
                ),
                Panel("timeseries", "Clock skew", (Query(one("relay_clock_skew_seconds"), "greatest"),), unit="s"),
                Panel(
                    "timeseries",
                    "Shifts by their end",
                    (Query(rate("relay_shifts_total", by="queue, ended"), "{{queue}}: {{ended}}"),),
                    unit="ops",
                    description="failed, hung: see the log's line `shift failed`. cut_off: a process had to end.",
                ),
                Panel(
                    "timeseries",
                    "Jobs refused",
                    (Query(rate("relay_jobs_refused_total", by="queue, reason"), "{{queue}}: {{reason}}"),),
                    unit="ops",
                    description="Not ours, but for expired: somebody else writes into the queues.",
                ),
            ),
        ),
        Row(
            "Redis",
            (
                Panel(
                    "timeseries",
                    "Memory",
                    (
                        Query(one("relay_redis_memory_bytes"), "used"),
                        Query(f"{one('relay_redis_maxmemory_bytes')} > 0", "limit"),
                    ),
                    unit="bytes",
                    description="Polling stops at 85 % of the limit.",
                ),
                Panel("state-timeline", "Answers", (Query(one("relay_redis_up"), "Redis"),), names=UP),
                Panel("state-timeline", "State", (Query(one("relay_state_missing"), "state"),), names=GONE),
                Panel(
                    "timeseries",
                    "API replicas by version",
                    (Query(f"count by (version) (relay_build_info{_selector(())})", "{{version}}"),),
                ),
            ),
        ),
    ),
)

BOARDS: Final = (OVERVIEW, BRANDS, DELIVERIES, WORKERS)


def dashboard(board: Board) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in board.rows:
        panels.append(
            {
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
                "panels": [],
            }
        )
        y += 1
        x = tallest = 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            panels.append(_panel(panel, x=x, y=y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    for number, panel_json in enumerate(panels, start=1):
        panel_json["id"] = number
    uid = "clopos-relay-" + board.file.removesuffix(".json")
    return {
        "uid": uid,
        "title": board.title,
        "tags": ["clopos-relay"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "tags": ["clopos-relay"],
                "title": "Clopos relay",
                "asDropdown": True,
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "templating": {
            "list": [
                _datasource(),
                _variable("job", "relay_build_info"),
                *(_variable(*each) for each in board.variables),
            ]
        },
        "panels": panels,
    }


def _panel(panel: Panel, *, x: int, y: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.steps is not None:
        warn, bad = panel.steps
        steps = [{"color": "green", "value": None}, {"color": "yellow", "value": warn}, {"color": "red", "value": bad}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps if warn < bad else [steps[0], steps[2]]}
    if panel.names:
        shown = {
            value: {"text": text, "color": color, "index": n}
            for n, (value, (text, color)) in enumerate(panel.names.items())
        }
        defaults["mappings"] = [{"type": "value", "options": shown}]
    options: dict[str, Any] = {}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal", "group": "A"} if panel.stacked else {"mode": "none", "group": "A"}
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 0,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": stacking,
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif panel.kind == "stat":
        options = {
            "colorMode": "value" if panel.steps or panel.names else "none",
            "graphMode": "area",
            "textMode": "name" if panel.title == "Version" else "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    elif panel.kind == "state-timeline":
        options = {
            "mergeValues": True,
            "showValue": "auto",
            "rowHeight": 0.9,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        }
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": True,
                "instant": False,
            }
            for number, query in enumerate(panel.queries)
        ],
    }


def _datasource() -> dict[str, Any]:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
    }


def _variable(label: str, metric: str) -> dict[str, Any]:
    selector = "" if label == "job" else '{job=~"$job"}'
    query = f"label_values({metric}{selector}, {label})"
    return {
        "type": "query",
        "name": label,
        "label": label.capitalize(),
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "Variable"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def main(arguments: list[str]) -> int:
    """Write the files, or say which differ."""
    wrong = 0
    for board in BOARDS:
        path = FOLDER / board.file
        text = json.dumps(dashboard(board), indent=2, ensure_ascii=False) + "\n"
        if "--check" in arguments:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                print(f"{path.name} is not what .ci/chart_dashboards.py writes", file=sys.stderr)
                wrong = 1
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
