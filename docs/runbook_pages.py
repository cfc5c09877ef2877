"""The runbooks as HTML for the Analytics page: docs/runbooks/*.md -> admin/runbooks/*.html, written by docs.generate.

They are rendered here and not by the exporter, which is installed without docs/ and without a reader of Markdown. Raw
HTML in a runbook is text. Of the links, those to other runbooks remain; all others lead to files that the section does
not serve, and become their text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

SOURCES = Path(__file__).parent / "runbooks"
TARGETS = Path(__file__).parents[1] / "admin" / "runbooks"

_RUNBOOK = re.compile(r"(HiveSync[A-Za-z]+)\.md")


def pages() -> dict[Path, Callable[[], str]]:
    """The builder of each page, by its path."""
    return {TARGETS / f"{source.stem}.html": partial(page, source) for source in sorted(SOURCES.glob("*.md"))}


def page(source: Path) -> str:
    """The content of a runbook below its title, with headings of the third level."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = [_lowered(token) for token in _without_title(reader.parse(source.read_text(encoding="utf-8")))]
    for token in tokens:
        if token.children:
            token.children = _links_within(token.children)
    return str(reader.renderer.render(tokens, reader.options, {}))


def _without_title(tokens: list[Token]) -> list[Token]:
    """The tokens behind the first heading, which repeats the alert's name."""
    end = next(index for index, token in enumerate(tokens) if token.type == "heading_close" and token.tag == "h1")
    return tokens[end + 1 :]


def _lowered(token: Token) -> Token:
    if token.type.startswith("heading"):
        token.tag = f"h{min(6, int(token.tag[1:]) + 1)}"
    return token


def _links_within(tokens: list[Token]) -> list[Token]:
    kept: list[Token] = []
    is_link = False
    for token in tokens:
        if token.type == "link_open":
            name = _RUNBOOK.fullmatch(str(token.attrs["href"]))
            is_link = name is not None
            if name:
                token.attrs["href"] = name[1]
        if is_link or token.type not in ("link_open", "link_close"):
            kept.append(token)
    return kept
