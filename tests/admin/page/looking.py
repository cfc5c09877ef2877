"""Parts of the page that several tests read."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

UPDATED = re.compile(r"^Updated \d\d:\d\d:\d\d$")


def settled(page: Page) -> Page:
    """The page, after its first refresh."""
    expect(page.locator("#updated")).to_have_text(UPDATED)
    at_rest(page)
    return page


def at_rest(page: Page) -> None:
    """Wait for the end of a refresh, if there is one."""
    expect(page.locator("html:not([data-refreshing])")).to_have_count(1)


def refresh(page: Page) -> None:
    """Press the button, and wait for the refresh."""
    page.get_by_role("button", name="Refresh", exact=True).click()
    at_rest(page)


def number(page: Page, path: str) -> Locator:
    """The first element with the value at this path of the API."""
    return page.locator(f'data[data-path="{path}"]').first


def note(page: Page, panel: str) -> Locator:
    """The note of a degraded panel."""
    return page.locator(f"{panel} [data-note]")


def hide(page: Page, hidden: bool) -> None:
    """Hide or show the tab by an event, as headless Chromium shows every tab."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
