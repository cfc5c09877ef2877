"""Charts as Grafana's panels, with a stand-in for Grafana: the frames that are loaded, not their content."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.admin.page.conftest import Open
from tests.admin.page.looking import at_rest, hide, refresh, settled
from tests.admin.page.stage import Stage
from tests.waiting import until

pytestmark = pytest.mark.chromium

TALL = {"width": 1440, "height": 2400}
"""Everything is in sight, so that lazy frames load."""


@pytest.fixture(autouse=True)
def grafana(stage: Stage) -> None:
    stage.documents["status"]["grafana"] = {"configured": True, "up": True}


def without_auto_refresh(page: Page) -> None:
    """Set the switch before the page is opened."""
    page.add_init_script("localStorage.setItem('hivesync-analytics.auto-refresh', 'false')")


def framed(stage: Stage) -> list[dict[str, str]]:
    return [{name: value for name, (value,) in parse_qs(query).items()} for query in stage.framed]


def loaded(page: Page, stage: Stage, count: int) -> list[dict[str, str]]:
    """The requested panels, once there are so many."""
    until(lambda: len(stage.framed) >= count, f"{count} panels are asked for")
    at_rest(page)
    assert len(stage.framed) == count
    return framed(stage)


def test_the_four_charts_are_grafanas_panels_when_it_is_up(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL))
    panels = loaded(page, stage, 4)
    assert sorted((panel["panelId"], panel["from"]) for panel in panels) == [
        ("1", "now-24h"),
        ("2", "now-14d"),
        ("3", "now-24h"),
        ("4", "now-24h"),
    ]
    assert {(panel["theme"], panel["refresh"]) for panel in panels} == {("light", "30s")}
    expect(page.locator("#chart-dau iframe")).to_have_attribute("title", "Active users by UTC day")
    expect(page.locator("#chart-dau iframe")).to_have_attribute("loading", "lazy")
    expect(page.locator("#chart-dau iframe")).to_have_attribute("height", "296")
    expect(page.frame_locator("#chart-dau iframe").locator("p")).to_have_text("Panel 2")
    expect(page.locator("canvas")).to_have_count(0)
    expect(page.locator("#chart-dau [data-caption]")).to_have_text("")


def test_refreshes_by_the_clock_leave_the_frames_alone(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL))
    loaded(page, stage, 4)
    page.evaluate("window.frames_before = [...document.querySelectorAll('iframe')]")
    stage.asked.clear()
    page.evaluate("window.now = Date.now; Date.now = () => now() + 600_000")  # overdue
    hide(page, True)
    hide(page, False)
    until(lambda: "summary" in stage.asked, "the page refreshes itself")
    at_rest(page)
    assert page.evaluate("frames_before.length === 4 && frames_before.every(frame => frame.isConnected)")
    loaded(page, stage, 4)


@pytest.mark.parametrize("auto", [True, False], ids=["with auto-refresh", "without"])
def test_the_button_refreshes_the_frames_too(open_page: Open, stage: Stage, auto: bool) -> None:
    page = settled(open_page(viewport=TALL, before=None if auto else without_auto_refresh))
    loaded(page, stage, 4)
    page.evaluate("window.frames_before = [...document.querySelectorAll('iframe')]")
    refresh(page)
    panels = loaded(page, stage, 8)
    assert sorted(panel["panelId"] for panel in panels[4:]) == ["1", "2", "3", "4"]
    assert page.evaluate("frames_before.every(frame => frame.isConnected)")


def test_theme_and_switch_are_passed_on(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL, color_scheme="dark"))
    assert {panel["theme"] for panel in loaded(page, stage, 4)} == {"dark"}
    page.locator("#theme label", has_text="Light").click()
    assert {panel["theme"] for panel in loaded(page, stage, 8)[4:]} == {"light"}
    page.get_by_role("switch").click()
    assert {panel.get("refresh") for panel in loaded(page, stage, 12)[8:]} == {None}


def test_another_range_is_the_same_panel_over_that_range(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL))
    loaded(page, stage, 4)
    page.locator("#chart-ai-latency label", has_text="7d").click()
    page.locator("#chart-dau label", has_text="90d").click()
    assert [(panel["panelId"], panel["from"]) for panel in loaded(page, stage, 6)[4:]] == [
        ("4", "now-7d"),
        ("2", "now-90d"),
    ]
    expect(page.locator("canvas")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_panel_stands_on_the_background_of_its_card(open_page: Open, stage: Stage, scheme: str) -> None:
    """With a page of Grafana that has a background and a colour scheme of its own."""
    page = settled(open_page(viewport=TALL, color_scheme=scheme))
    loaded(page, stage, 4)
    shown = page.locator("#chart-plans iframe").evaluate(
        """frame => [frame.contentDocument.documentElement, frame.contentDocument.body].map(
          element => [getComputedStyle(element).backgroundColor, getComputedStyle(element).colorScheme])"""
    )
    own = page.locator("html").evaluate("element => getComputedStyle(element).colorScheme")
    assert shown == [["rgba(0, 0, 0, 0)", own]] * 2


@pytest.mark.parametrize("auto", [True, False], ids=["with auto-refresh", "without"])
def test_charts_are_drawn_here_while_grafana_is_down_and_framed_again_later(
    open_page: Open, stage: Stage, auto: bool
) -> None:
    page = settled(open_page(viewport=TALL, before=None if auto else without_auto_refresh))
    loaded(page, stage, 4)
    stage.documents["status"]["grafana"]["up"] = False
    refresh(page)
    expect(page.locator("iframe")).to_have_count(0)
    expect(page.locator("canvas")).to_have_count(4)
    expect(page.locator("#chart-plans [data-caption]")).to_have_text(
        "Grafana unavailable: drawn from HiveSync's own data"
    )
    expect(page.locator("#sources [data-source=grafana]")).to_contain_text("unavailable")
    stage.documents["status"]["grafana"]["up"] = True
    refresh(page)
    expect(page.locator("iframe")).to_have_count(4)
    loaded(page, stage, 8)


def test_the_frames_stay_until_there_is_a_drawing(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL))
    loaded(page, stage, 4)
    held: list[Route] = []
    page.route("**/charts/**", lambda route: held.append(route))
    stage.documents["status"]["grafana"]["up"] = False
    refresh(page)
    until(lambda: page.evaluate("1") and len(held) == 4, "the four documents are requested")
    expect(page.locator("iframe")).to_have_count(4)
    expect(page.locator(".chart-message")).to_have_count(0)
    for route in held:
        route.continue_()
    expect(page.locator("canvas")).to_have_count(4)
    expect(page.locator("iframe")).to_have_count(0)


def test_at_the_end_of_the_session_frames_give_way_and_requests_stop(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL, fails=True))
    loaded(page, stage, 4)
    page.locator("#chart-plans summary").click()
    expect(page.locator("#chart-plans [data-table] tbody tr")).to_have_count(4)
    stage.failing["*"] = 401
    refresh(page)
    expect(page.locator("#notice")).to_contain_text("Your session has ended")
    expect(page.locator("iframe")).to_have_count(0)
    expect(page.locator("#chart-plans canvas")).to_have_count(1)
    expect(page.locator("#chart-plans [data-caption]")).to_have_text("The session has ended: this is the last drawing")
    expect(page.locator("#chart-dau .chart-message")).to_have_text("The session has ended: no chart")
    stage.asked.clear()
    page.locator("#chart-dau summary").click()
    page.locator("#theme label", has_text="Dark").click()
    page.get_by_role("switch").click()
    page.get_by_role("button", name="Refresh", exact=True).click()
    expect(page.locator("#chart-dau input").first).to_be_disabled()
    expect(page.locator("iframe")).to_have_count(0)
    assert (stage.asked, len(stage.framed)) == ([], 4)


def test_a_session_that_ends_between_refreshes_is_noticed_by_a_chart(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL, fails=True, before=without_auto_refresh))
    loaded(page, stage, 4)
    stage.failing["*"] = 401
    page.locator("#chart-dau summary").click()  # its data table
    expect(page.locator("#notice")).to_contain_text("Your session has ended")
    expect(page.locator("iframe")).to_have_count(0)


def test_the_page_links_dashboards_and_panels_while_grafana_is_up(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL, color_scheme="dark"))
    places = {
        "HiveSync Analytics": ("hivesync-analytics", {"kiosk", "theme"}),
        "HiveSync Operations": ("hivesync-operations", {"kiosk", "theme"}),
        "AI requests per hour in Grafana": (
            "hivesync-analytics",
            {"kiosk", "theme", "orgId", "viewPanel", "from", "to"},
        ),
        "Users by plan in Grafana": ("hivesync-analytics", {"kiosk", "theme", "orgId", "viewPanel"}),
    }
    for name, (uid, parameters) in places.items():
        with page.expect_popup() as opened:
            page.get_by_role("link", name=name, exact=True).click()
        said = urlsplit(str(opened.value.locator("p").text_content()))
        opened.value.close()
        assert said.path == f"/admin/analytics/grafana/d/{uid}/"
        query = parse_qs(said.query, keep_blank_values=True)
        assert (set(query), query["theme"]) == (parameters, ["dark"])
    page.locator("#chart-ai-requests label", has_text="7d").click()
    link = page.get_by_role("link", name="AI requests per hour in Grafana")
    expect(link).to_have_attribute("href", re.compile("viewPanel=11&from=now-7d&to=now&kiosk"))
    page.locator("#chart-dau label", has_text="90d").click()
    link = page.get_by_role("link", name="Active users by UTC day in Grafana")
    expect(link).to_have_attribute("href", re.compile("viewPanel=12&from=now-90d&to=now&kiosk"))
    stage.documents["status"]["grafana"]["up"] = False
    refresh(page)
    expect(page.locator("[data-grafana-link]:visible")).to_have_count(0)


def test_the_data_of_a_framed_chart_can_be_read_as_a_table_too(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL))
    page.locator("#chart-plans summary").click()
    expect(page.locator("#chart-plans [data-table] tbody tr")).to_have_count(4)
