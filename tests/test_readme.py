"""README stays short, and README, BUILD.md and the pages of docs/ link to what exists."""

import re
from pathlib import Path

import pytest

from tests.support.commands import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *(ROOT / f"{name}.md" for name in ("README", "BUILD", "SECURITY")),
        *(ROOT / "docs").rglob("*.md"),
    )
)
LONGEST_README = 150  # lines


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What a link can name of a page, as code hosts and MkDocs both make it of a heading."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= LONGEST_README


def test_readme_names_every_guide() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "index.md" or f"](docs/{path.name})" in text, path.name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", prose(ROOT / page)):
        name, _, anchor = link.partition("#")
        if name.startswith("https://"):
            continue
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(path), f"{page}: {link}"
