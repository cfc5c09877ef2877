"""The table of incidents: equal ones as one row, the kinds and ranges, the links to runbooks."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from admin.documents.tables import INCIDENT_RUNBOOKS
from admin.runbooks import NAMES
from tests.admin.page.conftest import Open
from tests.admin.page.looking import settled
from tests.admin.page.samples import iso
from tests.admin.page.stage import BASE, Stage

pytestmark = pytest.mark.chromium

HOUR = 3600


def incident(hours: float, kind: str = "ai_error", error: str | None = "timeout", **changes: Any) -> dict[str, Any]:
    return {
        "time": iso(time.time() - hours * HOUR),
        "kind": kind,
        "job_id": f"job-{hours}",
        "provider": "openai" if kind == "ai_error" else None,
        "model": "gpt-4.1" if kind == "ai_error" else None,
        "error_kind": error,
        **changes,
    }


@pytest.fixture(autouse=True)
def incidents(stage: Stage) -> None:
    """Two groups of AI errors and two of previews, the newest first."""
    stage.documents["tables/incidents"]["rows"] = [
        incident(1),
        incident(2, "preview_failure", "build_error"),
        incident(3),
        incident(4, error="provider_error"),
        incident(5, model="gpt-4.1-mini"),
        incident(30, "preview_failure", "build_error"),
        incident(31),
        incident(32, "preview_failure", None),
    ]


def shown(page: Page) -> list[tuple[str, str, str]]:
    """Number, kind and error of each row."""
    rows = page.locator("#table-incidents tbody tr").all()
    cells = [row.locator("td").all_text_contents() for row in rows]
    return [(cell[1], cell[3], cell[4]) for cell in cells]


def test_equal_incidents_are_one_row_with_number_last_and_first(open_page: Open, stage: Stage) -> None:
    page = settled(open_page())
    assert shown(page) == [
        ("3", "AI error", "Timeout"),
        ("2", "Preview failure", "Build error"),
        ("1", "AI error", "Provider error"),
        ("1", "AI error", "Timeout"),
        ("1", "Preview failure", "–"),
    ]
    times = page.locator("#table-incidents tbody tr").first.locator("time")
    rows = stage.documents["tables/incidents"]["rows"]
    assert [time.get_attribute("datetime") for time in times.all()] == [rows[0]["time"], rows[6]["time"]]
    page.locator("#table-incidents th", has_text="Times").locator("button").click()
    assert [count for count, _, _ in shown(page)] == ["3", "2", "1", "1", "1"]


def test_single_incidents_have_their_job(open_page: Open) -> None:
    page = settled(open_page())
    heads = page.locator("#table-incidents thead th:visible")
    expect(heads).to_have_text(["Time", "Times", "First", "Kind", "Error", "Provider", "Model"])
    page.get_by_label("Group repeats").uncheck()
    expect(heads).to_have_text(["Time", "Kind", "Error", "Provider", "Model", "Job"])
    expect(page.locator("#table-incidents tbody tr")).to_have_count(8)
    expect(page.locator("#table-incidents tbody tr").nth(1).locator("td").last).to_have_text("job-2")


def test_kind_and_range_choose_rows_and_are_remembered(open_page: Open) -> None:
    page = settled(open_page())
    page.get_by_label("Kind of Recent incidents").select_option(label="Preview failure")
    assert shown(page) == [("2", "Preview failure", "Build error"), ("1", "Preview failure", "–")]
    page.locator("#table-incidents label", has_text="24h").click()
    assert shown(page) == [("1", "Preview failure", "Build error")]
    page.reload()
    settled(page)
    assert shown(page) == [("1", "Preview failure", "Build error")]


def test_a_choice_without_rows_says_so(open_page: Open, stage: Stage) -> None:
    stage.documents["tables/incidents"]["rows"] = [incident(30)]
    page = settled(open_page())
    page.locator("#table-incidents label", has_text="24h").click()
    expect(page.locator("#table-incidents tbody")).to_have_text("None of this kind and range")


def test_each_kind_links_its_runbook(open_page: Open) -> None:
    page = settled(open_page())
    links = page.locator("#table-incidents tbody a")
    expect(links.nth(0)).to_have_attribute("href", f"{BASE}runbooks/HiveSyncAIErrorRatioHigh")
    expect(links.nth(1)).to_have_attribute("href", f"{BASE}runbooks/HiveSyncPreviewFailureRatioHigh")
    assert set(INCIDENT_RUNBOOKS.values()) <= NAMES
