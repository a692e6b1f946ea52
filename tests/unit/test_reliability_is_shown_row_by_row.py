import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GROUPS: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docs" / "reliability.yaml").read_text())
ROWS = {number: row for rows in GROUPS.values() for number, row in rows.items()}
NEVER_GIVEN = {"B37", "B38", "B59"}
NUMBERS = {f"F{n:02}" for n in range(1, 85)} | {f"B{n:02}" for n in range(1, 66)} - NEVER_GIVEN


@cache
def _tests_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_fault_that_is_known_has_its_row() -> None:
    assert ROWS.keys() == NUMBERS
    assert sum(len(rows) for rows in GROUPS.values()) == len(NUMBERS), "a number is given twice"


@pytest.mark.parametrize("number", ROWS)
def test_a_row_says_what_holds_and_names_tests_that_exist(number: str) -> None:
    row = ROWS[number]
    assert row.keys() - {"signal", "left"} == {"fault", "holds", "shown"}
    assert row["shown"], "no test shows it"
    for file, names in row["shown"].items():
        assert {name for name in names if name.startswith("test_")} == set(names)
        assert set(names) <= _tests_of(file), file


def test_the_page_shows_every_group() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert all(f"<!-- made by docs/generate.py: faults: {group} -->" in page for group in GROUPS)
