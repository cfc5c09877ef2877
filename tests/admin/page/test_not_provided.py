"""Values that this HiveSync does not have: a quiet line in place of a number, and nothing that looks like a failure."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from admin.documents.tables import INCIDENTS
from tests.admin.page.conftest import Open
from tests.admin.page.looking import number, refresh, settled
from tests.admin.page.samples import degraded, documents, without
from tests.admin.page.stage import Stage
from tests.admin.page.test_looks import barriers

pytestmark = pytest.mark.chromium

LACKING = {
    "summary/online_users": "ws_sessions",
    "users/online_users": "ws_sessions",
    "users/online_devices": "sessions.device_type",
    "users/live_view_sessions": "ws_sessions",
    "users/daily_active_users_by_plan/trial": "subscriptions.trial_ends_at",
    "users/daily_active_users_by_plan/trial_expired": "subscriptions.trial_ends_at",
    "ai/errors": "ai_usage_events.error_kind",
    "ai/log_events": "ai_events_log",
    "queues/processing": "queue_stats",
    "workers/healthy": "workers",
    "workers/total": "workers",
    "monetization/cost_month_to_date_dollars/gpu": "workers",
    "monetization/tokens_month_to_date/4/tokens": "ai_usage_events.prompt_tokens",
}


@pytest.fixture
def lacking(stage: Stage) -> Stage:
    """A HiveSync that does not have many of its inputs."""
    stage.documents = without(stage.documents, LACKING)
    stage.documents["workers"]["workers"] = []
    incidents = stage.documents["tables/incidents"]
    incidents["columns"] = [
        {
            "name": column.name,
            "label": column.label,
            "type": column.type,
            "status": "not_provided" if column.name in ("provider", "model") else "ok",
            "input": f"ai_usage_events.{column.name}" if column.name in ("provider", "model") else None,
        }
        for column in INCIDENTS.columns
    ]
    incidents["rows"] = [{**row, "provider": None, "model": None} for row in incidents["rows"]]
    return stage


def quiet_line(page: Page, panel: str) -> Locator:
    return page.locator(f"{panel} [data-not-provided]")


def test_a_quiet_line_stands_in_place_of_the_numbers(open_page: Open, lacking: Stage) -> None:
    page = settled(open_page())
    for panel, names in {
        "#header-online-users": "Online users",
        "#card-online-now": "Online now",
        "#card-online-devices": "Online devices",
        "#card-dau": "Trial, Trial expired",
        "#card-ai-errors": "Provider error, Timeout, Safety rejection, Other",
        "#card-ai-log": "AI events in the log",
        "#card-processing": "AI jobs processed",
        "#card-workers": "Healthy workers",
        "#card-cost-to_date": "GPU instances",
        "#table-workers": "CPU and GPU workers",
        "#table-tokens": "Prompt",
        "#table-incidents": "Provider, Model",
    }.items():
        expect(quiet_line(page, panel)).to_have_text(
            re.compile(f"^{names}: not recorded by this HiveSync$", re.IGNORECASE)
        )
        expect(quiet_line(page, panel)).to_be_visible()
    for path in LACKING:
        if not path.startswith("monetization/tokens"):
            of_path = page.locator(f'data[data-path="{path}"], data[data-path^="{path}/"]')
            assert of_path.count() > 0, path
            expect(of_path.locator("visible=true")).to_have_count(0)
    expect(quiet_line(page, "#card-mau")).to_be_hidden()
    expect(number(page, "monetization/cost_month_to_date_dollars/total")).to_have_text("US$396.83")
    expect(number(page, "ai/errors_per_day")).to_be_visible()


def test_what_is_not_provided_is_no_failure(open_page: Open, lacking: Stage) -> None:
    page = settled(open_page())
    expect(page.locator("[data-degraded]")).to_have_count(0)
    expect(page.locator("[data-note]:visible")).to_have_count(0)
    expect(page.locator("[data-old]")).to_have_count(0)
    expect(page.locator("#notice")).to_be_hidden()
    log = page.locator('#sources [data-source="ai_events_log"]')
    expect(log.locator("[data-state]")).to_have_text("not recorded by this HiveSync")
    expect(log.locator(".dot")).to_have_attribute("data-up", "null")


def test_columns_and_rows_without_values_are_left_out(open_page: Open, lacking: Stage) -> None:
    page = settled(open_page())
    heads = page.locator("#table-incidents thead th:visible")
    expect(heads).to_have_text(["Time", "Times", "First", "Kind", "Error"])
    expect(page.locator("#table-incidents tbody tr").first.locator("td")).to_have_count(5)
    expect(page.locator("#table-tokens tbody tr")).to_have_count(4)
    expect(page.locator("#table-workers table")).to_be_hidden()
    expect(page.locator("#table-top-users thead th:visible")).to_have_count(4)


def test_a_failing_source_marks_the_other_numbers_of_the_card(open_page: Open, lacking: Stage) -> None:
    lacking.documents = degraded(lacking.documents, "postgres")
    page = settled(open_page())
    expect(page.locator("#card-dau [data-note]")).to_be_visible()
    expect(quiet_line(page, "#card-dau")).to_have_text("Trial, Trial expired: not recorded by this HiveSync")


def test_numbers_come_back_once_the_input_is_provided(open_page: Open, lacking: Stage) -> None:
    page = settled(open_page())
    expect(number(page, "users/online_devices/ipad")).to_be_hidden()
    lacking.documents = documents()
    refresh(page)
    expect(number(page, "users/online_devices/ipad")).to_have_text("6")
    expect(page.locator("[data-not-provided]:visible")).to_have_count(0)
    expect(page.locator("#table-workers tbody tr")).to_have_count(4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_quiet_lines_are_no_barrier(open_page: Open, lacking: Stage, scheme: str) -> None:
    page = settled(open_page(color_scheme=scheme))
    assert barriers(page) == []
