-- HiveSync has no index on times. These are on the views' own expressions: without them each refresh reads whole tables.
-- CONCURRENTLY, so that HiveSync can write meanwhile. An index with another definition gets another name: an index that
-- exists under its name is left as it is.
--
-- The indexes of waiting jobs contain few rows at any time: those that wait or run.

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_ai_jobs_created_at ON public.ai_jobs (created_at);

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_ai_jobs_ended_at ON public.ai_jobs
    ((coalesce(completed_at, CASE WHEN status = 'failed' THEN created_at END)));

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_ai_jobs_waiting ON public.ai_jobs (created_at)
    WHERE status IN ('queued', 'running');

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_preview_sessions_created_at ON public.preview_sessions (created_at);

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_preview_sessions_ended_at ON public.preview_sessions
    ((coalesce(completed_at, CASE WHEN status = 'failed' THEN created_at END)));

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_preview_sessions_waiting ON public.preview_sessions (created_at)
    WHERE status IN ('queued', 'running');

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_refresh_tokens_created_at ON public.refresh_tokens (created_at);

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_session_tokens_created_at ON public.session_tokens (created_at);
