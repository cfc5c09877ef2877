#!/bin/sh
# replica.sh [OPTION...]: a hot standby in PGDATA of the server whose URL, as somebody who may replicate, stands in the
# file PRIMARY_URL_FILE. Copies that server once, then follows it; options go to postgres.
set -eu

[ -e "$PGDATA/PG_VERSION" ] || pg_basebackup --dbname="$(cat "$PRIMARY_URL_FILE")" --pgdata="$PGDATA" \
  --write-recovery-conf --wal-method=stream --checkpoint=fast

exec postgres -D "$PGDATA" "$@"
