-- A row a UTC day. Every file here may be run again and again: what is there already is left as it is.

CREATE TABLE IF NOT EXISTS usage_analytics_daily (
    date             date PRIMARY KEY,
    dau              integer NOT NULL,          -- distinct users with activity on that day
    mau              integer NOT NULL,          -- distinct users with activity in the 30 days that end with it
    ai_requests      integer NOT NULL,
    preview_requests integer NOT NULL,
    avg_latency_ms   double precision,          -- over AI and preview jobs that succeeded that day; null when none did
    max_queue_depth  integer                    -- most jobs waiting at once; null when Prometheus did not watch
);
