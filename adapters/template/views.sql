-- Six views, with the names and columns of docs/definitions.md#postgresql. As it stands this file is for tables that are
-- named so already; replace the tables and columns after FROM and SELECT by yours. Each statement ends with a semicolon
-- at the end of a line.
--
-- A column that your backend does not have and that is marked "optional": delete the line, and add table.column to
-- NOT_PROVIDED in settings.env. Select nothing else: what is in a view, the exporter's role can read.

-- All users, one row each.
CREATE OR REPLACE VIEW users AS
SELECT
    id, -- any type that has a text form
    email, -- shown in the table of top users where there is no name
    username, -- NULL::text where users have no names
    last_login_at, -- optional
    created_at -- timestamptz; for a timestamp in UTC: created_at AT TIME ZONE 'UTC'
FROM public.users;

-- Plans: several rows per user, or none. Where the plan stands on the user: one row per user, with
-- 'active'::text AS status and NULL::timestamptz AS ended_at.
CREATE OR REPLACE VIEW subscriptions AS
SELECT
    user_id,
    plan, -- 'trial', a word of FREE_PLANS, or else a paid plan; enums need no cast
    status, -- 'active' and 'past_due' hold, any other word does not
    started_at,
    trial_ends_at, -- optional
    ended_at -- NULL while it goes on
FROM public.subscriptions;

-- Rows are counted, no column is read.
CREATE OR REPLACE VIEW projects AS
SELECT id
FROM public.projects;

-- Logins: one row per login, or another sign that a user was active at `created_at`. Several tables: UNION ALL, each
-- with the same types.
CREATE OR REPLACE VIEW sessions AS
SELECT
    id,
    user_id, -- NULL where there is no user
    kind, -- optional: 'live_view', or any other word
    device_type, -- optional: 'desktop', 'ipad', 'phone'
    last_heartbeat_at, -- optional
    ended_at, -- optional
    created_at
FROM public.sessions;

-- AI jobs. Words of another set: CASE state WHEN 0 THEN 'queued' WHEN 1 THEN 'running' ... END AS status.
CREATE OR REPLACE VIEW ai_usage_events AS
SELECT
    id,
    user_id,
    provider, -- optional
    model, -- optional: as in PRICES_FILE
    error_kind, -- optional: 'provider_error', 'timeout', 'safety_rejection'
    prompt_tokens, -- optional
    completion_tokens, -- optional
    status, -- 'queued', 'running', 'succeeded', 'failed', 'cancelled'; an enum as it is, so that an index can be on it
    created_at,
    completed_at -- the end of the job, whether it succeeded or failed
FROM public.ai_usage_events;

-- Preview builds.
CREATE OR REPLACE VIEW preview_jobs AS
SELECT
    id,
    user_id,
    error_kind, -- optional: 'build_error', 'timeout', 'worker_lost', or any other word
    status,
    created_at,
    completed_at
FROM public.preview_jobs;
