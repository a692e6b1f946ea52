"""Is the chart's README what `helm-docs` makes from the values, and does it describe every one?"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

COMMAND = ("--template-files", "README.md.gotmpl", "--sort-values-order", "file", "--log-level", "warning")
"""By hand: `cd helm/clopos-relay && helm-docs --template-files README.md.gotmpl --sort-values-order file`."""


def test_the_readme_is_up_to_date(chart_folder: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    copy = tmp_path / chart_folder.name
    shutil.copytree(chart_folder, copy)
    subprocess.run([tool("helm-docs"), "--chart-search-root", str(copy), *COMMAND], check=True)
    assert (copy / "README.md").read_text() == (chart_folder / "README.md").read_text()


def test_every_value_is_described(chart_folder: Path) -> None:
    rows = [
        line for line in (chart_folder / "README.md").read_text().splitlines() if re.match(r"\| [a-zA-Z.]+ \|", line)
    ][1:]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_links_lead_somewhere(chart_folder: Path) -> None:
    text = (chart_folder / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (chart_folder / target).exists(), target
