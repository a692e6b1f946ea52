import re
import subprocess
import sys
from pathlib import Path

import pytest

from relay.core.events import EVENT_TYPES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]


def _generate(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), *words], capture_output=True, text=True, check=False
    )


def test_every_part_between_markers_is_what_the_code_says_now() -> None:
    done = _generate("--check")
    assert (done.returncode, done.stdout) == (0, "all as the code has it\n"), (
        f"run `python docs/generate.py`: {done.stdout}{done.stderr}"
    )


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_link_within_and_between_pages_leads_to_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*)#([^)]+)\)", page.read_text()):
        other = page if not target else page.parent / target
        if other.suffix == ".md":
            assert anchor in _anchors(other), f"{page.name}: {target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_partners_find_every_type_of_event_whole() -> None:
    text = (DOCS / "events.md").read_text()
    assert set(re.findall(r"^### (\w+\.\w+)$", text, re.MULTILINE)) >= EVENT_TYPES.keys()


def test_partners_find_every_receiver_whole() -> None:
    text = (DOCS / "receiving.md").read_text()
    files = [file for file in (DOCS / "receivers").glob("*/*") if file.is_file()]
    assert len(files) == 3
    assert [file.name for file in files if file.read_text() not in text] == []
