"""Failures of one source or of all, and recovery: only the cards they feed are degraded, with their last values."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.admin.page.conftest import Open
from tests.admin.page.looking import UPDATED, note, number, refresh, settled
from tests.admin.page.samples import degraded
from tests.admin.page.stage import Stage

pytestmark = pytest.mark.chromium

HEADER = ("online-users", "ai-requests-last-hour", "ai-queue", "preview-queue", "paid-free")


@pytest.mark.parametrize(
    ("source", "title", "affected"),
    [
        ("redis", "Redis", {"online-users", "ai-queue", "preview-queue"}),
        ("postgres", "PostgreSQL", {"online-users", "ai-requests-last-hour", "ai-queue", "preview-queue", "paid-free"}),
    ],
)
def test_values_of_a_dead_source_are_degraded_until_it_is_back(
    open_page: Open, stage: Stage, source: str, title: str, affected: set[str]
) -> None:
    page = settled(open_page())
    well = stage.documents
    stage.documents = degraded(well, source)
    refresh(page)
    for card in HEADER:
        if card in affected:
            expect(note(page, f"#header-{card}")).to_contain_text("degraded as of ")
            expect(note(page, f"#header-{card}")).to_contain_text(f"{title}: refused")
        else:
            expect(note(page, f"#header-{card}")).to_be_hidden()
    expect(number(page, "summary/online_users")).to_have_text("42")
    expect(number(page, "summary/online_users")).to_have_attribute("data-old", "")
    expect(page.locator(f"#sources [data-source={source}]")).to_contain_text("down (refused, last read ")
    expect(page.locator("#sources [data-source=ai_events_log]")).to_contain_text("up")
    expect(page.locator("#header-online-users [data-reason]")).to_have_text(f"Degraded: {title}: refused.")
    stage.documents = well
    refresh(page)
    expect(page.locator("[data-note]:visible")).to_have_count(0)
    expect(page.locator("[data-degraded], [data-old]")).to_have_count(0)
    expect(page.locator(f"#sources [data-source={source}]")).to_contain_text("up")


def test_with_all_down_each_card_names_those_it_needs(open_page: Open, stage: Stage) -> None:
    for source in ("postgres", "redis", "ai_events_log", "preview_log"):
        stage.documents = degraded(stage.documents, source)
    page = settled(open_page())
    for panel, words in (
        ("#header-online-users", "PostgreSQL: refused; Redis: refused"),
        ("#header-ai-queue", "PostgreSQL: refused; Redis: refused"),
        ("#header-paid-free", "PostgreSQL: refused"),
        ("#card-ai-log", "AI events log: refused"),
    ):
        expect(note(page, panel)).to_have_text(re.compile(rf"^degraded as of [\d:]+, {words}$"))
    cards = page.locator("[data-card], .table-panel, [data-chart]")
    expect(page.locator("[data-note]:visible")).to_have_count(cards.count())


def test_a_collector_that_fails_alone_is_named_by_its_source_and_error(open_page: Open, stage: Stage) -> None:
    stage.documents["summary"]["paid_share"]["status"] = "degraded"
    stage.documents["status"]["collectors"][0] |= {"up": False, "error": "undefined_table"}
    page = settled(open_page())
    expect(note(page, "#header-paid-free")).to_contain_text("PostgreSQL: undefined table")


def test_a_value_that_was_never_read_is_no_number(open_page: Open, stage: Stage) -> None:
    for name in ("ai_queue_depth", "ai_jobs_waiting"):
        unread = {"value": None, "status": "degraded", "sources": ["redis"], "as_of": None}
        stage.documents["summary"][name] |= unread
    stage.documents["status"]["sources"][1] |= {"up": None, "last_success": None}
    page = settled(open_page())
    expect(number(page, "summary/ai_queue_depth")).to_have_text("–")
    expect(note(page, "#header-ai-queue")).to_have_text("degraded Redis: not read yet")


def test_a_restarted_server_leaves_the_last_values_on_the_page(open_page: Open, stage: Stage) -> None:
    page = settled(open_page())
    stage.documents["summary"]["ai_queue_depth"] |= {"value": None, "status": "degraded", "as_of": None}
    stage.documents["tables/top-users"] |= {"rows": [], "status": "degraded", "as_of": None}
    stage.documents["charts/dau?range=14d"] |= {"times": [], "status": "degraded", "as_of": None}
    stage.documents["charts/dau?range=14d"]["series"][0]["values"] = []
    refresh(page)
    expect(note(page, "#header-ai-queue")).to_contain_text("degraded as of ")
    expect(number(page, "summary/ai_queue_depth")).to_have_text("7")
    expect(note(page, "#table-top-users")).to_contain_text("degraded as of ")
    expect(page.locator("#table-top-users tbody tr")).to_have_count(20)
    expect(note(page, "#chart-dau")).to_contain_text("degraded as of ")
    expect(page.locator("#chart-dau canvas")).to_have_count(1)


def test_degraded_charts_and_tables_keep_their_last_content(open_page: Open, stage: Stage) -> None:
    stage.documents = degraded(stage.documents, "postgres")
    page = settled(open_page())
    for panel in ("#chart-dau", "#chart-plans", "#table-top-users", "#table-incidents"):
        expect(note(page, panel)).to_contain_text("PostgreSQL: refused")
    expect(page.locator("#table-top-users tbody tr")).to_have_count(20)
    expect(page.locator("#chart-dau canvas")).to_have_count(1)


def test_one_failed_document_leaves_the_others_alone(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(fails=True))
    stage.failing["queues"] = 500
    refresh(page)
    expect(note(page, "#card-ai-latency")).to_contain_text("no answer from HiveSync Analytics")
    expect(number(page, "queues/latency_seconds/ai/15m")).to_have_text("1.2\u00a0s")
    expect(note(page, "#table-queue-depths")).to_contain_text("no answer")
    expect(page.locator("#header-ai-queue[data-degraded]")).to_have_count(0)
    expect(page.locator("#notice")).to_be_hidden()
    stage.failing.clear()
    refresh(page)
    expect(page.locator("[data-note]:visible")).to_have_count(0)


def test_without_responses_the_last_values_stay_with_a_notice(open_page: Open, stage: Stage) -> None:
    page = settled(open_page(fails=True))
    stage.failing["*"] = 503
    refresh(page)
    expect(page.locator("#notice")).to_contain_text("HiveSync Analytics does not answer")
    expect(number(page, "summary/online_users")).to_have_text("42")
    expect(page.locator("#table-top-users tbody tr")).to_have_count(20)
    expect(page.locator("[data-slot] canvas")).to_have_count(4)
    stage.failing.clear()
    refresh(page)
    expect(page.locator("#notice")).to_be_hidden()


def test_a_page_opened_without_responses_is_not_blank(open_page: Open, stage: Stage) -> None:
    stage.failing["*"] = 500
    page = open_page(fails=True)
    expect(page.locator("#notice")).to_contain_text("HiveSync Analytics does not answer")
    expect(page.locator("#header-online-users h3")).to_have_text("Online users")
    expect(number(page, "summary/online_users")).to_have_text("–")
    stage.failing.clear()
    refresh(page)
    expect(page.locator("#updated")).to_have_text(UPDATED)
    expect(number(page, "summary/online_users")).to_have_text("42")


def test_a_user_without_access_gets_a_notice(open_page: Open, stage: Stage) -> None:
    stage.failing["*"] = 403
    expect(open_page(fails=True).locator("#notice")).to_have_text(
        "You have no access to these numbers. Log in again as an administrator."
    )
