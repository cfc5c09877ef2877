"""Chromium, started once for this folder, and the page with an API that a test controls.

Every error that a page logs and every request to another host fails the test.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.admin.page.stage import Stage, running
from tests.waiting import patience

FAILED = "Failed to load resource"
"""Chromium's message about a response with an error status; expected where a test sets one."""


@dataclass
class Visit:
    """One page, with its errors and its requests to other hosts."""

    page: Page
    host: str
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Start to record."""
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda request: self._check(request.url))

    def _check(self, url: str) -> None:
        if urlsplit(url).scheme != "data" and urlsplit(url).netloc != self.host:
            self.elsewhere.append(url)


Open = Callable[..., Page]
"""`open_page(path="", fails=False, **options of the browser's context)`: a path of the stage, or a whole address;
`fails`: answers that are errors are meant."""


# Not for the whole session: in the thread where Playwright runs, no other test could start an event loop.
@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Debian's Chromium."""
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def server() -> Iterator[Stage]:
    with running(Stage()) as stage:
        yield stage


@pytest.fixture
def stage(server: Stage) -> Stage:
    """The API, without failures until the test sets some."""
    server.reset()
    return server


@pytest.fixture
def open_page(browser: Browser, stage: Stage) -> Iterator[Open]:
    """Opens watched pages; see `Open`."""
    visits: list[tuple[Visit, bool]] = []

    def open_page(
        path: str = "", *, fails: bool = False, before: Callable[[Page], None] | None = None, **options: Any
    ) -> Page:
        settings = {"locale": "en-GB", "timezone_id": "Europe/Berlin", "viewport": {"width": 1440, "height": 900}}
        page = browser.new_context(**{**settings, **options}).new_page()
        within_ms = patience() * 1_000
        page.set_default_timeout(within_ms)
        expect.set_options(timeout=within_ms)
        address = urljoin(stage.url, path)
        visit = Visit(page, urlsplit(address).netloc)
        visit.watch()
        visits.append((visit, fails))
        if before:
            before(page)
        page.goto(address)
        return page

    yield open_page
    for visit, fails in visits:
        visit.page.context.close()
        assert [error for error in visit.errors if not (fails and error.startswith(FAILED))] == []
        assert visit.elsewhere == []
