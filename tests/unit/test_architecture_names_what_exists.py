import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
NAMED = re.findall(r"`((?:relay|workers)/[\w/.]+)`((?:,?\s+`[A-Za-z_]+`)*)", TEXT)


def _defined(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


@pytest.mark.parametrize(("file", "names"), NAMED, ids=[file for file, _ in NAMED])
def test_each_file_and_function_that_the_page_names_is_there(file: str, names: str) -> None:
    path = ROOT / file
    assert path.exists()
    wanted = set(re.findall(r"`(\w+)`", names))
    if wanted:
        assert wanted <= _defined(path)


def test_the_page_names_files_at_all() -> None:
    assert len(NAMED) > 30
