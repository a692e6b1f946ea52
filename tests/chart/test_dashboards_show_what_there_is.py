"""Do the dashboards use the metrics that there are, all of them, and does a real Prometheus answer every expression?"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.boards import expressions, filled_in, read_dashboards
from tests.chart.prometheuses import running_prometheus

SUFFIXES = re.compile(r"_(bucket|sum|count)$")
SERIES = ["first", "second"]
"""What a label holds that stands for brands, subscriptions and the like."""

Metrics = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def metrics(chart_folder: Path) -> Metrics:
    """The list of metrics that the chart may use."""
    found: Metrics = yaml.safe_load((chart_folder / "metrics.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def dashboards(chart_folder: Path) -> dict[str, dict[str, Any]]:
    return read_dashboards(chart_folder)


def selectors(expr: str) -> list[tuple[str, str]]:
    """Metric and label selector of everything raw in an expression."""
    return re.findall(r"\b(relay_[a-z0-9_]+)(\{[^}]*\})?", expr)


def rule_expressions(chart_folder: Path) -> list[str]:
    found = []
    for name in ("recording.yaml", "alerts.yaml"):
        groups = yaml.safe_load((chart_folder / "rules" / name).read_text())["groups"]
        found += [rule["expr"] for group in groups for rule in group["rules"]]
    return found


def all_expressions(chart_folder: Path, dashboards: dict[str, dict[str, Any]]) -> list[str]:
    return rule_expressions(chart_folder) + [expr for each in dashboards.values() for _, expr in expressions(each)]


def test_the_files_are_what_the_script_writes(root_folder: Path) -> None:
    script = root_folder / ".ci" / "chart_dashboards.py"
    result = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_there_are_the_four(dashboards: dict[str, dict[str, Any]]) -> None:
    assert list(dashboards) == ["brands.json", "deliveries.json", "overview.json", "workers.json"]
    assert len({each["uid"] for each in dashboards.values()}) == len(dashboards)


def test_data_source_brand_and_subscription_can_be_chosen(dashboards: dict[str, dict[str, Any]]) -> None:
    names = {file: [each["name"] for each in dashboard["templating"]["list"]] for file, dashboard in dashboards.items()}
    assert all({"datasource", "job"} <= set(each) for each in names.values())
    assert "brand" in names["brands.json"]
    assert "subscription" in names["deliveries.json"]
    for dashboard in dashboards.values():
        known = {f"${each['name']}" for each in dashboard["templating"]["list"]} | {"$__rate_interval"}
        used = {name for _, expr in expressions(dashboard) for name in re.findall(r"\$\w+", expr)}
        assert used <= known
        assert all(
            panel["datasource"]["uid"] == "${datasource}" for panel in dashboard["panels"] if panel["type"] != "row"
        )


def test_rules_and_panels_use_listed_metrics_with_the_labels_they_have(
    chart_folder: Path, dashboards: dict[str, dict[str, Any]], metrics: Metrics
) -> None:
    for expr in all_expressions(chart_folder, dashboards):
        for name, selector in selectors(expr):
            metric = metrics[
                SUFFIXES.sub("", name) if metrics.get(SUFFIXES.sub("", name), {}).get("type") == "histogram" else name
            ]
            for label, _, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
                assert label in [*metric["labels"], "job"], f"{name} has no label {label}"
                if label in metric.get("values", {}):
                    assert value in metric["values"][label], f"{name}: {label} is never {value}"


def test_recorded_names_are_recorded_and_used(chart_folder: Path) -> None:
    groups = yaml.safe_load((chart_folder / "rules" / "recording.yaml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"]}
    used = {name for expr in rule_expressions(chart_folder) for name in re.findall(r"relay:[a-z0-9_:]+", expr)}
    assert used <= recorded


def test_every_metric_is_on_a_panel_or_in_an_alert(
    chart_folder: Path, dashboards: dict[str, dict[str, Any]], metrics: Metrics
) -> None:
    used = {SUFFIXES.sub("", name) for expr in all_expressions(chart_folder, dashboards) for name, _ in selectors(expr)}
    assert {SUFFIXES.sub("", name) for name in metrics} - used == set()


def test_the_keda_queries_use_listed_metrics(chart_folder: Path, metrics: Metrics) -> None:
    text = (chart_folder / "templates" / "keda.yaml").read_text()
    used = set(re.findall(r'"(relay_[a-z_]+)"', text))
    assert used
    assert used <= metrics.keys()


def test_panels_do_not_overlap(dashboards: dict[str, dict[str, Any]]) -> None:
    for name, dashboard in dashboards.items():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken, f"{name}: {panel['title']}"
            assert at["x"] + at["w"] <= 24
            taken |= cells


def exposition(metrics: Metrics, scrape: int) -> str:
    """What an API replica would export: counters that rise, gauges that stand, for two brands and two subscriptions."""
    lines = []
    for name, metric in metrics.items():
        lines += [f"# HELP {name} {metric['help'].capitalize()}.", f"# TYPE {name} {metric['type']}"]
        combinations: list[dict[str, str]] = [{}]
        for label in metric["labels"]:
            values = metric.get("values", {}).get(label, SERIES)
            combinations = [each | {label: value} for each in combinations for value in values]
        for number, labels in enumerate(combinations):
            value = scrape * (number + 1) if metric["type"] == "counter" else number + 1
            if name.endswith("_state"):
                value = 1
            text = ",".join(f'{label}="{held}"' for label, held in labels.items())
            if metric["type"] == "histogram":
                buckets = {"0.1": 5, "1": 8, "10": 9, "+Inf": 10}
                lines += [f'{name}_bucket{{le="{le}"}} {scrape * count}' for le, count in buckets.items()]
                lines += [f"{name}_sum {scrape * 9}", f"{name}_count {scrape * 10}"]
            else:
                lines.append(f"{name}{{{text}}} {value}" if text else f"{name} {value}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def prometheus(
    tool: Callable[[str], str], metrics: Metrics, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], list[Any]]]:
    """Asks a real Prometheus that scrapes two replicas; gives the result of an instant query."""
    replicas = [_replica(metrics) for _ in range(2)]
    targets = [f"127.0.0.1:{each.server_port}" for each in replicas]
    try:
        with running_prometheus(tool("prometheus"), tmp_path_factory.mktemp("prometheus"), targets=targets) as running:
            # Three scrapes of each replica: then a rate has a value.
            running.until("count(count_over_time(relay_redis_up[10s]) >= 3) == 2")
            yield running.query
    finally:
        for each in replicas:
            each.shutdown()
            each.server_close()


def _replica(metrics: Metrics) -> ThreadingHTTPServer:
    started = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        """Answers every request with the metrics of now."""

        def do_GET(self) -> None:
            body = exposition(metrics, 1 + int(time.monotonic() - started)).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_every_panel_gets_an_answer_from_a_real_prometheus(
    prometheus: Callable[[str], list[Any]], dashboards: dict[str, dict[str, Any]]
) -> None:
    silent = [
        f"{name}: {title}: {expr}"
        for name, dashboard in dashboards.items()
        for title, expr in expressions(dashboard)
        if not prometheus(filled_in(expr))
    ]
    assert silent == []


def test_two_replicas_count_once(prometheus: Callable[[str], list[Any]], dashboards: dict[str, dict[str, Any]]) -> None:
    panels = dict(expressions(dashboards["overview.json"]))
    (backlog,) = prometheus(filled_in(panels["Backlog"]))
    assert float(backlog["value"][1]) == 1 + 2
    workers = prometheus(filled_in(panels["Workers"]))
    assert sorted(float(each["value"][1]) for each in workers) == [1, 2, 3]


def test_the_names_are_as_prometheus_would_have_them(metrics: Metrics, tool: Callable[[str], str]) -> None:
    result = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        input=exposition(metrics, 1),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
