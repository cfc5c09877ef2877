"""Faults of HiveSync's tables: rights revoked, locks held, tables and columns dropped, renamed, of another type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from demo.database import EXPORTER_ROLE, READING
from faults.promises import EXACTNESS, ISOLATION
from faults.scene import Scene
from faults.table import fault

OF_PREVIEWS = ("activity", "previews", "latency", "jobs", "incidents")
"""The collectors that read `preview_jobs`."""

OF_POSTGRES = (
    *("users", "online", "activity", "ai", "previews", "latency", "jobs", "cost", "rollup"),
    *("charts", "incidents", "top_users"),
)
"""The collectors that read a table at most refreshes. `growth` shows what `users` has read in the last two minutes."""


@contextmanager
def _changed(scene: Scene, change: str, *back: str) -> Iterator[None]:
    """Execute a statement, and others at the end of the block."""
    scene.sql(change)
    try:
        yield
    finally:
        scene.sql(*back)


@fault("postgres", ISOLATION, failing=["users"])
def rights_revoked(scene: Scene) -> Iterator[None]:
    """The right to read a table is revoked."""
    with _changed(scene, f"REVOKE SELECT ON projects FROM {EXPORTER_ROLE}", READING):
        yield


@fault("postgres", ISOLATION, failing=OF_POSTGRES)
def all_rights_revoked(scene: Scene) -> Iterator[None]:
    """The rights to read all tables are revoked."""
    with _changed(scene, f"REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM {EXPORTER_ROLE}", READING):
        yield


@contextmanager
def _locked(scene: Scene, tables: str) -> Iterator[None]:
    with psycopg.connect(scene.owner_url) as connection:
        connection.execute(f"LOCK TABLE {tables}".encode())
        yield


@fault("postgres", ISOLATION, failing=["rollup"])
def table_locked(scene: Scene) -> Iterator[None]:
    """A migration holds an exclusive lock of one table."""
    with _locked(scene, "usage_analytics_daily"):
        yield


@fault("postgres", ISOLATION, failing=OF_POSTGRES, quick=True)
def all_tables_locked(scene: Scene) -> Iterator[None]:
    """A migration holds exclusive locks of all tables."""
    with _locked(
        scene, "users, subscriptions, projects, sessions, ai_usage_events, preview_jobs, usage_analytics_daily"
    ):
        yield


@fault("postgres", ISOLATION, failing=OF_PREVIEWS)
def table_dropped(scene: Scene) -> Iterator[None]:
    """A table is dropped, and created again with its rows."""
    scene.sql("CREATE TABLE kept (LIKE preview_jobs INCLUDING ALL)", "INSERT INTO kept TABLE preview_jobs")
    with _changed(scene, "DROP TABLE preview_jobs", "ALTER TABLE kept RENAME TO preview_jobs", READING):
        yield


@fault("postgres", EXACTNESS)
def optional_table_dropped(scene: Scene) -> Iterator[None]:
    """The table of the roll-up, which need not be installed, is dropped and created again."""
    scene.sql(
        "CREATE TABLE kept (LIKE usage_analytics_daily INCLUDING ALL)", "INSERT INTO kept TABLE usage_analytics_daily"
    )
    with _changed(
        scene, "DROP TABLE usage_analytics_daily", f"ALTER TABLE kept RENAME TO usage_analytics_daily; {READING}"
    ):
        yield


@fault("postgres", ISOLATION, failing=OF_PREVIEWS)
def table_renamed(scene: Scene) -> Iterator[None]:
    """A table is renamed, and named as before."""
    with _changed(
        scene, "ALTER TABLE preview_jobs RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO preview_jobs"
    ):
        yield


@fault("postgres", ISOLATION, failing=["cost"])
def column_dropped(scene: Scene) -> Iterator[None]:
    """A column is dropped with its values, and added again without them."""
    with _changed(
        scene,
        "ALTER TABLE ai_usage_events DROP COLUMN completion_tokens",
        "ALTER TABLE ai_usage_events ADD COLUMN completion_tokens integer",
    ):
        yield


@fault("postgres", ISOLATION, failing=["cost", "incidents"], quick=True)
def column_renamed(scene: Scene) -> Iterator[None]:
    """A column is renamed, and named as before."""
    with _changed(
        scene,
        "ALTER TABLE ai_usage_events RENAME COLUMN model TO engine",
        "ALTER TABLE ai_usage_events RENAME COLUMN engine TO model",
    ):
        yield


@fault("postgres", EXACTNESS, may_degrade=True)
def column_retyped(scene: Scene) -> Iterator[None]:
    """A column becomes one of another type that is supported, and is changed back."""
    with _changed(
        scene,
        "ALTER TABLE ai_usage_events ALTER prompt_tokens TYPE numeric",
        "ALTER TABLE ai_usage_events ALTER prompt_tokens TYPE integer",
    ):
        yield


@fault("postgres", ISOLATION, failing=["cost"])
def column_retyped_to_text(scene: Scene) -> Iterator[None]:
    """A column of numbers becomes one of text, which cannot be added up, and is changed back."""
    with _changed(
        scene,
        "ALTER TABLE ai_usage_events ALTER prompt_tokens TYPE text",
        "ALTER TABLE ai_usage_events ALTER prompt_tokens TYPE integer USING prompt_tokens::integer",
    ):
        yield


@fault("postgres", ISOLATION, failing=OF_POSTGRES)
def row_level_security(scene: Scene) -> Iterator[None]:
    """Row level security hides rows of every table from the exporter's role."""
    tables = (
        "users",
        "subscriptions",
        "projects",
        "sessions",
        "ai_usage_events",
        "preview_jobs",
        "usage_analytics_daily",
    )
    with _changed(
        scene,
        "; ".join(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in tables),
        *(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY" for table in tables),
    ):
        yield
