"""Is the chart's list of metrics the code's own table?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.metrics import TABLE


@pytest.fixture(scope="module")
def listed(chart_folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((chart_folder / "metrics.yaml").read_text())
    return found


def test_every_metric_of_the_code_is_listed_with_its_type_and_labels(listed: dict[str, dict[str, Any]]) -> None:
    in_code = {row.name: (row.kind, list(row.labels)) for row in TABLE}
    assert {name: (listed[name]["type"], listed[name]["labels"]) for name in in_code if name in listed} == in_code


def test_what_is_listed_is_exported_or_planned(listed: dict[str, dict[str, Any]]) -> None:
    assert {name for name, metric in listed.items() if not metric.get("planned")} == {row.name for row in TABLE}
