import ast
import sys
from pathlib import Path

import pytest

import relay.sandbox

FILES = sorted(Path(relay.sandbox.__file__).parent.glob("*.py"))
ALLOWED = {"relay.sandbox", "starlette", "uvicorn"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_stand_in_imports_nothing_of_what_it_is_to_test(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")
    foreign = {
        name
        for name in imported
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED)
    }

    assert foreign == set()
