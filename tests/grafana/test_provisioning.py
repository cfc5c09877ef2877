"""Grafana's provisioning beside the dashboards: datasources, folder, settings for embedding, and the role of the
reader."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml
from psycopg.conninfo import make_conninfo

from admin.documents.charts import DAYS
from demo.database import create_role
from exporter.settings import Settings
from grafana.provisioning import SCRAPE_INTERVAL
from grafana.queries import POSTGRES, PROMETHEUS
from presentation.panels import GRAFANA_PATH
from tests.grafana.boards import ROOT, targets
from tests.waiting import patience

FOLDER = ROOT / "grafana"
READER = "hivesync_grafana"

WANTED = {
    "GF_SERVER_SERVE_FROM_SUB_PATH": "true",
    "GF_SERVER_HTTP_ADDR": "127.0.0.1",
    "GF_SECURITY_ALLOW_EMBEDDING": "true",
    "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
    "GF_SECURITY_COOKIE_SAMESITE": "lax",
    "GF_SECURITY_CONTENT_SECURITY_POLICY": "true",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    "GF_PLUGINS_PREINSTALL_AUTO_UPDATE": "false",
    "GF_AUTH_PROXY_ENABLED": "true",
    "GF_AUTH_PROXY_HEADER_NAME": "X-WEBAUTH-USER",
    "GF_AUTH_PROXY_HEADER_PROPERTY": "username",
    "GF_AUTH_PROXY_HEADERS": "Role:X-WEBAUTH-ROLE",
    "GF_AUTH_PROXY_AUTO_SIGN_UP": "true",
    "GF_AUTH_PROXY_SYNC_TTL": "15",
    "GF_AUTH_PROXY_WHITELIST": "127.0.0.1",
    "GF_AUTH_PROXY_ENABLE_LOGIN_TOKEN": "false",
    "GF_AUTH_DISABLE_LOGIN_FORM": "true",
    "GF_AUTH_DISABLE_SIGNOUT_MENU": "true",
    "GF_AUTH_BASIC_ENABLED": "false",
    "GF_AUTH_ANONYMOUS_ENABLED": "false",
    "GF_USERS_ALLOW_SIGN_UP": "false",
    "GF_USERS_AUTO_ASSIGN_ORG_ROLE": "Viewer",
    "GF_USERS_DEFAULT_THEME": "light",
    "GF_LIVE_MAX_CONNECTIONS": "0",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
}
"""Settings required for embedding behind the Analytics section, all other than Grafana's defaults."""


ROLLED_UP = """
INSERT INTO usage_analytics_daily
SELECT (now() AT TIME ZONE 'UTC')::date - ago, 10 + ago, 20, 1, 1, NULL, NULL FROM generate_series(0, 99) AS ago
"""


def environment() -> dict[str, str]:
    lines = (FOLDER / "grafana.env").read_text().splitlines()
    pairs = [(name, value) for name, _, value in (line.partition("=") for line in lines if line and line[0] != "#")]
    assert len(pairs) > 30
    assert len({name for name, _ in pairs}) == len(pairs), "a variable is there twice"
    return dict(pairs)


def provisioned(path: str) -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load((FOLDER / "provisioning" / path).read_text()))


@pytest.mark.parametrize("name", sorted(WANTED))
def test_grafana_is_told_what_embedding_needs(name: str) -> None:
    assert environment()[name] == WANTED[name]


def test_every_variable_is_grafanas_and_needs_no_quoting() -> None:
    for name, value in environment().items():
        assert re.fullmatch(r"GF_[A-Z0-9_]+", name)
        assert re.fullmatch(r"[A-Za-z0-9:/._-]+", value), name


def test_grafana_is_reached_where_the_panels_urls_say() -> None:
    url = urlsplit(environment()["GF_SERVER_ROOT_URL"])
    assert url.path == GRAFANA_PATH
    admin = Settings.model_fields["admin_listen"].default
    assert (url.hostname, url.port) == (admin.host, admin.port)
    assert environment()["GF_DASHBOARDS_MIN_REFRESH_INTERVAL"] == "30s"


def test_the_files_hold_no_secret() -> None:
    everything = [path for path in FOLDER.rglob("*") if path.suffix in {".env", ".yaml", ".json", ".sql"}]
    assert len(everything) >= 6
    found = [
        line
        for path in everything
        for line in path.read_text().splitlines()
        if re.search(r"(?i)password\W*[:=]", line) and "$GF_HIVESYNC_DB_PASSWORD" not in line
    ]
    assert found == []


def test_datasources_are_the_two_that_panels_ask_and_nobody_can_change_them() -> None:
    sources = provisioned("datasources/hivesync.yaml")["datasources"]
    assert {(source["type"], source["uid"]) for source in sources} == {
        (reference.type_val, reference.uid) for reference in (PROMETHEUS, POSTGRES)
    }
    assert all(source["editable"] is False and source["access"] == "proxy" for source in sources)
    assert [source["isDefault"] for source in sources].count(True) == 1


def test_rates_are_told_how_often_prometheus_scrapes() -> None:
    """Otherwise `$__rate_interval` is shorter than two scrapes, and every rate is empty."""
    (prometheus, _) = provisioned("datasources/hivesync.yaml")["datasources"]
    assert prometheus["jsonData"]["timeInterval"] == SCRAPE_INTERVAL
    shipped = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
    assert shipped["global"]["scrape_interval"] == SCRAPE_INTERVAL


def test_dashboards_cannot_be_changed_or_deleted() -> None:
    (provider,) = provisioned("dashboards/hivesync.yaml")["providers"]
    assert (provider["allowUiUpdates"], provider["disableDeletion"], provider["type"]) == (False, True, "file")


def test_what_the_files_ask_the_environment_for_is_there() -> None:
    """All variables but the password, which is a secret."""
    text = "".join(path.read_text() for path in sorted((FOLDER / "provisioning").rglob("*.yaml")))
    asked = set(re.findall(r"\$\{?(\w+)", text))
    assert len(asked) > 5
    given = environment().keys()
    assert asked - given == {"GF_HIVESYNC_DB_PASSWORD"}
    assert {name for name in given if name.startswith("GF_HIVESYNC_")} - asked == set()


@pytest.fixture
def reader(connection: psycopg.Connection, database: str) -> Iterator[psycopg.Connection]:
    """A connection of Grafana's role, with its rights from the roll-up, and a hundred days."""
    create_role(connection, READER)
    try:
        connection.execute((FOLDER / "reader.sql").read_bytes())
        connection.execute(ROLLED_UP.encode())
        subprocess.run(
            [sys.executable, "-m", "rollup", "--migrate", "--grant", f"grafana={READER}"],
            cwd=ROOT,
            env=os.environ | {"HIVESYNC_ROLLUP_DATABASE_URL": database},
            capture_output=True,
            timeout=patience(60),
            check=True,
        )
        with psycopg.connect(make_conninfo(database, user=READER), autocommit=True) as connected:
            yield connected
    finally:
        connection.execute(f"DROP OWNED BY {READER}; DROP ROLE {READER}".encode())


@pytest.mark.parametrize("days", DAYS.values())
def test_every_sql_panel_is_answered_as_the_reader(reader: psycopg.Connection, days: int) -> None:
    """Each result is a series: ascending times, then numbers, one per UTC day of the range of the page's chart."""
    asked = targets("grafana-postgresql-datasource")
    assert len(asked) == 2
    for target in asked:
        since = datetime.now(UTC) - timedelta(days=days)
        cursor = reader.execute(target.query["rawSql"].replace("$__timeFrom()", f"'{since:%FT%T.%f}Z'").encode())
        columns = [column.name for column in cursor.description or ()]
        rows = cursor.fetchall()
        assert columns == ["time", "Active users"], target.where
        times = [row[0] for row in rows]
        assert len(times) == (14 if target.panel.get("timeFrom") == "14d" else days)
        assert times == sorted(times)
        assert all(time.utcoffset() is not None and time.timestamp() % 86_400 == 0 for time in times), (
            "a UTC day's start"
        )
        assert [row[1] for row in rows] == list(range(9 + len(times), 9, -1))


REFUSED = (
    "SELECT email FROM users",
    "SELECT count(*) FROM sessions",
    "SELECT * FROM ai_usage_events",
    "INSERT INTO usage_analytics_daily VALUES ('2020-01-01', 1, 1, 1, 1, 1, 1)",
    "DELETE FROM usage_analytics_daily",
    "SET default_transaction_read_only = off; UPDATE usage_analytics_daily SET dau = 0",
)


def test_the_reader_may_do_nothing_else(reader: psycopg.Connection) -> None:
    for statement in REFUSED:
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
            reader.execute(statement.encode())


def test_the_reader_writes_nothing_and_cannot_keep_the_server_busy(reader: psycopg.Connection) -> None:
    limits = {
        "default_transaction_read_only": "on",
        "statement_timeout": "5s",
        "idle_in_transaction_session_timeout": "10s",
        "row_security": "off",
    }
    for setting, value in limits.items():
        assert reader.execute(f"SHOW {setting}".encode()).fetchone() == (value,), setting


def test_the_datasource_connects_as_the_reader() -> None:
    assert f"ALTER ROLE {READER} " in (FOLDER / "reader.sql").read_text()
    assert environment()["GF_HIVESYNC_DB_USER"] == READER
