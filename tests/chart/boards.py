"""The chart's dashboards, and the expressions on them; no test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLES = {"$job": ".*", "$brand": ".*", "$subscription": ".*", "$__rate_interval": "10s"}
"""What Grafana would fill in, with everything chosen."""


def read_dashboards(chart_folder: Path) -> dict[str, dict[str, Any]]:
    """Every dashboard, by the name of its file."""
    return {path.name: json.loads(path.read_text()) for path in sorted((chart_folder / "dashboards").glob("*.json"))}


def expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Panel title and expression."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def filled_in(expr: str) -> str:
    """An expression as Grafana asks it."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr
