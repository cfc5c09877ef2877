"""Faults in PostgreSQL: the doctor names each, and its SQL makes it good."""

from __future__ import annotations

from tests.exporter.doctor.faults import LOOK, WRONG, Fault, check, env, every, parametrised, sql
from tests.exporter.doctor.house import House
from tests.rows import NO_DATABASE

NAIVE = "ALTER TABLE sessions ALTER COLUMN created_at TYPE timestamp USING created_at AT TIME ZONE '{zone}'"
MILLISECONDS = "extract(epoch FROM created_at) * 1000"


def as_superuser(house: House) -> None:
    house.env["HIVESYNC_DATABASE_URL"] = house.env["HIVESYNC_DATABASE_URL"].replace(house.role, "postgres")


def in_database(name: str) -> Fault:
    def harm(house: House) -> None:
        house.env["HIVESYNC_DATABASE_URL"] = house.env["HIVESYNC_DATABASE_URL"].rpartition("/")[0] + f"/{name}"

    mend = "correct the database in HIVESYNC_DATABASE_URL"
    return Fault("another database", harm, "postgres.reachable", WRONG, mend, mends=False)


SERVER = [
    Fault("no server", env(database_url=NO_DATABASE), "postgres.reachable", WRONG, "start PostgreSQL", mends=False),
    in_database("nowhere"),
]

RIGHTS = [
    Fault(
        "a missing right",
        sql("REVOKE SELECT ON projects FROM {role}"),
        "rights.tables",
        WRONG,
        "GRANT SELECT ON TABLE public.projects TO {role};",
    ),
    Fault(
        "a missing right on a column",
        sql("REVOKE SELECT ON sessions FROM {role}; GRANT SELECT (id, user_id, kind) ON sessions TO {role}"),
        "rights.tables",
        WRONG,
        "GRANT SELECT ON TABLE public.sessions TO {role};",
    ),
    Fault(
        "another schema",
        sql("CREATE SCHEMA core; ALTER TABLE projects SET SCHEMA core; GRANT USAGE ON SCHEMA core TO {role}"),
        "rights.tables",
        WRONG,
        "ALTER ROLE {role} SET search_path = public, core;",
    ),
    Fault(
        "a schema without usage",
        sql(
            "CREATE SCHEMA core; ALTER TABLE projects SET SCHEMA core; ALTER ROLE {role} SET search_path = public, core"
        ),
        "rights.tables",
        WRONG,
        "GRANT USAGE ON SCHEMA core TO {role};",
    ),
    Fault(
        "no table", sql("DROP TABLE preview_jobs"), "rights.tables", WRONG, "CREATE VIEW preview_jobs AS", mends=False
    ),
    Fault(
        "no roll-up",
        sql("DROP TABLE usage_analytics_daily"),
        "rights.tables",
        LOOK,
        "python -m rollup --migrate",
        mends=False,
    ),
    Fault(
        "a right to write",
        sql("GRANT INSERT, DELETE ON sessions TO {role}"),
        "rights.writes",
        WRONG,
        "REVOKE DELETE, INSERT ON sessions FROM {role};",
    ),
    Fault(
        "a right of all to write",
        sql("GRANT TRUNCATE ON users TO PUBLIC"),
        "rights.writes",
        WRONG,
        "REVOKE TRUNCATE ON users FROM PUBLIC;",
    ),
    Fault(
        "an owner",
        sql("CREATE TABLE notes (id int); ALTER TABLE notes OWNER TO {role}"),
        "rights.writes",
        WRONG,
        "python -m rollup --migrate --grant exporter=hivesync_exporter",
        mends=False,
    ),
    Fault("a superuser", as_superuser, "rights.writes", LOOK, "ALTER ROLE postgres NOSUPERUSER", mends=False),
    Fault(
        "a powerful role",
        sql("ALTER ROLE {role} CREATEDB"),
        "rights.writes",
        LOOK,
        "ALTER ROLE {role} NOCREATEROLE NOCREATEDB NOREPLICATION;",
    ),
    Fault(
        "a table of secrets",
        sql("CREATE TABLE refresh_tokens (token_hash text); GRANT SELECT ON refresh_tokens TO {role}"),
        "rights.others",
        LOOK,
        "REVOKE SELECT ON refresh_tokens FROM {role};",
    ),
    Fault(
        "row level security",
        sql("ALTER TABLE ai_usage_events ENABLE ROW LEVEL SECURITY"),
        "rights.rows",
        WRONG,
        "ALTER ROLE {role} BYPASSRLS;",
    ),
]

COLUMNS = [
    Fault(
        "a missing optional column",
        sql("ALTER TABLE sessions DROP COLUMN device_type"),
        "columns.there",
        WRONG,
        "HIVESYNC_NOT_PROVIDED=sessions.device_type",
    ),
    Fault(
        "a missing column",
        sql("ALTER TABLE users DROP COLUMN username"),
        "columns.there",
        WRONG,
        "ALTER TABLE public.users ADD COLUMN username text;",
    ),
    Fault(
        "milliseconds as a number",
        sql(
            f"ALTER TABLE projects DROP COLUMN created_at; ALTER TABLE sessions ALTER COLUMN created_at DROP DEFAULT,"
            f" ALTER COLUMN created_at TYPE bigint USING {MILLISECONDS}"
        ),
        "columns.types",
        WRONG,
        "TYPE timestamptz USING to_timestamp(created_at / 1000.0);",
    ),
    Fault(
        "times as text",
        sql("ALTER TABLE sessions ALTER COLUMN ended_at TYPE text"),
        "columns.types",
        WRONG,
        "ALTER COLUMN ended_at TYPE timestamptz USING ended_at::timestamptz;",
    ),
    Fault(
        "tokens as text",
        sql("ALTER TABLE ai_usage_events ALTER COLUMN prompt_tokens TYPE text"),
        "columns.types",
        WRONG,
        "ALTER COLUMN prompt_tokens TYPE bigint USING prompt_tokens::bigint;",
    ),
    Fault(
        "ids of another type",
        sql("ALTER TABLE sessions DROP CONSTRAINT sessions_user_id_fkey, ALTER COLUMN user_id TYPE text"),
        "columns.types",
        WRONG,
        "ALTER TABLE public.sessions ALTER COLUMN user_id TYPE uuid USING user_id::uuid;",
    ),
    Fault(
        "local times without a zone",
        sql(NAIVE.format(zone="Pacific/Auckland")),
        "columns.zones",
        WRONG,
        "TYPE timestamptz USING created_at AT TIME ZONE 'Pacific/Auckland';",
    ),
    Fault(
        "times in UTC without a zone",
        sql(NAIVE.format(zone="UTC")),
        "columns.zones",
        LOOK,
        "TYPE timestamptz USING created_at AT TIME ZONE 'UTC';",
    ),
    Fault(
        "milliseconds as seconds",
        sql(f"UPDATE preview_jobs SET created_at = to_timestamp({MILLISECONDS}) WHERE status = 'failed'"),
        "columns.units",
        WRONG,
        "UPDATE public.preview_jobs SET created_at = to_timestamp(extract(epoch FROM created_at) / 1000)",
    ),
    Fault(
        "seconds as milliseconds",
        sql("UPDATE preview_jobs SET created_at = to_timestamp(extract(epoch FROM created_at) / 1000)"),
        "columns.units",
        WRONG,
        "UPDATE public.preview_jobs SET created_at = to_timestamp(extract(epoch FROM created_at) * 1000)",
    ),
    Fault(
        "heartbeats in the future",
        sql("UPDATE sessions SET last_heartbeat_at = now() + interval '3 hours' WHERE kind = 'live_view'"),
        "columns.units",
        LOOK,
        "SELECT count(*) FROM public.sessions WHERE last_heartbeat_at > now();",
        mends=False,
    ),
    Fault(
        "a column that is always NULL",
        sql("UPDATE ai_usage_events SET model = NULL"),
        "columns.filled",
        LOOK,
        "HIVESYNC_NOT_PROVIDED=ai_usage_events.model",
    ),
    Fault(
        "jobs that never end",
        sql("UPDATE ai_usage_events SET completed_at = NULL"),
        "columns.filled",
        WRONG,
        "let HiveSync fill ai_usage_events.completed_at",
        mends=False,
    ),
]

WORDS = [
    Fault(
        "a free plan of another name",
        sql("UPDATE subscriptions SET plan = 'Community' WHERE plan = 'free'"),
        "words.plans",
        LOOK,
        "HIVESYNC_FREE_PLANS=free,admin,community",
    ),
    Fault(
        "another word for paying",
        sql("UPDATE subscriptions SET status = 'enabled' WHERE status IN ('active', 'past_due')"),
        "words.plans",
        WRONG,
        "UPDATE public.subscriptions SET status = 'active' WHERE status = 'enabled';",
    ),
    Fault(
        "another word for success",
        sql("UPDATE ai_usage_events SET status = 'completed' WHERE status = 'succeeded'"),
        "words.jobs",
        WRONG,
        "UPDATE public.ai_usage_events SET status = 'succeeded' WHERE status = 'completed';",
    ),
    Fault(
        "an enum with another label",
        every(
            sql("UPDATE preview_jobs SET status = 'done' WHERE status = 'succeeded'"),
            sql("CREATE TYPE state AS ENUM ('queued', 'running', 'done', 'failed', 'cancelled')"),
            sql("DROP INDEX preview_jobs_waiting_idx"),
            sql(
                "ALTER TABLE preview_jobs ALTER COLUMN status DROP DEFAULT,"
                " ALTER COLUMN status TYPE state USING status::state"
            ),
            sql(
                "CREATE INDEX preview_jobs_waiting_idx ON preview_jobs (created_at)"
                " WHERE status IN ('queued', 'running')"
            ),
        ),
        "words.jobs",
        WRONG,
        "ALTER TYPE state RENAME VALUE 'done' TO 'succeeded';",
    ),
    Fault(
        "other kinds of errors",
        sql("UPDATE ai_usage_events SET error_kind = 'oom' WHERE error_kind = 'timeout'"),
        "words.errors",
        LOOK,
        "WHEN 'oom' THEN",
        mends=False,
    ),
    Fault(
        "other devices",
        sql("UPDATE sessions SET device_type = 'tablet' WHERE device_type = 'ipad'"),
        "words.sessions",
        LOOK,
        "CASE device_type::text WHEN 'tablet' THEN",
        mends=False,
    ),
    Fault(
        "free text in a closed column",
        sql("UPDATE sessions SET kind = 'browser of ' || id"),
        "words.sessions",
        WRONG,
        "CASE ... END AS kind",
        mends=False,
    ),
]

TABLE = every(
    env(workers_from="postgres"),
    sql(
        "CREATE TABLE workers (worker_id text, kind text, last_heartbeat_at timestamptz);"
        " CREATE INDEX ON workers (last_heartbeat_at); INSERT INTO workers VALUES ('w', 'cpu', now())"
    ),
)
READABLE = sql("GRANT SELECT ON workers TO {role}")

WORKERS = [
    Fault(
        "a missing right on the workers",
        TABLE,
        "rights.tables",
        WRONG,
        "GRANT SELECT ON TABLE public.workers TO {role};",
    ),
    Fault(
        "a right on workers that are in Redis",
        every(TABLE, READABLE, env(workers_from="redis")),
        "rights.others",
        LOOK,
        "REVOKE SELECT ON workers FROM {role};",
    ),
    Fault("no table of workers", env(workers_from="postgres"), "rights.tables", WRONG, "worker_id, kind", mends=False),
    Fault(
        "no time of the workers",
        every(TABLE, READABLE, sql("ALTER TABLE workers DROP last_heartbeat_at")),
        "columns.there",
        WRONG,
        "ALTER TABLE public.workers ADD COLUMN last_heartbeat_at timestamptz;",
        mends=False,
    ),
    Fault(
        "a worker of the future",
        every(TABLE, READABLE, sql("UPDATE workers SET last_heartbeat_at = 'infinity'")),
        "heartbeats.table",
        WRONG,
        "last_heartbeat_at = now()",
        mends=False,
    ),
    Fault(
        "no recent worker",
        every(TABLE, READABLE, sql("DELETE FROM workers")),
        "heartbeats.table",
        LOOK,
        "HIVESYNC_WORKERS_FROM=redis",
        mends=False,
    ),
]


@parametrised([*SERVER, *RIGHTS, *COLUMNS, *WORDS, *WORKERS])
def test_a_fault_of_postgresql_is_found_and_made_good(house: House, fault: Fault) -> None:
    check(house, fault, "settings", "postgres", "redis", "state")
