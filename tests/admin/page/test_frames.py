"""Charts as Grafana's panels, with a stand-in for Grafana: the frames that are loaded, not their content."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Page, expect

from tests.admin.page.conftest import Open
from tests.admin.page.looking import at_rest, refresh, settled
from tests.admin.page.stage import Stage
from tests.waiting import until

pytestmark = pytest.mark.chromium

TALL = {"width": 1440, "height": 2400}
"""Everything is in sight, so that lazy frames load."""


@pytest.fixture(autouse=True)
def grafana(stage: Stage) -> None:
    stage.documents["status"]["grafana"] = {"configured": True, "up": True}


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


def test_a_refresh_of_the_page_leaves_the_frames_alone(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL))
    loaded(page, stage, 4)
    page.evaluate("window.frames_before = [...document.querySelectorAll('iframe')]")
    for _ in range(2):
        refresh(page)
    assert page.evaluate("frames_before.length === 4 && frames_before.every(frame => frame.isConnected)")
    loaded(page, stage, 4)


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


def test_charts_are_drawn_here_while_grafana_is_down_and_framed_again_later(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL))
    loaded(page, stage, 4)
    stage.documents["status"]["grafana"]["up"] = False
    refresh(page)
    expect(page.locator("iframe")).to_have_count(0)
    # The source of the charts is requested at the next refresh.
    expect(page.locator("#chart-plans [data-caption]")).to_have_text(
        "Grafana unavailable: drawn from HiveSync's own data"
    )
    expect(page.locator("canvas")).to_have_count(4)
    expect(page.locator("#sources [data-source=grafana]")).to_contain_text("unavailable")
    stage.documents["status"]["grafana"]["up"] = True
    refresh(page)
    expect(page.locator("iframe")).to_have_count(4)
    loaded(page, stage, 8)


def test_the_data_of_a_framed_chart_can_be_read_as_a_table_too(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(viewport=TALL))
    page.locator("#chart-plans summary").click()
    expect(page.locator("#chart-plans [data-table] tbody tr")).to_have_count(4)
