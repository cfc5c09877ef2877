-- An index for each time by which rows are read, on the same expression as in views.sql, without functions that depend
-- on settings (those are not IMMUTABLE). Each statement begins with CREATE INDEX CONCURRENTLY IF NOT EXISTS, and names
-- the table with its schema. After a change of an expression, give the index another name.

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_sessions_created_at ON public.sessions (created_at);

-- Without last_heartbeat_at in the view, delete this one.
CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_sessions_last_heartbeat_at ON public.sessions (last_heartbeat_at);

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_ai_usage_events_created_at ON public.ai_usage_events (created_at);

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_ai_usage_events_completed_at ON public.ai_usage_events (completed_at);

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_preview_jobs_created_at ON public.preview_jobs (created_at);

CREATE INDEX CONCURRENTLY IF NOT EXISTS analytics_preview_jobs_completed_at ON public.preview_jobs (completed_at);
