# Lets a replica in: read by the made-up PostgreSQL's image when it makes its data directory (docker-compose.scale.yml).
echo 'host replication all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
