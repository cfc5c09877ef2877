"""Login and logout in a browser, with a stand-in for authentication that accepts one key and one code."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.admin.page.conftest import Open
from tests.admin.page.looking import settled
from tests.admin.page.stage import CODE, KEY, Stage

pytestmark = pytest.mark.chromium


@pytest.mark.parametrize("script", [True, False])
def test_a_key_logs_in(open_page: Open, stage: Stage, script: bool) -> None:
    page = open_page("login", java_script_enabled=script)
    page.get_by_label("Admin API key").fill(KEY)
    page.keyboard.press("Enter")
    page.wait_for_url(stage.url)
    assert stage.is_logged_in


@pytest.mark.parametrize("script", [True, False])
def test_a_wrong_key_is_refused_with_a_text(open_page: Open, stage: Stage, script: bool) -> None:
    page = open_page("login", java_script_enabled=script, fails=True)
    page.get_by_label("Admin API key").fill("wrong")
    page.get_by_role("button", name="Log in").first.click()
    expect(page.locator("#error")).to_have_text("The credential was not accepted. Check it and try again.")
    expect(page.locator("#error")).to_have_attribute("role", "alert")
    assert page.url == f"{stage.url}login"


def test_a_token_can_be_given_instead(open_page: Open) -> None:
    page = open_page("login", fails=True)
    expect(page.get_by_label("Admin token (JWT)")).to_be_hidden()
    page.get_by_text("Use an admin token instead").click()
    page.get_by_label("Admin token (JWT)").fill("not one")
    page.keyboard.press("Enter")
    expect(page.locator("#error")).to_contain_text("not accepted")


def test_a_one_time_link_logs_in_and_its_code_stays_in_no_history(open_page: Open, stage: Stage) -> None:
    page = open_page(f"login#code={CODE}")
    page.wait_for_url(stage.url)
    settled(page)
    page.go_back()
    assert CODE not in page.url


def test_a_used_link_is_refused_with_a_text(open_page: Open, stage: Stage) -> None:
    page = open_page("login#code=used", fails=True)
    expect(page.locator("#error")).to_contain_text("This link has been used or has expired.")
    assert page.url == f"{stage.url}login"
    expect(page.get_by_label("Admin API key")).to_be_visible()


def test_the_rate_limit_is_shown_with_the_time_to_wait(open_page: Open) -> None:
    page = open_page("login", fails=True)
    page.route("**/login", lambda route: route.fulfill(status=429, headers={"Retry-After": "130"}))
    page.get_by_label("Admin API key").fill("x")
    page.keyboard.press("Enter")
    expect(page.locator("#error")).to_have_text("Too many attempts from your address. Try again in 3 min.")


def test_the_button_logs_out(open_page: Open, stage: Stage) -> None:
    page = settled(open_page())
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{stage.url}login")
    assert not stage.is_logged_in
