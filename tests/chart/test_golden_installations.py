"""What do three typical installations look like?

`UPDATE_GOLDEN=1 pytest tests/chart` writes the files anew; read the difference before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

GOLDEN = Path(__file__).parent / "golden"


def shortened(each: dict[str, Any]) -> dict[str, Any]:
    """An object without what has files of its own: rules and dashboards."""
    if each["kind"] == "PrometheusRule":
        return each | {"spec": {"groups": [group["name"] for group in each["spec"]["groups"]]}}
    if each["kind"] == "ConfigMap" and any(name.endswith(".json") for name in each["data"]):
        return each | {"data": {name: f"dashboards/{name}" for name in each["data"]}}
    return each


@pytest.mark.parametrize("name", ["small", "normal", "large"])
def test_the_installation_is_as_it_was(helm: Any, chart_folder: Path, name: str) -> None:
    objects = helm.template(files=(chart_folder / "ci" / f"{name}-values.yaml",), release=name)
    text = yaml.safe_dump_all([shortened(each) for each in objects], sort_keys=False, width=120)
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert file.read_text() == text, f"{file.name} differs: UPDATE_GOLDEN=1 writes it anew"


@pytest.mark.parametrize("name", ["small", "normal", "large"])
def test_the_installation_passes_strict_lint(helm: Any, chart_folder: Path, name: str) -> None:
    assert "0 chart(s) failed" in helm.lint(files=(chart_folder / "ci" / f"{name}-values.yaml",))


def test_there_is_a_golden_file_for_every_example(chart_folder: Path) -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == {
        path.stem.removesuffix("-values") for path in (chart_folder / "ci").glob("*-values.yaml")
    }
