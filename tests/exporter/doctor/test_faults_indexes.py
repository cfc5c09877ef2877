"""Missing indexes: the doctor names each, and its SQL makes it."""

from __future__ import annotations

from exporter.collectors.jobs import TABLES
from tests.exporter.doctor.faults import LOOK, Fault, check, parametrised, sql
from tests.exporter.doctor.house import House

OWN_INDEXES = """
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = 'public'::regnamespace AND NOT indisprimary AND NOT indisunique
"""

INDEXES = [
    Fault(
        f"no index on {table} {column}",
        sql(f"DROP INDEX {table}_{column}_idx"),
        "indexes.windows",
        LOOK,
        f"CREATE INDEX CONCURRENTLY ON public.{table} ({column});",
    )
    for table, column in (
        ("sessions", "created_at"),
        ("sessions", "last_heartbeat_at"),
        ("ai_usage_events", "created_at"),
        ("ai_usage_events", "completed_at"),
        ("preview_jobs", "created_at"),
        ("preview_jobs", "completed_at"),
    )
] + [
    Fault(
        "no index on ids of sessions",
        sql("ALTER TABLE sessions DROP CONSTRAINT sessions_pkey"),
        "indexes.windows",
        LOOK,
        "CREATE INDEX CONCURRENTLY ON public.sessions (id);",
    ),
    Fault(
        "an index on part of the rows",
        sql(
            "DROP INDEX preview_jobs_created_at_idx; CREATE INDEX ON preview_jobs (created_at) WHERE status = 'failed'"
        ),
        "indexes.windows",
        LOOK,
        "CREATE INDEX CONCURRENTLY ON public.preview_jobs (created_at);",
    ),
    Fault(
        "a view on an expression",
        sql(
            "ALTER TABLE preview_jobs RENAME TO builds; CREATE VIEW preview_jobs AS SELECT id, user_id, status,"
            " error_kind, date_trunc('second', created_at, 'UTC') AS created_at, completed_at FROM builds;"
            " GRANT SELECT ON preview_jobs TO {role}; REVOKE ALL ON builds FROM {role}"
        ),
        "indexes.windows",
        LOOK,
        "CREATE INDEX CONCURRENTLY ON public.builds ((date_trunc('second'::text, created_at, 'UTC'::text)));",
    ),
]

WAITING = [
    Fault(
        f"no index of the {queue} jobs that wait",
        sql(
            f"DROP INDEX {table}_waiting_idx; INSERT INTO {table} (status, completed_at)"
            f" SELECT 'succeeded', now() FROM generate_series(1, 40000); ANALYZE {table}"
        ),
        "indexes.waiting",
        LOOK,
        f"CREATE INDEX CONCURRENTLY {table}_waiting_idx ON {table} (created_at) WHERE",
    )
    for queue, table in TABLES.items()
]


def test_each_statement_for_a_table_without_any_index_is_valid_and_enough(house: House) -> None:
    house.sql("CREATE TABLE workers (worker_id text, kind text, last_heartbeat_at timestamptz)")
    house.sql(f"GRANT SELECT ON workers TO {house.role}; INSERT INTO workers VALUES ('w', 'cpu', now())")
    house.env["HIVESYNC_WORKERS_FROM"] = "postgres"
    for (name,) in house.connection.execute(OWN_INDEXES).fetchall():
        house.sql(f"DROP INDEX {name}")
    house.sql("ALTER TABLE sessions DROP CONSTRAINT sessions_pkey")
    found = [each for each in house.new_findings("postgres") if each.check == "indexes.windows"]
    assert "CREATE INDEX CONCURRENTLY ON public.workers (last_heartbeat_at);" in {each.mend for each in found}
    for each in found:
        house.apply(each.mend)
    assert house.new_findings("postgres") == []


def test_an_index_that_the_planner_does_not_prefer_is_there_all_the_same(house: House) -> None:
    """To group by user, it may read the rows in the order of another index."""
    for table in ("ai_usage_events", "preview_jobs", "sessions"):
        house.sql(f"CREATE INDEX ON {table} (user_id)")
    house.sql("ANALYZE")
    assert house.new_findings("postgres") == []


@parametrised([*INDEXES, *WAITING])
def test_a_missing_index_is_found_and_made(house: House, fault: Fault) -> None:
    check(house, fault, "settings", "postgres", "redis", "state")
