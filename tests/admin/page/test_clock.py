"""The refresh interval of the page, with the browser's clock under control of the test."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from tests.admin.page.conftest import Open
from tests.admin.page.looking import at_rest, hide, number, refresh, settled
from tests.admin.page.samples import degraded
from tests.admin.page.stage import Stage

pytestmark = pytest.mark.chromium

HALF_A_MINUTE = 30_000
"""Milliseconds."""
TOO_SHORT = 20_000
STEP = 10_000
"""The clock is put on by so much at a time: all times of the page are multiples of it, and the page waits longer than
that for an answer, which takes real time."""


def stop_time(page: Page) -> None:
    """Stop the page's clock, and take the jitter out."""
    page.add_init_script("Math.random = () => 0.5")
    start = time.time()
    page.clock.install(time=start)
    page.clock.pause_at(start + 1)


@pytest.fixture
def page(open_page: Open) -> Page:
    return settled(open_page(before=stop_time))


def refreshes(stage: Stage) -> int:
    return stage.asked.count("status")


def later(page: Page, milliseconds: int, stage: Stage, asked: int) -> None:
    """Advance the clock, and wait for the number of refreshes."""
    while milliseconds >= 0:
        page.clock.run_for(min(milliseconds, STEP))
        at_rest(page)
        milliseconds -= STEP
    assert refreshes(stage) == asked


def test_the_page_shows_new_values_every_thirty_seconds(page: Page, stage: Stage) -> None:
    assert refreshes(stage) == 1
    stage.documents["summary"]["online_users"]["value"] = 43
    later(page, TOO_SHORT, stage, 1)
    expect(number(page, "summary/online_users")).to_have_text("42")
    before = page.locator("#updated").text_content()
    later(page, HALF_A_MINUTE - TOO_SHORT, stage, 2)
    expect(number(page, "summary/online_users")).to_have_text("43")
    expect(page.locator("#updated")).not_to_have_text(before or "")
    later(page, HALF_A_MINUTE, stage, 3)


def test_unchanged_documents_are_not_sent_again(page: Page, stage: Stage) -> None:
    later(page, HALF_A_MINUTE, stage, 2)
    assert stage.not_modified == len(stage.asked) / 2


def test_switched_off_the_page_does_not_refresh_and_remembers_it(page: Page, stage: Stage) -> None:
    switch = page.get_by_role("switch", name="Auto-refresh")
    expect(switch).to_be_checked()
    switch.click()
    expect(switch).not_to_be_checked()
    later(page, 10 * HALF_A_MINUTE, stage, 1)
    page.reload()
    settled(page)
    expect(switch).not_to_be_checked()
    later(page, 10 * HALF_A_MINUTE, stage, 2)
    page.get_by_role("button", name="Refresh", exact=True).click()
    later(page, 0, stage, 3)


def test_switched_on_again_the_page_catches_up(page: Page, stage: Stage) -> None:
    switch = page.get_by_role("switch", name="Auto-refresh")
    switch.click()
    later(page, HALF_A_MINUTE, stage, 1)
    switch.click()
    later(page, 1, stage, 2)
    later(page, HALF_A_MINUTE, stage, 3)


def test_a_hidden_tab_does_not_ask_and_catches_up_when_it_is_seen(page: Page, stage: Stage) -> None:
    hide(page, True)
    later(page, 10 * HALF_A_MINUTE, stage, 1)
    hide(page, False)
    later(page, 1, stage, 2)
    hide(page, True)
    hide(page, False)
    later(page, TOO_SHORT, stage, 2)  # the refresh was not overdue


def test_while_degraded_the_interval_grows_to_five_minutes_and_resets(page: Page, stage: Stage) -> None:
    well = stage.documents
    stage.documents = degraded(well, "redis")
    later(page, HALF_A_MINUTE, stage, 2)
    for asked, seconds in ((3, 60), (4, 120), (5, 240), (6, 300), (7, 300)):
        later(page, seconds * 1000 - STEP, stage, asked - 1)
        later(page, STEP, stage, asked)
    stage.documents = well
    later(page, 300_000, stage, 8)
    later(page, HALF_A_MINUTE, stage, 9)


def test_without_responses_the_interval_grows_too(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(before=stop_time, fails=True))
    stage.failing["*"] = 503
    later(page, HALF_A_MINUTE, stage, 2)
    later(page, HALF_A_MINUTE, stage, 2)
    later(page, HALF_A_MINUTE, stage, 3)


@pytest.mark.parametrize(("chance", "seconds"), [(0, 29.1), (0.999, 30.9)])
def test_the_intervals_of_pages_vary(open_page: Open, stage: Stage, chance: float, seconds: float) -> None:
    page = settled(open_page(before=stop_time))
    page.evaluate("chance => { Math.random = () => chance }", chance)
    refresh(page)
    later(page, int(seconds * 1000) - 100, stage, 2)
    later(page, 200, stage, 3)


def test_after_the_end_of_the_session_the_page_does_not_refresh(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(before=stop_time, fails=True))
    stage.failing["*"] = 401
    later(page, HALF_A_MINUTE, stage, 2)
    expect(page.locator("#notice")).to_have_text("Your session has ended; these are the last values. Log in again.")
    expect(number(page, "summary/online_users")).to_have_text("42")
    later(page, 20 * HALF_A_MINUTE, stage, 2)
    page.get_by_role("link", name="Log in again").click()
    expect(page.get_by_label("Admin API key")).to_be_focused()
