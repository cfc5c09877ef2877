"""Rules for every row of the demo, past or live, as queries that find the rows in breach."""

from __future__ import annotations

import psycopg

LIES = {
    "a time after now": """
        SELECT created_at FROM users WHERE greatest(created_at, last_login_at) > clock_timestamp()
        UNION ALL SELECT created_at FROM projects WHERE created_at > clock_timestamp()
        UNION ALL SELECT started_at FROM subscriptions WHERE greatest(started_at, ended_at) > clock_timestamp()
        UNION ALL SELECT created_at FROM sessions
            WHERE greatest(created_at, last_heartbeat_at, ended_at) > clock_timestamp()
        UNION ALL SELECT created_at FROM ai_usage_events WHERE greatest(created_at, completed_at) > clock_timestamp()
        UNION ALL SELECT created_at FROM preview_jobs WHERE greatest(created_at, completed_at) > clock_timestamp()
    """,
    "something of a user before there was the user": """
        SELECT id FROM users JOIN (
            SELECT user_id, started_at AS at FROM subscriptions
            UNION ALL SELECT owner_id, created_at FROM projects
            UNION ALL SELECT user_id, created_at FROM sessions
            UNION ALL SELECT user_id, created_at FROM ai_usage_events
            UNION ALL SELECT user_id, created_at FROM preview_jobs
        ) AS deed ON deed.user_id = users.id WHERE deed.at < users.created_at
    """,
    "a reference to nothing": """
        SELECT user_id FROM (
            SELECT user_id FROM subscriptions UNION ALL SELECT owner_id FROM projects
            UNION ALL SELECT user_id FROM sessions UNION ALL SELECT user_id FROM ai_usage_events
            UNION ALL SELECT user_id FROM preview_jobs
        ) AS referring WHERE user_id NOT IN (SELECT id FROM users)
        UNION ALL SELECT project_id FROM (
            SELECT project_id FROM ai_usage_events UNION ALL SELECT project_id FROM preview_jobs
        ) AS referring WHERE project_id NOT IN (SELECT id FROM projects)
    """,
    "a job for somebody else's project": """
        SELECT job.id FROM (
            SELECT id, user_id, project_id FROM ai_usage_events
            UNION ALL SELECT id, user_id, project_id FROM preview_jobs
        ) AS job JOIN projects ON projects.id = project_id WHERE owner_id IS DISTINCT FROM user_id
    """,
    "a session that ends or beats before it begins": """
        SELECT id FROM sessions WHERE least(last_heartbeat_at, ended_at) < created_at OR ended_at < last_heartbeat_at
    """,
    "a job that is over without an end, or has an end and is not over": """
        SELECT id FROM (
            SELECT id, status, created_at, completed_at FROM ai_usage_events
            UNION ALL SELECT id, status, created_at, completed_at FROM preview_jobs
        ) AS job
        WHERE (status IN ('succeeded', 'failed', 'cancelled')) IS DISTINCT FROM (completed_at IS NOT NULL)
            OR completed_at < created_at
    """,
    "an error without a failure, or a failure without an error": """
        SELECT id FROM (
            SELECT id, status, error_kind FROM ai_usage_events UNION ALL SELECT id, status, error_kind FROM preview_jobs
        ) AS job WHERE (status = 'failed') IS DISTINCT FROM (error_kind IS NOT NULL)
    """,
    "tokens without a success, or a success without tokens": """
        SELECT id FROM ai_usage_events
        WHERE (status = 'succeeded') IS DISTINCT FROM (prompt_tokens > 0 AND completion_tokens > 0)
            AND NOT (status <> 'succeeded' AND prompt_tokens IS NULL AND completion_tokens IS NULL)
    """,
    "a trial without an end to come, or an end to come without a trial": """
        SELECT id FROM subscriptions WHERE (plan = 'trial') IS DISTINCT FROM (trial_ends_at IS NOT NULL)
    """,
    "a subscription that goes on after its end, or ended while it goes on": """
        SELECT id FROM subscriptions
        WHERE (status IN ('canceled', 'expired')) IS DISTINCT FROM (ended_at IS NOT NULL) OR ended_at < started_at
    """,
    "two subscriptions at a time": """
        SELECT user_id FROM subscriptions WHERE ended_at IS NULL GROUP BY user_id HAVING count(*) > 1
    """,
}


def lies(connection: psycopg.Connection) -> list[str]:
    """The broken rules; empty when all hold."""
    return [lie for lie, query in LIES.items() if connection.execute(query.encode()).fetchone() is not None]
