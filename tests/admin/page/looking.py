"""What the tests look at on the page."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

UPDATED = re.compile(r"^Updated \d\d:\d\d:\d\d$")


def settled(page: Page) -> Page:
    """The page, once it has shown what it asked for first."""
    expect(page.locator("#updated")).to_have_text(UPDATED)
    at_rest(page)
    return page


def at_rest(page: Page) -> None:
    """Wait until the page has shown what it has asked for, if it has."""
    expect(page.locator("html:not([data-refreshing])")).to_have_count(1)


def refresh(page: Page) -> None:
    """Press the button, and wait for what it shows."""
    page.get_by_role("button", name="Refresh", exact=True).click()
    at_rest(page)


def number(page: Page, path: str) -> Locator:
    """Where the value at this path of the API is written; the first place of several."""
    return page.locator(f'data[data-path="{path}"]').first


def note(page: Page, panel: str) -> Locator:
    """What a panel says when it is degraded."""
    return page.locator(f"{panel} [data-note]")


def hide(page: Page, hidden: bool) -> None:
    """As if the tab were put behind another, or brought back: headless Chromium shows every tab always."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
