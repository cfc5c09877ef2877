-- HiveSync's tables as the analytics system knows them, for the demo and the tests (PostgreSQL 14+).
-- The exporter only SELECTs from them, and takes ids as opaque: uuid here, bigint or text elsewhere.
-- All times are timestamptz; every calendar day is a UTC day.

CREATE TABLE users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text NOT NULL UNIQUE,
    username      text UNIQUE,
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_login_at timestamptz
);

-- A user may have several rows over time (a trial, then a paid plan), or none at all.
CREATE TABLE subscriptions (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id       uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    plan          text NOT NULL,                    -- 'free', 'trial', anything else is a paid plan ('pro', 'premium', ...)
    status        text NOT NULL DEFAULT 'active',   -- 'active', 'past_due', 'canceled', 'expired'
    started_at    timestamptz NOT NULL DEFAULT now(),
    trial_ends_at timestamptz,                      -- set on plan = 'trial'
    ended_at      timestamptz                       -- set when the subscription stopped
);
CREATE INDEX subscriptions_user_id_idx ON subscriptions (user_id);

CREATE TABLE projects (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id   uuid REFERENCES users (id) ON DELETE SET NULL,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One row a login ('app') or a Live View join ('live_view').
CREATE TABLE sessions (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id           uuid REFERENCES users (id) ON DELETE SET NULL,
    kind              text NOT NULL DEFAULT 'app',  -- 'app', 'live_view'
    device_type       text,                         -- 'desktop', 'ipad', 'phone'; NULL or anything else is unknown
    created_at        timestamptz NOT NULL DEFAULT now(),
    last_heartbeat_at timestamptz NOT NULL DEFAULT now(),
    ended_at          timestamptz
);
CREATE INDEX sessions_created_at_idx ON sessions (created_at);
CREATE INDEX sessions_last_heartbeat_at_idx ON sessions (last_heartbeat_at);

-- One row an AI documentation job; the row is inserted when the job is created and updated as it ends.
CREATE TABLE ai_usage_events (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id           uuid REFERENCES users (id) ON DELETE SET NULL,
    project_id        uuid REFERENCES projects (id) ON DELETE SET NULL,
    job_type          text NOT NULL DEFAULT 'doc',
    provider          text,                          -- 'openai', 'local', ...
    model             text,                          -- 'gpt-4.1', ...
    status            text NOT NULL DEFAULT 'queued',-- 'queued', 'running', 'succeeded', 'failed', 'cancelled'
    error_kind        text,                          -- on 'failed': 'provider_error', 'timeout', 'safety_rejection'
    prompt_tokens     integer,
    completion_tokens integer,
    created_at        timestamptz NOT NULL DEFAULT now(),
    completed_at      timestamptz
);
CREATE INDEX ai_usage_events_created_at_idx ON ai_usage_events (created_at);
CREATE INDEX ai_usage_events_completed_at_idx ON ai_usage_events (completed_at);

-- One row a preview build request.
CREATE TABLE preview_jobs (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid REFERENCES users (id) ON DELETE SET NULL,
    project_id   uuid REFERENCES projects (id) ON DELETE SET NULL,
    status       text NOT NULL DEFAULT 'queued',     -- as ai_usage_events.status
    error_kind   text,                               -- on 'failed': 'build_error', 'timeout', 'worker_lost', ...
    created_at   timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
);
CREATE INDEX preview_jobs_created_at_idx ON preview_jobs (created_at);
CREATE INDEX preview_jobs_completed_at_idx ON preview_jobs (completed_at);

-- Jobs that wait or run (docs/operating.md#index-of-waiting-jobs).
CREATE INDEX ai_usage_events_waiting_idx ON ai_usage_events (created_at)
    WHERE lower(btrim(status::text, E' \t\r\n') COLLATE "C") IN ('queued', 'running');
CREATE INDEX preview_jobs_waiting_idx ON preview_jobs (created_at)
    WHERE lower(btrim(status::text, E' \t\r\n') COLLATE "C") IN ('queued', 'running');
