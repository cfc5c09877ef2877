-- Limits for the role of Grafana's PostgreSQL datasource, run once by the creator of the role (docs/operating.md).
--
-- Whoever may see a panel may send any SQL in its place, and it runs as this role. What it may read, which is
-- usage_analytics_daily and nothing else, `python -m rollup --migrate --grant grafana=hivesync_grafana` says; here, that
-- it writes nothing, and does not keep the server busy.

ALTER ROLE hivesync_grafana CONNECTION LIMIT 5;
ALTER ROLE hivesync_grafana SET default_transaction_read_only = on;
ALTER ROLE hivesync_grafana SET statement_timeout = '5s';
ALTER ROLE hivesync_grafana SET idle_in_transaction_session_timeout = '10s';
-- Where policies would hide days from it, a panel shows an error and never a part.
ALTER ROLE hivesync_grafana SET row_security = off;
