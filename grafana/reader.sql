-- Limits for the role of Grafana's PostgreSQL datasource, run once in HiveSync's database, by a superuser where there is
-- one, else by the creator of the role (docs/operating.md).
--
-- A user who may see a panel may send any SQL in its place, and it runs as this role. What the role may read, which is
-- usage_analytics_daily alone, `python -m rollup --migrate --grant grafana=hivesync_grafana` says; here, that it writes
-- nothing, and does not keep the server busy. In each statement a semicolon ends no line but the last (rollup/script.py).

-- Firm limits: the role cannot change them.

ALTER ROLE hivesync_grafana CONNECTION LIMIT 5;

DO $do$ BEGIN
  ALTER ROLE hivesync_grafana SET temp_file_limit = '64MB'
  ; EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'temp_file_limit is not set: only a superuser can set it'
  ; END $do$;

-- Rights that every role has by way of PUBLIC: each is revoked where no other application can need it. Otherwise it is
-- left, and named in a notice with the statement. Needing it by way of PUBLIC are other roles that may log in here: not
-- superusers, members of the object's owner, and the roles of the exporter and the roll-up, which need none of these.
-- Large objects are needed by no application while there is none.
DO $do$ DECLARE granted record; BEGIN FOR granted IN
  WITH owned(thing, owner, open) AS (
    SELECT 'TEMPORARY ON DATABASE ' || quote_ident(datname), datdba, has_database_privilege('public', oid, 'TEMPORARY')
      FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 'CREATE ON SCHEMA public', nspowner, has_schema_privilege('public', oid, 'CREATE')
      FROM pg_namespace WHERE nspname = 'public'
  ), others AS (
    SELECT oid FROM pg_roles WHERE rolcanlogin AND oid <> $$hivesync_grafana$$::regrole
      AND rolname NOT IN ('hivesync_exporter', 'hivesync_rollup')
      AND has_database_privilege(oid, current_database(), 'CONNECT')
  )
  SELECT thing, NOT EXISTS (SELECT FROM others WHERE NOT pg_has_role(oid, owner, 'USAGE')) AS unused
    FROM owned WHERE open
  UNION ALL SELECT 'EXECUTE ON FUNCTION ' || oid::regprocedure, NOT EXISTS (SELECT FROM pg_largeobject_metadata)
    FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea')
      AND has_function_privilege('public', oid, 'EXECUTE')
  LOOP IF granted.unused THEN EXECUTE format('REVOKE %s FROM PUBLIC', granted.thing)
  ; ELSE RAISE NOTICE 'left to every role, since other applications may need it: REVOKE % FROM PUBLIC', granted.thing
  ; END IF; END LOOP; END $do$;

-- Limits by default: SQL in place of a panel can change them for its session, and for later ones.

ALTER ROLE hivesync_grafana SET default_transaction_read_only = on;
ALTER ROLE hivesync_grafana SET statement_timeout = '5s';
ALTER ROLE hivesync_grafana SET idle_in_transaction_session_timeout = '10s';
-- Where policies would hide days from it, a panel shows an error and never a part.
ALTER ROLE hivesync_grafana SET row_security = off;
