"""Generated pages are up to date, and the other pages refer to existing things only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import generate

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("[a-z]*/README.md"), *ROOT.glob("*/*/README.md")]
)


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_generated_pages_are_up_to_date() -> None:
    assert generate.main(["--check"]) == 0


def test_a_page_that_is_not_up_to_date_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "HERE", tmp_path)
    assert generate.main([]) == 0
    (tmp_path / "settings.md").write_text("old")
    assert generate.main(["--check"]) == 1


def test_every_link_between_pages_leads_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:)([^)#]+)", prose(page))]
    assert len(links) >= 5
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_to_a_heading_leads_to_one() -> None:
    links = [
        (page, (page.parent / file if file else page).resolve(), anchor)
        for page in PAGES
        for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", prose(page))
    ]
    assert len(links) > 20
    broken = [(page.name, to.name, anchor) for page, to, anchor in links if anchor not in anchors(to)]
    assert broken == []


def test_every_file_a_page_names_exists() -> None:
    named = [
        (page, path) for page in PAGES for path in re.findall(r"`((?:exporter|demo|docs)/[\w/.]+)`", page.read_text())
    ]
    assert len(named) >= 5
    assert [(page.name, path) for page, path in named if not (ROOT / path).exists()] == []


def test_every_make_target_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE)}
    assert named
    assert named <= targets
