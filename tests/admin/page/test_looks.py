"""Themes, widths, keyboard and screen readers."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from admin.page import HERE
from tests.admin.page.conftest import Open
from tests.admin.page.looking import note, settled
from tests.admin.page.samples import degraded
from tests.admin.page.stage import Stage
from tests.admin.page.test_attention import BACKLOG, COST, QUEUE, SOURCE, attend

pytestmark = pytest.mark.chromium

AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def barriers(page: Page) -> list[Any]:
    """The serious and critical violations that axe-core finds."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("rules => axe.run(document, { runOnly: rules, resultTypes: ['violations'] })", RULES)
    assert len(found["passes"]) > 15
    return [
        (violation["id"], [node["html"] for node in violation["nodes"]])
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("state", ["well", "degraded"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_barrier(open_page: Open, stage: Stage, scheme: str, state: str) -> None:
    if state == "degraded":
        stage.documents = degraded(degraded(stage.documents, "redis"), "postgres")
        attend(stage, SOURCE, COST, QUEUE, BACKLOG)
    page = settled(open_page(color_scheme=scheme))
    if state == "degraded":
        page.locator(".finding summary").first.click()
        expect(page.locator(".finding .runbook").first).to_contain_text("Mitigation")
    page.locator("#chart-dau summary").click()
    page.locator("#header-online-users .meaning-button").focus()
    assert barriers(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_barrier_in_a_runbook(open_page: Open, scheme: str) -> None:
    assert barriers(open_page("runbooks/HiveSyncCollectorFailing", color_scheme=scheme)) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_barrier_at_the_login(open_page: Open, scheme: str) -> None:
    page = open_page("login", color_scheme=scheme)
    page.locator("summary").click()
    assert barriers(page) == []


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


LIGHT, DARK = "rgb(245, 245, 245)", "rgb(46, 46, 46)"


@pytest.mark.parametrize(("scheme", "color"), [("light", LIGHT), ("dark", DARK)])
def test_the_theme_is_the_systems(open_page: Open, scheme: str, color: str) -> None:
    assert background(open_page(color_scheme=scheme)) == color


def test_a_chosen_theme_is_remembered_and_set_before_the_first_paint(open_page: Open) -> None:
    page = settled(open_page(color_scheme="light", fails=True))
    page.locator("#theme label", has_text="Dark").click()
    assert background(page) == DARK
    page.route("**/modules/main.js", lambda route: route.abort())  # later parts are not under test
    page.reload()
    assert background(page) == DARK
    page.unroute("**/modules/main.js")
    page.reload()
    settled(page)
    expect(page.locator("#theme input:checked")).to_have_value("dark")
    page.locator("#theme label", has_text="System").click()
    assert background(page) == LIGHT


def test_charts_take_the_colours_of_the_theme(open_page: Open) -> None:
    page = settled(open_page(color_scheme="light"))
    expect(page.locator("canvas")).to_have_count(4)
    pictures = "[...document.querySelectorAll('canvas')].map(canvas => canvas.toDataURL())"
    before = page.evaluate(pictures)
    page.locator("#theme label", has_text="Dark").click()
    after = page.evaluate(pictures)
    assert len(after) == 4
    assert not set(before) & set(after)


@pytest.mark.parametrize("state", ["well", "degraded"])
def test_nothing_is_wider_than_the_window(open_page: Open, stage: Stage, state: str) -> None:
    if state == "degraded":
        stage.documents = degraded(stage.documents, "redis")
    page = settled(open_page())
    for width in (1920, 1280, 1024, 768, 360):
        page.set_viewport_size({"width": width, "height": 800})
        sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wide, window = page.evaluate(sizes)
        assert wide <= window
        for meaning in page.locator(".summary-grid .meaning-button").all():
            meaning.focus()
            box = meaning.locator("xpath=following-sibling::*").bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= window
            assert box["width"] >= 200
            wide, window = page.evaluate(sizes)
            assert wide <= window


def test_the_heads_of_the_columns_fit_where_the_page_is_wide(open_page: Open) -> None:
    page = settled(open_page())
    for panel in page.locator(".table-panel .table-scroll").all():
        wide, window = panel.evaluate("element => [element.scrollWidth, element.clientWidth]")
        assert wide <= window, panel.inner_text()


def focused(page: Page) -> str:
    return str(
        page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()")
    )


def test_the_keyboard_reaches_all_controls_in_visual_order(open_page: Open) -> None:
    page = settled(open_page())
    reached: list[str] = []
    for _ in range(29):
        page.keyboard.press("Tab")
        name = focused(page)
        reached.append(name or str(page.evaluate("document.activeElement.value")))
    assert reached == [
        "Skip to the numbers",
        "Refresh",
        "Auto-refresh",
        "system",
        "Sessions",
        "Log out",
        "Definition of “Online users”",
        "Definition of “AI requests (last hour)”",
        "Definition of “AI queue”",
        "Definition of “Preview queue”",
        "Definition of “Paid vs free”",
        "Definition of “AI requests per hour”",
        "24h",
        "AI requests per hour as PNG",
        "AI requests per hour as CSV",
        "Data table of AI requests per hour",
        "Definition of “Active users by UTC day”",
        "14d",
        "Active users by UTC day as PNG",
        "Active users by UTC day as CSV",
        "Data table of Active users by UTC day",
        "Definition of “Users by plan”",
        "Users by plan as PNG",
        "Users by plan as CSV",
        "Data table of Users by plan",
        "Definition of “Average AI latency”",
        "24h",
        "Average AI latency as PNG",
        "Average AI latency as CSV",
    ]


def test_the_skip_link_leads_to_the_numbers(open_page: Open) -> None:
    page = settled(open_page())
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "Definition of “Online users”"


def test_a_definition_is_shown_on_focus_and_closed_by_escape(open_page: Open) -> None:
    page = settled(open_page())
    text = page.locator("#header-ai-queue-meaning")
    expect(text).to_be_hidden()
    page.locator("#header-ai-queue .meaning-button").focus()
    expect(text).to_be_visible()
    for words in ("AI jobs in all AI queues", "Window: now.", "Source: PostgreSQL and Redis.", "As of: "):
        expect(text).to_contain_text(words)
    page.keyboard.press("Escape")
    expect(text).to_be_hidden()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    expect(text).to_be_visible()


def test_a_definition_is_shown_on_hover_and_stays_under_the_pointer(open_page: Open) -> None:
    page = settled(open_page())
    text = page.locator("#header-ai-queue-meaning")
    page.locator("#header-ai-queue .meaning-button").hover()
    expect(text).to_be_visible()
    text.hover()
    expect(text).to_be_visible()
    page.keyboard.press("Escape")
    expect(text).to_be_hidden()


def test_a_tap_shows_a_definition(open_page: Open) -> None:
    page = settled(open_page(viewport={"width": 390, "height": 800}, has_touch=True))
    page.locator("#header-ai-queue .meaning-button").tap()
    expect(page.locator("#header-ai-queue-meaning")).to_be_visible()


def test_a_table_is_sorted_by_enter_and_stays_so_over_a_refresh(open_page: Open, stage: Stage) -> None:
    page = settled(open_page())
    table = page.locator("#table-top-users")
    head = table.locator("th", has_text="Requests (7 d)")
    firsts = table.locator("tbody tr").first.locator("td").last
    head.locator("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(firsts).to_have_text("2,000")
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(firsts).to_have_text("423")
    stage.documents["tables/top-users"]["rows"][3]["ai_requests_7d"] = 7
    page.get_by_role("button", name="Refresh", exact=True).click()
    expect(firsts).to_have_text("7")
    table.locator("th", has_text="User").locator("button").press("Enter")
    expect(table.locator("th[aria-sort]")).to_have_count(1)
    expect(table.locator("tbody td").first).to_have_text("ada@example.com")


def test_nulls_are_last_in_both_directions(open_page: Open) -> None:
    page = settled(open_page())
    page.get_by_label("Group repeats").uncheck()
    providers = page.locator("#table-incidents tbody tr td:nth-child(4)")
    button = page.locator("#table-incidents th", has_text="Provider").locator("button")
    for _ in range(2):
        button.click()
        texts = providers.all_text_contents()
        assert texts == ["openai"] * 16 + ["–"] * 8


def test_degraded_is_shown_in_words_and_not_by_colour_alone(open_page: Open, stage: Stage) -> None:
    stage.documents = degraded(stage.documents, "redis")
    page = settled(open_page())
    expect(note(page, "#header-ai-queue")).to_contain_text("degraded")
    expect(page.locator("#sources [data-source=redis]")).to_contain_text("down")


def test_with_reduced_motion_nothing_moves(open_page: Open) -> None:
    page = settled(open_page(reduced_motion="reduce"))
    assert page.evaluate("getComputedStyle(document.querySelector('.switch-track'), '::after').transitionDuration") in (
        "0s",
        "",
    )
