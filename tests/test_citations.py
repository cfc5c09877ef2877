"""Citations: every cited heading exists, and no citation is of a document outside the repository."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CODE = {".js", ".py", ".sql", ".yml"}
TEXT = CODE | {".css", ".env", ".html", ".json", ".md", ".sh", ".toml", ".txt", ".yaml"}
GENERATED = {"build", "dist", "node_modules", "secrets"}

CITED = re.compile(r"\b(docs/[\w/-]+\.md)(#[\w-]+(?:(?:,| and) #[\w-]+)*)")
"""A heading as in `docs/definitions.md#time`, with further headings of that page after a comma."""

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)#([^)\s]+)\)")
"""A link with a heading, relative to its page; without a path, to the page itself."""

SECTION = "\N{SECTION SIGN}"
OTHER_DOCUMENT = re.compile(rf"(?<!RFC \d{{4}} ){SECTION}|\b(?:contract|spec|specification),? section\b", re.IGNORECASE)
"""A section of a document other than an RFC."""


def files(suffixes: set[str], folder: Path = ROOT) -> Iterator[Path]:
    """The repository's files with these suffixes."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in GENERATED:
            continue
        if path.is_dir():
            yield from files(suffixes, path)
        elif path.suffix in suffixes:
            yield path


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    without_code = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    times: Counter[str] = Counter()
    for heading in re.findall(r"^#{1,6} +(.*?)[ #]*$", without_code, re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{anchor}-{times[anchor]}" if times[anchor] else anchor)
        times[anchor] += 1
    return found


def citations(path: Path) -> Iterator[tuple[Path, str]]:
    """(page, anchor) of every heading that a file cites."""
    text = path.read_text()
    for page, headings in CITED.findall(text):
        yield from ((ROOT / page, anchor) for anchor in re.findall(r"#([\w-]+)", headings))
    if path.suffix == ".md":
        yield from ((path.parent / page if page else path, anchor) for page, anchor in LINK.findall(text))


def unresolved(path: Path) -> list[str]:
    """The citations of headings or pages that do not exist."""
    return [
        f"{page}#{anchor}"
        for page, anchor in citations(path)
        if not page.is_file() or anchor not in anchors(page.read_text())
    ]


def test_every_cited_heading_exists() -> None:
    citing = [path for path in files(CODE | {".md"}) if any(citations(path))]
    assert len(citing) > 40
    assert {str(path.relative_to(ROOT)): missing for path in citing if (missing := unresolved(path))} == {}


def test_no_section_of_a_document_outside_the_repository_is_cited() -> None:
    """Sections of an RFC are public, and the exception."""
    every = list(files(TEXT))
    assert len(every) > 400
    assert [str(path.relative_to(ROOT)) for path in every if OTHER_DOCUMENT.search(path.read_text())] == []


def test_a_citation_of_a_missing_heading_or_page_is_noticed(tmp_path: Path) -> None:
    code, page = tmp_path / "module.py", tmp_path / "page.md"
    code.write_text(f"docs/definitions.md#{'time'}, #{'no-time'} docs/no-page.md#{'time'}")
    assert unresolved(code) == [f"{ROOT}/docs/definitions.md#{'no-time'}", f"{ROOT}/docs/no-page.md#{'time'}"]
    page.write_text(f"# Title\n[a](#title) [b](#{'other'}) [c](none.md#{'title'}) [d](https://example.com/#x)")
    assert unresolved(page) == [f"{page}#{'other'}", f"{tmp_path}/none.md#{'title'}"]


def test_anchors_are_those_of_github() -> None:
    page = "# Row level security\n## `a_b`: [one](x.md), two - three\n## Time\n```\n# code\n```\n## Time ##\n"
    assert anchors(page) == {"row-level-security", "a_b-one-two---three", "time", "time-1"}


@pytest.mark.parametrize("document", ["contract", "spec", "specification", "the specification's"])
def test_a_section_of_another_document_is_noticed(document: str) -> None:
    assert OTHER_DOCUMENT.search(f"Queue depths ({document} {SECTION}3)")
    assert not OTHER_DOCUMENT.search(f"304 if the client has it (RFC 9110 {SECTION}13.1.2)")
