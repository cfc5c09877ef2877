"""Docstrings and pages are in the plain English of the field: nouns where nouns can stand."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = sorted({path.parent.name for path in ROOT.glob("*/*.py")})

PRONOUN = re.compile(r"\b(?:what|who|whom|whoever|whatever|somebody|nobody|anybody|one that)\b", re.IGNORECASE)
"""Words with which a clause begins where a noun could stand."""

MOST_PER_THOUSAND = 3
"""Pronouns per 1,000 words."""


def docstrings(path: Path) -> Iterator[str]:
    """The docstrings of a module, those of its constants included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


def texts(place: str) -> list[str]:
    """All text of one place: a package's docstrings, or the pages."""
    if place == "pages":
        pages = [*ROOT.glob("*.md"), *(path for path in ROOT.rglob("*/*.md") if "node_modules" not in path.parts)]
        return [prose(page) for page in pages if ".venv" not in page.parts]
    return [text for path in sorted((ROOT / place).rglob("*.py")) for text in docstrings(path)]


def per_thousand(found: list[str]) -> float:
    """Pronouns per 1,000 words."""
    words = sum(len(text.split()) for text in found)
    return 1000 * sum(len(PRONOUN.findall(text)) for text in found) / words


@pytest.mark.parametrize("place", ["pages", *CODE])
def test_pronouns_are_rare(place: str) -> None:
    found = texts(place)
    assert sum(map(len, found)) > 250
    assert per_thousand(found) <= MOST_PER_THOUSAND


def test_a_text_in_another_style_would_be_noticed() -> None:
    assert per_thousand(["Whoever reads what nobody wrote"]) == 600
    assert per_thousand(["Middleware that checks each request"]) == 0
