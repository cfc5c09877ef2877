"""Adapters of one's own: the example of docs/adapting.md as it is printed, and the template."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from demo.database import tables
from exporter.collector import Collector
from exporter.collectors.activity import Activity
from exporter.collectors.ai import Ai
from exporter.collectors.latency import Latency
from exporter.collectors.previews import Previews
from exporter.collectors.users import Plans, Users
from exporter.definitions import Terms, read_definitions
from rollup.adapter import FOLDER
from tests.rollup.rolling import Command, stored
from tests.rows import by_name, collect, insert, sources, users

PAGE = (Path(__file__).parents[2] / "docs" / "adapting.md").read_text()

HOUR = timedelta(hours=1)


@pytest.fixture
def example(tmp_path: Path) -> str:
    """The folder of the page's example."""
    folder = tmp_path / "inkwell"
    folder.mkdir()
    files = re.findall(r"`inkwell/([\w.]+)`[^`]*\n\n```\w*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["adapter.toml", "views.sql", "indexes.sql", "settings.env"]
    for name, text in files:
        (folder / name).write_text(text)
    return f"{folder}/"


@pytest.fixture
def inkwell(empty: str) -> psycopg.Connection:
    """A connection to a database with the example's tables."""
    ((backend),) = re.findall(r"^```sql\n-- inkwell's tables\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    connection = psycopg.connect(empty, autocommit=True)
    connection.execute(backend.encode())
    return connection


def granted(roles: Mapping[str, str]) -> list[str]:
    return [f"{kind}={name}" for kind, name in roles.items()]


def test_the_example_of_the_page_gives_the_numbers_of_its_backend(
    example: str, inkwell: psycopg.Connection, rollup: Command, roles: Mapping[str, str], urls: Mapping[str, str]
) -> None:
    now = datetime.now(UTC)
    with inkwell as connection:
        ran = rollup("--migrate", "--adapter", example, "--grant", *granted(roles))
        assert (ran.status, ran.message) == (0, "")
        seed_inkwell(connection, now)
        plans = Plans(("gratis",))
        values: dict[str, float] = {}
        made: list[Collector] = [Users(plans), Activity(plans), Ai(), Previews(), Latency()]
        for collector in made:
            values |= collect(collector, urls["exporter"], now=now)
        rollup.settings = {"HIVESYNC_ROLLUP_DATABASE_URL": urls["rollup"]}
        assert rollup().status == 0
        with psycopg.connect(urls["grafana"]) as grafanas:
            assert sum(row.ai_requests for row in stored(grafanas)) == 4
        with psycopg.connect(urls["exporter"], autocommit=True) as theirs:
            for secret in ("pass_hash FROM public.members", "prompt FROM public.tasks"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    theirs.execute(f"SELECT {secret}".encode())
    del values["hivesync_active_users_month_to_date"]  # depends on the day of the month
    assert {name: value for name, value in values.items() if value and "skipped" not in name} == {
        "hivesync_users{paid}": 1,
        "hivesync_users{trial}": 1,
        "hivesync_users{trial_expired}": 1,
        "hivesync_users{free}": 2,
        "hivesync_projects": 2,
        "hivesync_active_users{24h,paid}": 1,
        "hivesync_active_users{24h,trial}": 1,
        "hivesync_active_users{30d,paid}": 1,
        "hivesync_active_users{30d,trial}": 1,
        "hivesync_active_users{30d,free}": 1,
        "hivesync_ai_requests_in_window{24h}": 4,
        "hivesync_ai_requests_per_user{24h,median}": 4,
        "hivesync_ai_requests_per_user{24h,p90}": 4,
        "hivesync_ai_requests_per_user{24h,max}": 4,
        "hivesync_ai_errors_in_window{24h,timeout}": 1,
        "hivesync_ai_errors_in_window{24h,provider_error}": 1,
        "hivesync_preview_requests_in_window{24h}": 1,
        "hivesync_job_latency_average_seconds{preview,1h}": 7200 - 1800,
    }


def seed_inkwell(connection: psycopg.Connection, now: datetime) -> None:
    """Insert members of each plan, with tasks of each state two hours ago."""
    naive = now.replace(tzinfo=None)
    for number, plan, until in ((1, 0, None), (2, 1, HOUR), (3, 1, -HOUR), (4, 2, None), (5, 2, -HOUR)):
        connection.execute(
            "INSERT INTO members VALUES (%s, 'mail', 'hash', %s, %s, %s)",
            [number, naive - 90 * 24 * HOUR, plan, None if until is None else naive + until],
        )
    connection.execute("INSERT INTO documents VALUES (1, 'one'), (2, 'two')")
    connection.execute(
        "INSERT INTO logins VALUES (2, %s), (2, %s), (1, %s)", [naive - HOUR, naive - 2 * HOUR, naive - 48 * HOUR]
    )
    milliseconds = round((now - 2 * HOUR).timestamp() * 1000)
    for number, kind, state, done, fault in (
        (1, "ai", 0, None, None),
        (2, "ai", 3, 60_000, "took too long"),
        (3, "ai", 3, 60_000, "no answer"),
        (4, "ai", 1, None, None),
        (5, "preview", 2, 5_400_000, None),
    ):
        connection.execute(
            "INSERT INTO tasks (task_no, member_no, kind, state, queued_ms, done_ms, fault, prompt)"
            " VALUES (%s, 4, %s, %s, %s, %s, %s, 'a prompt')",
            [number, kind, state, milliseconds, None if done is None else milliseconds + done, fault],
        )


def test_the_example_declares_each_column_that_its_views_lack(example: str) -> None:
    views = (Path(example) / "views.sql").read_text()
    settings = (Path(example) / "settings.env").read_text()
    (declared,) = re.findall(r"^HIVESYNC_NOT_PROVIDED=(.*)$", settings, re.MULTILINE)
    for name in declared.split(","):
        view, _, column = name.partition(".")
        if column:
            (text,) = re.findall(rf"VIEW {view} AS(.*?);", views, re.DOTALL)
            assert not re.search(rf"\b{column}\b", text), name


def test_the_template_installs_on_tables_named_as_documented(
    empty: str, rollup: Command, roles: Mapping[str, str], urls: Mapping[str, str], tmp_path: Path
) -> None:
    """A copy of it, in a folder of another name; each value through its views is that of the tables."""
    shutil.copytree(FOLDER / "template", tmp_path / "mine")
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(tables().encode())
        ran = rollup("--migrate", "--adapter", "./mine", "--grant", *granted(roles))
        assert (ran.status, ran.message) == (0, "")
        (who, _) = users(connection, 2)
        insert(connection, "subscriptions", user_id=who, plan="pro")
        insert(connection, "sessions", user_id=who)
        insert(connection, "ai_usage_events", user_id=who, created_at="now")
        plans = Plans()
        collectors: list[Collector] = [Users(plans), Activity(plans), Ai(), Previews(), Latency()]
        values: dict[str, float] = {}
        for collector in collectors:
            values |= collect(collector, urls["exporter"])

        async def by_the_tables() -> dict[str, float]:
            async with sources(make_conninfo(empty)) as opened, opened.postgres.transaction() as transaction:
                specs = [spec for collector in collectors for spec in collector.specs]
                return by_name(await read_definitions(list(dict.fromkeys(specs)), transaction, Terms()))

        expected = asyncio.run(by_the_tables())
        assert expected["hivesync_active_users{24h,paid}"] == 1
        assert {name: values[name] for name in expected} == expected
