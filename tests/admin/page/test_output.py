"""The page on paper, charts as PNG files, forced colours, 200 % zoom, and numbers in the browser's language."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.admin.page.conftest import Open
from tests.admin.page.looking import number, refresh, settled
from tests.admin.page.stage import Stage

pytestmark = pytest.mark.chromium


def test_a_chart_that_is_drawn_here_is_saved_as_png(open_page: Open, stage: Stage, tmp_path: Path) -> None:
    page = settled(open_page())
    with page.expect_download() as download:
        page.get_by_role("button", name="Active users by UTC day as PNG").click()
    assert download.value.suggested_filename == "hivesync-dau-14d.png"
    download.value.save_as(tmp_path / "dau.png")
    content = (tmp_path / "dau.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    drawn = page.locator("#chart-dau canvas").evaluate("canvas => [canvas.width, canvas.height]")
    assert (width, height) == (drawn[0] + 32, drawn[1] + 76)
    stage.documents["status"]["grafana"] = {"configured": True, "up": True}
    refresh(page)
    expect(page.locator("[data-png]:visible")).to_have_count(0)


def test_on_paper_there_are_numbers_and_no_controls(open_page: Open) -> None:
    page = settled(open_page(color_scheme="dark", viewport={"width": 794, "height": 1123}))
    page.emulate_media(media="print")
    for control in ("#refresh-now", "#auto-refresh", "#theme", ".panel-controls", ".meaning-button", ".skip"):
        expect(page.locator(control).first).to_be_hidden()
    expect(number(page, "summary/online_users")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= window
    rows = page.locator("#table-top-users .table-scroll")
    assert rows.evaluate("element => element.scrollHeight <= element.clientHeight")


def test_in_forced_colours_states_keep_their_marks(open_page: Open) -> None:
    page = settled(open_page(forced_colors="active"))
    dot = "getComputedStyle(document.querySelector('#sources .dot[data-up=true]')).backgroundColor"
    assert page.evaluate(dot) == "rgb(46, 125, 50)"
    chosen = "getComputedStyle(document.querySelector('#theme input:checked + span')).outlineStyle"
    assert page.evaluate(chosen) == "solid"


def test_at_200_percent_zoom_nothing_is_cut_off(open_page: Open) -> None:
    page = settled(open_page(viewport={"width": 640, "height": 450}, device_scale_factor=2))
    wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= window


def test_numbers_are_in_the_browsers_language(open_page: Open) -> None:
    page = settled(open_page(locale="de-DE"))
    expect(number(page, "summary/ai_requests_last_hour")).to_have_text("1.234")
    expect(number(page, "summary/paid_share")).to_have_text("29\u00a0%")
    expect(number(page, "monetization/cost_month_to_date_dollars/total")).to_have_text("396,83\u00a0$")
