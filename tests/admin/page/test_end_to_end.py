"""The page on the real exporter with PostgreSQL and Valkey, after a login with a one-time link."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
import redis
from playwright.sync_api import Browser, Page, StorageState, expect

from demo.database import fill_database
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.admin.page.conftest import Open
from tests.admin.page.looking import UPDATED, note, number, refresh, settled
from tests.running import RunningExporter, seed_valkey
from tests.waiting import until

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def valkey_of_ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey that the test may stop."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def past(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database with a month of data."""
    name = f"page_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE hivesync".encode())
        fill_database(postgres_server.url_of(name), users=150, days=35, seed=1)
        yield postgres_server.url_of(name)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def exporter(
    past: str, valkey_of_ours: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningExporter]:
    seed_valkey(valkey_of_ours.url)
    directory = tmp_path_factory.mktemp("exporter")
    exporter = RunningExporter(directory, database_url=past, redis_url=valkey_of_ours.url, rollup_database_url=past)
    subprocess.run([sys.executable, "-m", "rollup"], env=exporter.environment, check=True, capture_output=True)
    for log in (exporter.ai_log, exporter.preview_log):
        log.touch()
    with exporter:
        yield exporter


@pytest.fixture(scope="module")
def session(exporter: RunningExporter, browser: Browser) -> StorageState:
    """The browser's storage after a login with a one-time link."""
    page = browser.new_page()
    page.goto(link(exporter))
    page.wait_for_url("**/admin/analytics/")
    state = page.context.storage_state()
    page.close()
    return state


@pytest.fixture
def page(exporter: RunningExporter, session: StorageState, open_page: Open) -> Page:
    """The page after the login."""
    return settled(open_page(exporter.page, storage_state=session))


def link(exporter: RunningExporter) -> str:
    said = exporter.command_line("login-link")
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def test_every_card_chart_and_table_has_something_in_it(page: Page) -> None:
    texts = {str(element.get_attribute("data-path")): element.text_content() for element in page.locator("data").all()}
    assert len(texts) > 40
    assert sorted(path for path, text in texts.items() if text == "–") == []
    expect(page.locator("[data-slot] canvas")).to_have_count(4)
    for table in ("top-users", "incidents", "queue-depths", "workers", "tokens"):
        expect(page.locator(f"#table-{table} tbody td:not([colspan])").first).to_be_visible()
    expect(page.locator("[data-note]:visible")).to_have_count(0)


def test_cards_are_what_the_database_holds(page: Page, past: str) -> None:
    with psycopg.connect(past, autocommit=True) as connection:

        def counted(query: str) -> str:
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            return f"{row[0]:,}"

        expect(number(page, "monetization/users")).to_have_text(counted("SELECT count(*) FROM users"))
        expect(number(page, "monetization/projects")).to_have_text(counted("SELECT count(*) FROM projects"))
        top = """SELECT count(*) FROM ai_usage_events
                 WHERE created_at > now() - interval '7 days' AND user_id IS NOT NULL
                 GROUP BY user_id ORDER BY 1 DESC LIMIT 1"""
        most = page.locator("#table-top-users tbody tr").first.locator("td").last

        def agrees() -> bool:  # rows leave the seven days meanwhile
            refresh(page)
            return most.text_content() == counted(top)

        until(agrees, "the table says who asked most")
    expect(number(page, "summary/ai_queue_depth")).to_have_text("2")


def test_new_rows_are_on_the_page_after_a_refresh(
    page: Page, exporter: RunningExporter, valkey_of_ours: ValkeyServer
) -> None:
    with redis.Redis.from_url(valkey_of_ours.url) as valkey:
        valkey.rpush("preview_queue:default", "a", "b", "c")
        exporter.refreshed()
        refresh(page)
        expect(number(page, "summary/preview_queue_depth")).to_have_text("3")
        valkey.delete("preview_queue:default")


def test_a_dead_valkey_degrades_its_cards_and_they_come_back_with_it(
    page: Page, exporter: RunningExporter, valkey_of_ours: ValkeyServer
) -> None:
    depth = number(page, "summary/ai_queue_depth")
    expect(depth).to_have_text("2")
    valkey_of_ours.stop()
    until(lambda: exporter.samples().get('hivesync_source_up{source="redis"}') == 0, "the exporter misses Valkey")
    exporter.refreshed()
    refresh(page)
    for card in ("#header-ai-queue", "#header-preview-queue", "#header-online-users", "#card-workers"):
        expect(note(page, card)).to_have_text(re.compile(r"degraded as of [\d:]+, Redis: (refused|connection lost)"))
    expect(depth).to_have_text("2")
    expect(page.locator("#header-paid-free[data-degraded], #table-top-users[data-degraded]")).to_have_count(0)
    valkey_of_ours.start()
    seed_valkey(valkey_of_ours.url)
    exporter.refreshed()
    refresh(page)
    expect(page.locator("[data-note]:visible")).to_have_count(0)
    expect(depth).to_have_text("2")


def test_a_link_is_valid_once_and_the_api_needs_a_login(exporter: RunningExporter, open_page: Open) -> None:
    used = link(exporter)
    open_page(used).wait_for_url("**/admin/analytics/")
    page = open_page(used, fails=True)
    expect(page.locator("#error")).to_contain_text("has been used")
    assert page.goto(exporter.page).status == 401  # type: ignore[union-attr]
    expect(page.get_by_label("Admin API key")).to_be_visible()
    page.get_by_label("Admin API key").fill(exporter.variables["HIVESYNC_ADMIN_API_KEY"])
    page.keyboard.press("Enter")
    expect(page.locator("#updated")).to_have_text(UPDATED)
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    assert page.goto(exporter.page).status == 401  # type: ignore[union-attr]


def test_when_the_exporter_comes_back_the_page_goes_on(
    exporter: RunningExporter, session: StorageState, open_page: Open
) -> None:
    page = settled(open_page(exporter.page, storage_state=session, fails=True))
    exporter.stop()
    refresh(page)
    expect(page.locator("#notice")).to_contain_text("does not answer")
    exporter.start()
    refresh(page)
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("[data-slot] canvas")).to_have_count(4)
