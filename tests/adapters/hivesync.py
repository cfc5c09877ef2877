"""The published HiveSync for tests: its tables with rows of every kind, secrets in all columns that may hold one, and
the exporter's numbers in plain SQL on these tables."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

TABLES = Path(__file__).with_name("hivesync_tables.sql").read_text()

SECRET = "S3CRET"
"""In every value that none of our roles may read."""

SECRET_COLUMNS = (
    *(("users", name) for name in ("password_hash", "settings")),
    *(("projects", name) for name in ("name", "description")),
    *(("ai_jobs", name) for name in ("params", "result", "error")),
    *(("preview_sessions", name) for name in ("preview_id", "device_id", "error")),
    ("refresh_tokens", "token_hash"),
    ("session_tokens", "token"),
    *(("workers", name) for name in ("worker_id", "metadata_")),
    *(("dead_letters", name) for name in ("error_message", "payload")),
)

STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
ERRORS = (f"enqueue_failed: {SECRET}", "stuck_timeout", f"RuntimeError: {SECRET}")
TIERS = ("Free", "Free", "Free", "Pro", "Premium", "Admin")

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def fill(connection: psycopg.Connection, now: datetime, *, people: int = 48, rows: int = 400) -> None:
    """Insert users of all tiers, and tokens and jobs of every kind in the last 40 days, most of them recent; the same
    for the same `now`."""
    rng = random.Random(11)
    users = [_user(connection, number, now) for number in range(people)]
    for number in range(people // 3):
        connection.execute(
            "INSERT INTO projects (name, description) VALUES (%s, %s)", [f"{SECRET} {number}", f"{SECRET} of a project"]
        )

    def some_time() -> datetime:
        return now - timedelta(seconds=rng.choice((60, 3600, DAY.total_seconds(), 40 * 86_400)) * rng.random())

    with connection.transaction():
        for number in range(rows):
            user = rng.choice(users[:-6])  # the last six are not active by tokens or jobs
            connection.execute(
                "INSERT INTO refresh_tokens (user_id, token_hash, created_at, revoked) VALUES (%s, %s, %s, %s)",
                [user, f"{SECRET} {number}", some_time(), number % 2 == 0],
            )
        for number, user in enumerate(users[-6:-2]):  # in the browser only
            connection.execute(
                "INSERT INTO session_tokens (token, user_id, created_at) VALUES (%s, %s, %s)",
                [f"{SECRET} {number}", user, some_time()],
            )
        for table in ("ai_jobs", "preview_sessions"):
            for number in range(rows):
                _job(connection, table, number, rng, users[:-6], some_time(), now)
    connection.execute(
        "INSERT INTO workers (worker_id, kind, metadata_) VALUES (%s, 'ai', %s)", [f"{SECRET} 1", f'"{SECRET}"']
    )
    connection.execute("INSERT INTO dead_letters (error_message, payload) VALUES (%s, %s)", [SECRET, f'"{SECRET}"'])


def _user(connection: psycopg.Connection, number: int, now: datetime) -> str:
    cursor = connection.execute(
        "INSERT INTO users (email, username, password_hash, settings, tier, created_at, last_login)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id::text",
        [
            f"person-{number}@example.org",
            f"person-{number}" if number % 4 else None,
            f"{SECRET} {number}",
            f'"{SECRET}"',
            TIERS[number % len(TIERS)],
            now - 50 * DAY,
            now - DAY if number % 3 else None,
        ],
    )
    ((user,),) = cursor.fetchall()
    return str(user)


def _job(
    connection: psycopg.Connection,
    table: str,
    number: int,
    rng: random.Random,
    users: list[str],
    created: datetime,
    now: datetime,
) -> None:
    status = STATUSES[number % len(STATUSES)]
    values: dict[str, Any] = {
        "user_id": rng.choice(users) if number % 7 else None,
        "status": status,
        "created_at": created,
        "tier_snapshot": "Free",
    }
    if status in ("succeeded", "failed") or number % 2:
        values["completed_at"] = min(now, created + rng.randrange(1, 300) * SECOND) if status != "queued" else None
    if status == "failed":
        values["error"] = ERRORS[number % len(ERRORS)]
        if values["error"].startswith("enqueue_failed"):
            values["completed_at"] = None
    if table == "ai_jobs":
        values |= {"params": f'{{"code": "{SECRET}"}}', "result": f'"{SECRET}"'}
    else:
        values |= {"preview_id": f"{SECRET} {number}", "device_id": f"{SECRET} device"}
    names, places = ", ".join(values), ", ".join(["%s"] * len(values))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})".encode(), list(values.values()))


_WINDOWS = {"1m": "1 minute", "15m": "15 minutes", "1h": "1 hour", "24h": "24 hours", "30d": "720 hours"}


def _in_window(column: str, window: str) -> str:
    return f"{column} > %(now)s - interval '{_WINDOWS[window]}' AND {column} <= %(now)s"


def _seen(period: str) -> str:
    return " UNION ".join(
        f"SELECT user_id FROM {table} WHERE {period}"
        for table in ("refresh_tokens", "session_tokens", "ai_jobs", "preview_sessions")
    )


def _active(window: str, tiers: str) -> str:
    seen = _seen(_in_window("created_at", window))
    return f"SELECT count(*) FROM users WHERE tier IN ({tiers}) AND id IN ({seen})"


_SEEN_BEFORE = _seen("created_at > %(now)s - interval '1440 hours' AND created_at <= %(now)s - interval '720 hours'")
_SEEN_THIS_MONTH = _seen("created_at >= date_trunc('month', %(now)s, 'UTC') AND created_at <= %(now)s")


_PAID, _FREE = "'Pro', 'Premium'", "'Free', 'Admin'"
_PER_USER = (
    "SELECT {0} FROM (SELECT count(*) AS n FROM ai_jobs WHERE user_id IS NOT NULL AND"
    f" {_in_window('created_at', '24h')} GROUP BY user_id) AS counts"
)
_TABLE = {"ai": "ai_jobs", "preview": "preview_sessions"}

NUMBERS: Mapping[str, str] = {
    "hivesync_users{paid}": f"SELECT count(*) FROM users WHERE tier IN ({_PAID})",
    "hivesync_users{free}": f"SELECT count(*) FROM users WHERE tier IN ({_FREE})",
    "hivesync_projects": "SELECT count(*) FROM projects",
    **{
        f"hivesync_active_users{{{window},{plan}}}": _active(window, tiers)
        for window in ("24h", "30d")
        for plan, tiers in (("paid", _PAID), ("free", _FREE))
    },
    "hivesync_previously_active_users{30d,returning}": (
        f"SELECT count(*) FROM users WHERE id IN ({_seen(_in_window('created_at', '30d'))}) AND id IN ({_SEEN_BEFORE})"
    ),
    "hivesync_active_users_month_to_date": f"SELECT count(*) FROM users WHERE id IN ({_SEEN_THIS_MONTH})",
    **{
        f"hivesync_{queue}_requests_in_window{{{window}}}": (
            f"SELECT count(*) FROM {table} WHERE {_in_window('created_at', window)}"
        )
        for queue, table in _TABLE.items()
        for window in ("1m", "1h", "24h")
    },
    "hivesync_ai_requests_per_user{24h,median}": _PER_USER.format("percentile_cont(0.5) WITHIN GROUP (ORDER BY n)"),
    "hivesync_ai_requests_per_user{24h,p90}": _PER_USER.format("percentile_cont(0.9) WITHIN GROUP (ORDER BY n)"),
    "hivesync_ai_requests_per_user{24h,max}": _PER_USER.format("max(n)"),
    "hivesync_ai_errors_in_window{24h,other}": (
        "SELECT count(*) FROM ai_jobs WHERE status = 'failed'"
        f" AND {_in_window('coalesce(completed_at, created_at)', '24h')}"
    ),
    **{
        f"hivesync_job_latency_average_seconds{{{queue},{window}}}": (
            f"SELECT avg(extract(epoch FROM completed_at - created_at)) FROM {table}"
            f" WHERE status = 'succeeded' AND {_in_window('completed_at', window)}"
        )
        for queue, table in _TABLE.items()
        for window in ("1m", "15m", "1h")
    },
}
"""The exporter's numbers, by `metric{label values}`, as SQL on HiveSync's own tables."""


def numbers(connection: psycopg.Connection, now: datetime) -> dict[str, float]:
    """The exporter's numbers by HiveSync's own tables; without those that have no value."""
    found = {}
    for name, query in NUMBERS.items():
        ((value,),) = connection.execute(query.encode(), {"now": now}).fetchall()
        if value is not None:
            found[name] = float(value)
    return found
