"""What needs attention at the top of the page: findings with their runbooks, one quiet line without any."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.admin.page.conftest import Open
from tests.admin.page.looking import refresh, settled
from tests.admin.page.samples import iso
from tests.admin.page.stage import BASE, Stage

pytestmark = pytest.mark.chromium


def finding(kind: str, name: str, title: str, detail: str, about: str = "", **changes: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "about": about,
        "severity": "warning",
        "title": title,
        "detail": detail,
        "since": None,
        "amount": None,
        "limit": None,
        "runbook": name,
        **changes,
    }


SOURCE = finding("source", "HiveSyncSourceDown", "Redis cannot be reached", "Refused.", "redis", severity="critical")
COST = finding("cost", "HiveSyncProjectedCostHigh", "Cost", "An estimate.", amount=1234.5, limit=1000.0)
QUEUE = finding("queue", "HiveSyncQueueDrainSlow", "Queue", "At this rate.", "ai", amount=4320.0, limit=1800.0)
BACKLOG = finding("alert", "HiveSyncQueueBacklog", "Backlog", "Many wait.", "preview", since=iso(time.time() - 60))
FOREIGN = finding("alert", "HiveSyncOfTheOperator", "Another", "There is one.", runbook=None)


def attend(stage: Stage, *findings: dict[str, Any], **changes: Any) -> None:
    stage.documents["attention"] |= {"findings": list(findings), **changes}


def items(page: Page) -> list[str]:
    return [re.sub(r"\s+", " ", text) for text in page.locator(".finding").all_inner_texts()]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "All is well."),
        ({"ready": False}, "Starting: not everything has been read yet."),
        (
            {"alerts": "unknown"},
            "All is well by HiveSync's own data; Prometheus does not answer, so alerts are not known.",
        ),
        (
            {"alerts": "not_configured"},
            "All is well by HiveSync's own data; alerts are not read, as no Prometheus is configured.",
        ),
        ({"drains": [{"queue": "ai", "seconds": 720.0}]}, "All is well. AI queue: empty in about 12\u00a0min."),
        (
            {"drains": [{"queue": "preview", "seconds": 9.0}]},
            "All is well. Preview queue: empty in less than a minute.",
        ),
    ],
    ids=["well", "starting", "no answer", "not configured", "drains", "drains soon"],
)
def test_without_findings_there_is_one_quiet_line(
    open_page: Open, stage: Stage, changes: dict[str, Any], line: str
) -> None:
    attend(stage, **changes)
    page = settled(open_page())
    expect(page.locator("#attention [data-quiet]")).to_have_text(line)
    expect(page.locator("#attention-title")).to_be_hidden()
    expect(page).to_have_title("Analytics - HiveSync Admin")


def test_findings_are_listed_with_their_values_and_counted_in_the_title(open_page: Open, stage: Stage) -> None:
    drains = [{"queue": "preview", "seconds": 300.0}]
    attend(stage, SOURCE, COST, QUEUE, BACKLOG, FOREIGN, left_out=2, drains=drains)
    page = settled(open_page())
    since = page.locator(".finding time").inner_text()
    assert items(page) == [
        "Critical Redis cannot be reached Refused. What to do (HiveSyncSourceDown)",
        "Warning Cost US$1,234.50; the limit is US$1,000.00. An estimate. What to do (HiveSyncProjectedCostHigh)",
        "Warning Queue Empty in about 72 min; the limit is 30 min. At this rate. What to do (HiveSyncQueueDrainSlow)",
        f"Warning Backlog, since {since} Many wait. Empty in about 5 min. What to do (HiveSyncQueueBacklog)",
        "Warning Another There is one.",
    ]
    expect(page).to_have_title("(7) Analytics - HiveSync Admin")
    expect(page.locator("#attention [data-quiet]")).to_contain_text("2 more.")
    attend(stage, left_out=0)
    refresh(page)
    expect(page.locator(".finding")).to_have_count(0)
    expect(page).to_have_title("Analytics - HiveSync Admin")


def test_a_runbook_is_shown_on_the_page_and_stays_open_over_a_refresh(open_page: Open, stage: Stage) -> None:
    attend(stage, QUEUE)
    page = settled(open_page())
    page.locator(".finding summary").click()
    runbook = page.locator(".finding .runbook")
    expect(runbook).to_contain_text("Mitigation")
    attend(stage, SOURCE, QUEUE | {"amount": 3660.0})
    refresh(page)
    expect(page.locator(".finding").nth(1)).to_contain_text("Empty in about 61")
    expect(runbook.nth(1)).to_be_visible()
    link = runbook.nth(1).locator("a").first
    expect(link).to_have_attribute("href", re.compile(f"{BASE}runbooks/HiveSync"))
    link.click()
    expect(page.locator("article.runbook")).to_contain_text("Meaning")
    expect(page.get_by_role("heading", level=1)).to_have_text("Runbook")
    expect(page.get_by_role("heading", level=2)).to_have_text(re.compile("^HiveSync"))


def test_texts_of_alerts_are_text(open_page: Open, stage: Stage) -> None:
    attend(stage, BACKLOG | {"title": "<img src=x>", "detail": "<script>1</script>"})
    page = settled(open_page())
    expect(page.locator(".finding")).to_contain_text("<img src=x>")
    expect(page.locator(".finding :is(img, script)")).to_have_count(0)


def test_an_answer_that_fails_leaves_the_findings_and_says_so(open_page: Open, stage: Stage) -> None:
    attend(stage, COST)
    page = settled(open_page(fails=True))
    stage.failing["attention"] = 500
    refresh(page)
    expect(page.locator(".finding")).to_have_count(1)
    expect(page.locator("#attention [data-quiet]")).to_contain_text("not known: no answer")


def test_changes_are_announced_and_refreshes_without_one_are_not(open_page: Open, stage: Stage) -> None:
    page = settled(open_page())
    live = page.locator("[aria-live], [role=status], [role=alert], output")
    expect(live).to_have_count(1)
    expect(live).to_have_text("")
    page.evaluate(
        """() => {
            window.said = [];
            new MutationObserver(() => said.push(document.getElementById("announced").textContent))
                .observe(document.getElementById("announced"), { childList: true });
        }"""
    )
    attend(stage, COST)
    by_the_clock(page)
    expect(live).to_have_text("Needs attention: Cost")
    stage.documents["summary"]["online_users"]["value"] = 77
    by_the_clock(page)
    expect(page.locator("[data-path='summary/online_users']").first).to_have_text("77")
    attend(stage)
    by_the_clock(page)
    expect(live).to_have_text("Nothing needs attention any more")
    refresh(page)
    expect(live).to_have_text(re.compile(r"^Updated \d\d:\d\d:\d\d$"))
    assert len(page.evaluate("said")) == 3


def by_the_clock(page: Page) -> None:
    """Let the page refresh itself: the tab is hidden and shown when its refresh is overdue."""
    page.evaluate(
        """() => {
            const { now } = Date;
            Date.now = () => now() + 600_000;
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
