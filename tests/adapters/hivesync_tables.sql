-- Tables as the published HiveSync's ORM creates them, with its enums and indexes.

CREATE TYPE tier AS ENUM ('Free', 'Pro', 'Premium', 'Admin');
CREATE TYPE jobstatus AS ENUM ('queued', 'running', 'succeeded', 'failed', 'cancelled');
CREATE TYPE teamrole AS ENUM ('owner', 'admin', 'member', 'guest');

CREATE TABLE users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         varchar(320) NOT NULL UNIQUE,
    username      varchar(64) UNIQUE,
    password_hash varchar(255),
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_login    timestamptz,
    tier          tier NOT NULL DEFAULT 'Free',
    settings      json
);
CREATE INDEX ix_users_tier ON users (tier);

CREATE TABLE teams (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name varchar(128), created_at timestamptz);
CREATE TABLE team_members (
    id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    team_id uuid REFERENCES teams (id),
    user_id uuid REFERENCES users (id),
    role    teamrole NOT NULL
);

CREATE TABLE projects (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    team_id     uuid REFERENCES teams (id),
    name        varchar(255) NOT NULL,
    description text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz
);

CREATE TABLE preview_sessions (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    preview_id    varchar(64) NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    user_id       uuid REFERENCES users (id),
    team_id       uuid REFERENCES teams (id),
    project_id    uuid REFERENCES projects (id),
    device_id     varchar(128),
    status        jobstatus NOT NULL DEFAULT 'queued',
    tier_snapshot tier,
    created_at    timestamptz NOT NULL DEFAULT now(),
    completed_at  timestamptz,
    error         text
);
CREATE INDEX ix_preview_sessions_status ON preview_sessions (status);
CREATE INDEX ix_preview_sessions_user_id ON preview_sessions (user_id);

CREATE TABLE ai_jobs (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id       uuid REFERENCES users (id),
    team_id       uuid REFERENCES teams (id),
    project_id    uuid REFERENCES projects (id),
    status        jobstatus NOT NULL DEFAULT 'queued',
    tier_snapshot tier,
    job_type      varchar(64) NOT NULL DEFAULT 'doc',
    params        json,
    result        json,
    created_at    timestamptz NOT NULL DEFAULT now(),
    completed_at  timestamptz,
    error         text
);
CREATE INDEX ix_ai_jobs_status ON ai_jobs (status);
CREATE INDEX ix_ai_jobs_job_type ON ai_jobs (job_type);
CREATE INDEX ix_ai_jobs_user_id ON ai_jobs (user_id);

CREATE TABLE refresh_tokens (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL REFERENCES users (id),
    token_hash varchar(255) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked    boolean NOT NULL DEFAULT false
);
CREATE INDEX ix_refresh_tokens_user_id ON refresh_tokens (user_id);

CREATE TABLE session_tokens (
    token      varchar(255) PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users (id),
    expires_at timestamptz,
    used       boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workers (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    worker_id         varchar(128) NOT NULL UNIQUE,
    kind              varchar(32) NOT NULL,
    last_heartbeat_at timestamptz,
    metadata_         json
);

CREATE TABLE dead_letters (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    task_name      varchar(255),
    queue          varchar(64),
    celery_task_id varchar(64),
    preview_id     varchar(64),
    ai_job_id      uuid,
    attempts       integer,
    error_type     varchar(128),
    error_message  text,
    payload        json,
    created_at     timestamptz NOT NULL DEFAULT now()
);
