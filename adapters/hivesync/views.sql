-- The tables of docs/definitions.md#postgresql as views of HiveSync's tables. They are created in the schema of
-- adapter.toml, and read with the rights of their owner: the roles that read them have no right on HiveSync's tables.
-- No password, token, token's hash, parameter, result, error text or setting is in any of them.
--
-- Enums keep their type: an index can be on an enum's labels, and not on its text.
--
-- Columns that this HiveSync does not have are left out, and named by NOT_PROVIDED in settings.env.

CREATE OR REPLACE VIEW users AS
SELECT id, email, username, created_at, last_login AS last_login_at
FROM public.users;

-- The tier stands on the user, without a time: it is the plan since the registration, and has not ended.
-- `Free` and `Admin` are no paid plans: they are in FREE_PLANS.
CREATE OR REPLACE VIEW subscriptions AS
SELECT
    id AS user_id,
    tier AS plan,
    'active'::text AS status,
    created_at AS started_at,
    NULL::timestamptz AS ended_at
FROM public.users;

-- Projects are counted; nothing else of them is read.
CREATE OR REPLACE VIEW projects AS
SELECT id, created_at
FROM public.projects;

-- Activity (docs/definitions.md#activity). A refresh token is written at each registration and login, and every 15
-- minutes while a client is at work; nothing tells these apart. Each is taken for a sign of activity: active users are
-- distinct users, so that the number of tokens has no effect. A session token is a login in the browser. Its key is a
-- secret, so that it has no id.
CREATE OR REPLACE VIEW sessions AS
SELECT
    id,
    user_id,
    created_at
FROM public.refresh_tokens
UNION ALL
SELECT
    NULL::uuid,
    user_id,
    created_at
FROM public.session_tokens;

-- A job that could not be enqueued has failed when it was created: HiveSync gives it no other time.
-- HiveSync distinguishes no kinds of errors: providers' errors, refusals and time-outs are texts of the same form, and
-- the zeros of the kinds would look measured.
CREATE OR REPLACE VIEW ai_usage_events AS
SELECT
    id,
    user_id,
    project_id,
    job_type,
    status,
    created_at,
    coalesce(completed_at, CASE WHEN status = 'failed' THEN created_at END) AS completed_at
FROM public.ai_jobs;

-- Kinds of preview failures are shown per incident, and not counted: here the one kind that HiveSync names is of use.
CREATE OR REPLACE VIEW preview_jobs AS
SELECT
    id,
    user_id,
    project_id,
    status,
    CASE WHEN split_part(error, ':', 1) = 'stuck_timeout' THEN 'timeout' END AS error_kind,
    created_at,
    coalesce(completed_at, CASE WHEN status = 'failed' THEN created_at END) AS completed_at
FROM public.preview_sessions;
