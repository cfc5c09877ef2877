"""`--migrate --adapter`: one run, repeated, interrupted, printed, refused."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from demo.database import create_role
from exporter.inputs import INPUTS, REQUIRED
from rollup import migrate
from rollup.adapter import FOLDER, shipped
from rollup.installation import READER
from rollup.lock import INSTALLATION, MIGRATION
from rollup.script import statements_of
from servers.postgres import PostgresServer
from tests.rollup.rolling import Command, end
from tests.waiting import patience, until

Install = tuple[str, ...]

STATE = """
SELECT 'relation', relnamespace::regnamespace::text, relname, relkind::text, relacl::text,
       CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) WHEN 'i' THEN pg_get_indexdef(oid) END
FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', 'analytics')
UNION ALL SELECT 'schema', nspname, nspacl::text, '', '', '' FROM pg_namespace WHERE nspname !~ '^pg_'
UNION ALL SELECT 'role', rolname, rolcanlogin::text, rolconnlimit::text, '', '' FROM pg_authid
WHERE rolname = ANY(%(roles)s)
UNION ALL SELECT 'setting', rolname, setting, (setdatabase <> 0)::text, '', ''
FROM pg_db_role_setting JOIN pg_roles ON pg_roles.oid = setrole, unnest(setconfig) AS setting
WHERE rolname = ANY(%(roles)s) AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY 1, 2, 3, 4, 5, 6
"""
"""All that an installation can change."""

INDEXES = [
    "analytics_ai_jobs_created_at",
    "analytics_ai_jobs_ended_at",
    "analytics_ai_jobs_waiting",
    "analytics_preview_sessions_created_at",
    "analytics_preview_sessions_ended_at",
    "analytics_preview_sessions_waiting",
    "analytics_refresh_tokens_created_at",
    "analytics_session_tokens_created_at",
]


def state(connection: psycopg.Connection, roles: Mapping[str, str]) -> list[tuple[object, ...]]:
    return connection.execute(STATE, {"roles": list(roles.values())}).fetchall()


def valid_indexes(connection: psycopg.Connection) -> list[str]:
    query = "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid ORDER BY 1"
    return [name for (name,) in connection.execute(query) if name.startswith("analytics_")]


def test_one_run_makes_everything_and_a_second_one_changes_nothing(
    rollup: Command, install: Install, hivesync: psycopg.Connection, roles: Mapping[str, str]
) -> None:
    ran = rollup(*install)
    assert (ran.status, ran.message) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "analytics: 6 views and usage_analytics_daily are there"
    for kind, role in roles.items():
        where = lines.index(f"{kind}: rights granted to {role}")
        assert lines[where + 1] == f"  it was created without a password; set one, in psql: \\password {role}"
    assert lines[-1] == "8 indexes are there"
    assert valid_indexes(hivesync) == INDEXES
    before = state(hivesync, roles)
    again = rollup(*install)
    assert (again.status, "done" in again.out, "password" in again.out) == (0, False, False)
    assert state(hivesync, roles) == before


def test_a_dry_run_prints_the_sql_that_does_the_same_and_writes_nothing(
    rollup: Command, install: Install, hivesync: psycopg.Connection, roles: Mapping[str, str]
) -> None:
    before = state(hivesync, roles)
    printed = rollup(*install, "--dry-run")
    assert (printed.status, printed.message) == (0, "")
    assert state(hivesync, roles) == before
    for statement in statements_of(printed.out):
        hivesync.execute(statement.encode())
    by_hand = state(hivesync, roles)
    assert len(by_hand) > len(before) + 20
    assert rollup(*install).status == 0
    assert state(hivesync, roles) == by_hand
    nothing_left = rollup(*install, "--dry-run").out
    by_default = rollup("--migrate", "--adapter", "hivesync", "--dry-run").out
    assert all(f'ALTER ROLE "{role.name}" IN DATABASE' in by_default for role in migrate.DEFAULT_ROLES)
    for word in ("CREATE ROLE", "CREATE SCHEMA", "CREATE INDEX", "ANALYZE"):
        assert word in printed.out
        assert word not in nothing_left


def test_without_an_adapter_a_dry_run_prints_the_table_and_the_grants(
    rollup: Command, hivesync: psycopg.Connection, roles: Mapping[str, str], urls: Mapping[str, str]
) -> None:
    del urls
    create_role(hivesync, roles["grafana"])
    before = state(hivesync, roles)
    printed = rollup("--migrate", "--dry-run", "--grant", f"grafana={roles['grafana']}")
    assert (printed.status, state(hivesync, roles)) == (0, before)
    hivesync.execute(printed.out.encode())
    by_hand = state(hivesync, roles)
    assert rollup("--migrate", "--grant", f"grafana={roles['grafana']}").status == 0
    assert state(hivesync, roles) == by_hand != before


def test_an_invalid_index_of_an_interrupted_run_is_replaced(
    rollup: Command, install: Install, hivesync: psycopg.Connection
) -> None:
    hivesync.execute("INSERT INTO ai_jobs (status) VALUES ('queued'), ('queued')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        hivesync.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {INDEXES[0]} ON ai_jobs (status)".encode())
    ran = rollup(*install)
    assert (ran.status, valid_indexes(hivesync)) == (0, INDEXES)
    assert f"done: DROP INDEX CONCURRENTLY public.{INDEXES[0]}" in ran.out
    ((definition,),) = hivesync.execute("SELECT pg_get_indexdef(%s::regclass)", [INDEXES[0]])
    assert definition.endswith("btree (created_at)")


def test_a_run_that_is_stopped_at_an_index_is_completed_by_the_next(
    rollup: Command, install: Install, hivesync: psycopg.Connection, empty: str
) -> None:
    """A writer that does not commit keeps CREATE INDEX CONCURRENTLY waiting, with its index in the catalogue."""
    with psycopg.connect(empty) as writer:
        writer.execute("INSERT INTO ai_jobs DEFAULT VALUES")
        process = rollup.start(*install)
        try:
            until(lambda: hivesync.execute("SELECT FROM pg_index WHERE NOT indisvalid").rowcount == 1)
            process.terminate()
            assert process.wait(patience()) == 1
        finally:
            end([process])
    assert valid_indexes(hivesync) == []
    assert hivesync.execute("SELECT FROM analytics.users").rowcount == 0
    assert rollup(*install).status == 0
    assert valid_indexes(hivesync) == INDEXES


def test_time_limits_of_the_role_do_not_end_the_creation_of_indexes(
    rollup: Command, install: Install, hivesync: psycopg.Connection
) -> None:
    hivesync.execute(
        "INSERT INTO ai_jobs (created_at) SELECT now() - number * interval '1 s' FROM generate_series(1, 300000) number"
    )
    limited = make_conninfo(rollup.settings["HIVESYNC_DATABASE_URL"], options="-cstatement_timeout=50")
    ran = rollup(*install, database_url=limited)
    assert (ran.status, valid_indexes(hivesync)) == (0, INDEXES)


OWN_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"

OTHER_BACKENDS = {
    "DROP TABLE session_tokens": "public.session_tokens should be a table, and is not there",
    "ALTER TABLE users RENAME last_login TO seen": "public.users.last_login should be timestamp with time zone,"
    " and is not there",
    "ALTER TABLE ai_jobs ALTER created_at TYPE timestamp": "public.ai_jobs.created_at should be timestamp with time"
    " zone, and is timestamp without time zone",
    "ALTER TABLE session_tokens DROP user_id, ADD user_id text": "public.session_tokens.user_id should be uuid, and is"
    " text",
    "ALTER TYPE tier ADD VALUE 'Enterprise'": "public.tier should have the labels Admin, Free, Premium, Pro, and has"
    " Admin, Enterprise, Free, Premium, Pro",
    "ALTER TABLE projects RENAME TO p; CREATE VIEW projects AS SELECT * FROM p": "public.projects should be a table,"
    " and is a view",
}


@pytest.mark.parametrize("change", OTHER_BACKENDS)
def test_another_backend_is_refused_and_nothing_is_made(
    change: str, rollup: Command, install: Install, hivesync: psycopg.Connection, roles: Mapping[str, str]
) -> None:
    hivesync.execute(change.encode())
    before = state(hivesync, roles)
    for arguments in (install, (*install, "--dry-run")):
        ran = rollup(*arguments)
        assert (ran.status, ran.out) == (2, "")
        assert OTHER_BACKENDS[change] in ran.message
        assert "not the backend of the adapter hivesync; nothing was changed" in ran.message
        assert ran.message.splitlines()[-1].startswith("Name the database of that backend in HIVESYNC_ROLLUP_DATABASE")
    assert state(hivesync, roles) == before


def test_a_table_in_place_of_a_view_or_other_columns_are_left_as_they_are(
    rollup: Command, install: Install, hivesync: psycopg.Connection, roles: Mapping[str, str]
) -> None:
    hivesync.execute("CREATE SCHEMA analytics; CREATE VIEW analytics.sessions AS SELECT 1 AS mine")
    before = state(hivesync, roles)
    ran = rollup(*install)
    assert (ran.status, ran.out) == (2, "")
    assert "views.sql of hivesync: CREATE OR REPLACE VIEW sessions: cannot" in ran.message
    assert "DROP VIEW analytics.sessions, and repeat the command; nothing was changed" in ran.message
    hivesync.execute("DROP VIEW analytics.sessions; CREATE TABLE analytics.sessions ()")
    ran = rollup(*install)
    assert (ran.status, ran.out) == (2, "")
    assert '"sessions" is not a view' in ran.message
    hivesync.execute("DROP TABLE analytics.sessions; CREATE VIEW analytics.sessions AS SELECT 1 AS mine")
    assert state(hivesync, roles) == before
    hivesync.execute("DROP VIEW analytics.sessions")
    assert rollup(*install).status == 0


def test_an_owner_who_is_no_superuser_can_install_and_any_other_role_cannot(
    rollup: Command,
    install: Install,
    hivesync: psycopg.Connection,
    empty: str,
    roles: Mapping[str, str],
    server: PostgresServer,
) -> None:
    owner, other = f"owner_{roles['exporter']}", f"other_{roles['exporter']}"
    name = hivesync.info.dbname
    for role in (owner, other):
        create_role(hivesync, role, "LOGIN CREATEROLE")
        hivesync.execute(f"GRANT CREATE ON DATABASE {name} TO {role}".encode())
    try:
        for (table,) in hivesync.execute(OWN_TABLES).fetchall():
            hivesync.execute(f"ALTER TABLE {table} OWNER TO {owner}".encode())
        before = state(hivesync, roles)
        refused = rollup(*install, database_url=make_conninfo(empty, user=other))
        assert (refused.status, refused.out) == (2, "")
        assert f"run this as their owner ({owner}) or as a superuser; nothing was changed" in refused.message
        assert state(hivesync, roles) == before
        hivesync.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {owner}".encode())
        ran = rollup(*install, database_url=make_conninfo(empty, user=owner))
        assert (ran.status, ran.message) == (0, "")
        assert valid_indexes(hivesync) == INDEXES
    finally:
        hivesync.execute("DROP SCHEMA IF EXISTS analytics CASCADE")
        for role in roles.values():
            if hivesync.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount:
                hivesync.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}".encode())
        for role in (owner, other):
            hivesync.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_two_installations_at_once_are_one_and_a_message(
    rollup: Command, install: Install, hivesync: psycopg.Connection
) -> None:
    for key in (INSTALLATION, MIGRATION):
        hivesync.execute("SELECT pg_advisory_lock(%s)", [key])
        ran = rollup(*install)
        hivesync.execute("SELECT pg_advisory_unlock(%s)", [key])
        assert (ran.status, ran.out) == (1, "")
        assert f"is held by process {hivesync.info.backend_pid} (role postgres): " in ran.message
        assert "another installation or migration is running" in ran.message
    assert rollup(*install).status == 0


RIGHTS = """
SELECT relname FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND has_table_privilege(%s, oid, 'SELECT')
"""


def edited(folder: Path, change: Callable[[str], str]) -> str:
    """A copy of the shipped adapter with other views."""
    shutil.copytree(FOLDER / "hivesync", folder)
    views = folder / "views.sql"
    views.write_text(change(views.read_text()))
    return f"./{folder.name}"


TABLES = {each.name for each in INPUTS if each.name in REQUIRED}
"""The inputs that are tables."""

LACKED: Mapping[str, tuple[Mapping[str, str], Mapping[str, str], Callable[[str], str]]] = {
    "projects": (
        {"not_provided": "projects"},
        {},
        lambda text: re.sub(r"CREATE OR REPLACE VIEW projects AS.*?;", "", text, flags=re.DOTALL),
    ),
    "workers": ({"not_provided": "workers", "workers_from": "postgres"}, {"workers_from": "postgres"}, str),
}
"""Settings without the input, settings with it, and the adapter without it."""


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_view_that_is_not_provided_is_neither_needed_nor_granted(
    name: str,
    rollup: Command,
    install: Install,
    hivesync: psycopg.Connection,
    roles: Mapping[str, str],
    tmp_path: Path,
) -> None:
    lacking, having, change = LACKED[name]
    without = ("--migrate", "--adapter", edited(tmp_path / "mine", change), *install[3:])
    before = state(hivesync, roles)
    refused = rollup(*without, **having)
    assert (refused.status, state(hivesync, roles)) == (2, before)
    assert f"{name} is not there" in refused.message
    assert "Complete views.sql" in refused.message
    assert "HIVESYNC_NOT_PROVIDED" in refused.message
    ran = rollup(*without, **lacking)
    assert (ran.status, ran.message) == (0, "")
    columns = "1 AS worker_id, 'cpu' AS kind, now() AS last_heartbeat_at"
    hivesync.execute(f"CREATE VIEW analytics.{name} AS SELECT {columns}".encode())
    for settings in (lacking, having):
        assert rollup(*without, **settings).status == 0
        readable = {view for (view,) in hivesync.execute(RIGHTS, [roles["exporter"]])}
        assert (name in readable) == (settings is having)


ADAPTER = {
    "adapter.toml": '[tables."public.users"]\nid = "uuid"\n',
    "views.sql": "CREATE OR REPLACE VIEW users AS SELECT id, email, username, created_at FROM public.users;\n",
    "indexes.sql": "",
}

WRONG_ADAPTERS = {
    ("adapter.toml", None): "adapter.toml: No such file or directory",
    ("adapter.toml", "["): "adapter.toml is not valid TOML",
    ("adapter.toml", ADAPTER["adapter.toml"] + "\n[table]\n"): "adapter.toml: table: extra inputs are not permitted",
    ("adapter.toml", "schema = 'Two words'\n" + ADAPTER["adapter.toml"]): "adapter.toml: schema: string should match",
    ("views.sql", "CREATE VIEW users AS SELECT nothing FROM public.users;"): 'column "nothing" does not exist',
    ("views.sql", "CREATE VIEW users AS SELECT;\nSELECT FROM;"): "syntax error",
    (
        "views.sql",
        ADAPTER["views.sql"].replace("email", "email, true AS last_login_at"),
    ): "users.last_login_at should be timestamp with time zone, and is boolean",
    ("views.sql", ADAPTER["views.sql"]): "subscriptions is not there",
    ("views.sql", ADAPTER["views.sql"].replace(", username", "")): "users.username is not there",
    ("indexes.sql", "CREATE INDEX a ON public.users (created_at);"): "indexes.sql: should be CREATE INDEX CONCURRENTLY"
    " IF NOT EXISTS name ON schema.table (...), not: CREATE INDEX a ON",
}


@pytest.mark.parametrize("wrong", WRONG_ADAPTERS)
def test_a_wrong_adapter_of_ones_own_is_refused_with_its_file_and_nothing_is_made(
    wrong: tuple[str, str | None],
    rollup: Command,
    install: Install,
    hivesync: psycopg.Connection,
    roles: Mapping[str, str],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in (ADAPTER | dict([wrong])).items():
        if text is not None:
            (folder / name).write_text(text)
    before = state(hivesync, roles)
    ran = rollup("--migrate", "--adapter", "./mine", *install[3:])
    assert (ran.status, ran.out) == (2, "")
    assert WRONG_ADAPTERS[wrong] in ran.message
    assert state(hivesync, roles) == before


def test_an_adapter_without_a_folder_is_refused_with_the_known_names(
    rollup: Command, hivesync: psycopg.Connection
) -> None:
    del hivesync
    ran = rollup("--migrate", "--adapter", "hivesnyc")
    assert (ran.status, ran.out) == (2, "")
    assert "there is no adapter 'hivesnyc': hivesync, template, or the path of a folder (./hivesnyc)" in ran.message
    alone = rollup("--adapter", "hivesync")
    assert (alone.status, "--adapter requires --migrate" in alone.message) == (2, True)


def test_every_shipped_adapter_is_complete() -> None:
    folders = sorted(path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__")
    assert shipped() == folders == ["hivesync", "template"]
    for name in folders:
        files = {path.name for path in (FOLDER / name).iterdir()}
        assert files >= {"adapter.toml", "views.sql", "indexes.sql", "settings.env"}


def test_the_files_of_the_adapters_are_data_of_their_package() -> None:
    package_data = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in package_data["adapters"] for path in FOLDER.glob(pattern)}
    assert packed == {path for path in FOLDER.glob("*/*") if path.is_file() and path.parent.name != "__pycache__"}
    assert {READER} == {path for pattern in package_data["grafana"] for path in READER.parent.glob(pattern)}
