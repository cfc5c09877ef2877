"""Sessions in Chromium on the real exporter: nothing is shown after a logout, and an admin can end other sessions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.rows import insert, user
from tests.running import RunningExporter
from tests.waiting import patience

pytestmark = pytest.mark.chromium

NAME = "ada-the-user"


@pytest.fixture(scope="module")
def exporter(
    postgres_server: PostgresServer, valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningExporter]:
    """The exporter with one user in the table of top users, and a Grafana that is down."""
    database = f"sessions_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {database} TEMPLATE hivesync".encode())
        url = postgres_server.url_of(database)
        with psycopg.connect(url, autocommit=True) as connection:
            insert(connection, "ai_usage_events", user_id=user(connection, NAME), status="queued")
        with RunningExporter(
            tmp_path_factory.mktemp("sessions"),
            database_url=url,
            redis_url=valkey_server.url,
            grafana_url="http://127.0.0.1:9",
        ) as exporter:
            exporter.refreshed()
            yield exporter
        server.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def keeping(playwright: Playwright) -> Iterator[Browser]:
    """Chromium as people use it: it keeps pages in memory for Back."""
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"), ignore_default_args=["--disable-back-forward-cache"]
    )
    yield browser
    browser.close()


@pytest.fixture
def context(keeping: Browser) -> Iterator[BrowserContext]:
    with keeping.new_context() as context:
        yield context


def logged_in(exporter: RunningExporter, context: BrowserContext) -> Page:
    """The page after a login with the key."""
    page = context.new_page()
    page.set_default_timeout(patience() * 1_000)
    expect.set_options(timeout=patience() * 1_000)
    page.goto(f"{exporter.page}login")
    page.get_by_label("Admin API key").fill(exporter.variables["HIVESYNC_ADMIN_API_KEY"])
    page.keyboard.press("Enter")
    expect(page.locator("#table-top-users tbody")).to_contain_text(NAME)
    return page


def test_back_after_a_logout_shows_no_name(exporter: RunningExporter, context: BrowserContext) -> None:
    page = logged_in(exporter, context)
    page.goto(f"{exporter.page}tables/top-users")
    assert NAME in page.content()
    page.goto(f"{exporter.page}tables/incidents")
    page.goto(exporter.page)
    expect(page.locator("#table-top-users tbody")).to_contain_text(NAME)
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    for _ in range(4):  # the page, the documents, the page after the login
        page.go_back()
        expect(page.get_by_text("Log in", exact=True).first).to_be_visible()
        assert NAME not in page.content()


def test_a_page_kept_in_memory_is_requested_again(exporter: RunningExporter, context: BrowserContext) -> None:
    """Also if a browser keeps it in spite of `no-store`."""
    page = logged_in(exporter, context)
    context.clear_cookies()
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(page.get_by_label("Admin API key")).to_be_visible()
    assert NAME not in page.content()


def test_an_admin_sees_and_ends_another_session(
    exporter: RunningExporter, context: BrowserContext, keeping: Browser
) -> None:
    page = logged_in(exporter, context)
    with keeping.new_context() as elsewhere:
        other = logged_in(exporter, elsewhere)
        page.get_by_role("link", name="Sessions").click()
        rows = page.locator("#table-sessions tbody tr")
        expect(rows.filter(has_text="(this one)")).to_have_count(1)
        last = rows.filter(has_not_text="(this one)").last
        expect(last).to_contain_text("127.0.0.1")
        name = last.locator("code").text_content() or ""
        last.get_by_role("button", name=f"End session {name}").click()
        expect(rows.filter(has_text=name)).to_have_count(0)
        expect(rows.filter(has_text="(this one)")).to_have_count(1)
        other.get_by_role("button", name="Refresh", exact=True).click()
        expect(other.locator("#notice")).to_contain_text("Your session has ended")
        page.get_by_role("button", name="End all sessions").click()
        expect(page.get_by_label("Admin API key")).to_be_visible()


def test_a_refused_panel_is_a_small_page_in_its_frame(exporter: RunningExporter, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"{exporter.page}login")
    page.evaluate(
        """() => {
            const frame = document.createElement("iframe");
            frame.src = "grafana/d-solo/hivesync-analytics/panel?panelId=11";
            document.body.append(frame);
        }"""
    )
    frame = page.frame_locator("iframe")
    expect(frame.get_by_text("You are not logged in")).to_be_visible()
    frame.get_by_role("link", name="Log in").click()
    expect(page.locator("iframe")).to_have_count(0)
    assert page.url == f"{exporter.page}login"
    seen = logged_in(exporter, context)
    seen.goto(f"{exporter.page}grafana/d-solo/hivesync-analytics/panel?panelId=11")
    expect(seen.get_by_text("Grafana does not respond.")).to_be_visible()


def test_the_command_lists_and_ends_sessions(
    exporter: RunningExporter, context: BrowserContext, tmp_path: Path
) -> None:
    ended = exporter.command_line("sessions", "--end-all")
    assert (ended.returncode, ended.stdout.endswith("sessions have ended\n")) == (0, True), ended.stderr
    assert exporter.command_line("sessions").stdout == "no open sessions\n"
    page = logged_in(exporter, context)
    head, row = exporter.command_line("sessions").stdout.splitlines()
    assert head.split() == ["SESSION", "LOGIN", "ENDS", "WITH", "ADDRESS"]
    assert row.endswith("  api_key  127.0.0.1")
    name = row.partition(" ")[0]
    asked = exporter.command_line("sessions", "--end", name)
    assert (asked.returncode, asked.stdout) == (0, f"session {name} has ended\n")
    page.get_by_role("button", name="Refresh", exact=True).click()
    expect(page.locator("#notice")).to_contain_text("Your session has ended")
    asked = exporter.command_line("sessions", "--end", name)
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "no open session has the name" in asked.stderr
    events = [event for event in exporter.events() if event["event"] == "admin.login.accepted"]
    assert events[-1]["address"] == "127.0.0.1"
