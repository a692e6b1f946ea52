import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)(?:#[^)]*)?\)")
LINKS = [(page, target) for page in PAGES for target in LINK.findall(page.read_text())]


@pytest.mark.parametrize(("page", "target"), LINKS, ids=[f"{page.name}-{target}" for page, target in LINKS])
def test_every_link_between_pages_leads_to_a_file(page: Path, target: str) -> None:
    assert (page.parent / target).exists()


def test_the_readme_promises_nothing_without_a_test() -> None:
    table = (ROOT / "README.md").read_text().partition("| promised |")[2].partition("\n\n")[0]
    rows = [row for row in table.splitlines()[2:] if row.strip()]
    assert len(rows) >= 8
    assert [row for row in rows if "](tests/" not in row] == []
