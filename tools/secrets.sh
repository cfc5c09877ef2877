#!/bin/sh
# secrets.sh [--demo] [DIRECTORY]: write the secret files mounted by docker-compose.yml, by default into secrets/.
#
# Generates the secrets of this project, never changes an existing file, and lists the missing files with secrets of
# HiveSync, which the operator provides (exit status 1). With --demo all secrets are generated, in .demo/secrets, for
# the simulated HiveSync of the profile `demo`.
#
# Only the owner has access to the directory; an existing directory is closed to other users. The files in it are readable for all users, because Compose mounts each of
# them unchanged into containers whose users have other user ids than the owner.
set -eu

demo=no
if [ "${1:-}" = --demo ]; then demo=yes; shift; fi
case "${1:-}" in -*) echo "usage: secrets.sh [--demo] [DIRECTORY]" >&2; exit 2 ;; esac
if [ $demo = yes ]; then directory=${1:-.demo/secrets}; else directory=${1:-secrets}; fi

umask 077
mkdir -p "$directory"
chmod 700 "$directory" || {
  echo "secrets.sh: $directory cannot be closed to other users: run this as its owner, or name another directory" >&2
  exit 1
}
foreign=$(find "$directory/" ! -user "$(id -u)" ! -user 0)
[ -z "$foreign" ] || {
  echo "secrets.sh: another user owns, and knows, files in $directory: remove them, or take them over with chown:" >&2
  echo "$foreign" >&2
  exit 1
}

random() { od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n'; }

keep() { # NAME VALUE: write the file unless it exists
  [ -s "$directory/$1" ] || { printf '%s\n' "$2" >"$directory/$1" && chmod 444 "$directory/$1"; }
}

known() { cat "$directory/$1"; }

keep admin_api_key "$(random)"
keep grafana_secret_key "$(random)"

if [ $demo = yes ]; then
  for name in postgres exporter rollup grafana; do keep "${name}_db_password" "$(random)"; done
  keep redis_password "$(random)"
  keep admin_jwt_secret "$(random)"
  keep owner_database_url "postgresql://postgres:$(known postgres_db_password)@postgres:5432/hivesync"
  keep database_url "postgresql://hivesync_exporter:$(known exporter_db_password)@postgres:5432/hivesync"
  keep replica_database_url "postgresql://hivesync_exporter:$(known exporter_db_password)@postgres-replica:5432/hivesync"
  keep rollup_database_url "postgresql://hivesync_rollup:$(known rollup_db_password)@postgres:5432/hivesync"
  keep redis_url "redis://:$(known redis_password)@valkey:6379/0"
  keep valkey_conf "requirepass $(known redis_password)"
  keep alert_webhook_url "http://127.0.0.1:9/" # no listener: replace it by a real receiver of alerts
fi

missing=""
for name in database_url rollup_database_url redis_url grafana_db_password admin_jwt_secret alert_webhook_url; do
  [ -s "$directory/$name" ] || missing="$missing $name"
done
[ -n "$missing" ] || exit 0
echo "Missing in $directory/, to be written by the operator, one line each:" >&2
for name in $missing; do
  case $name in
    database_url) content="postgresql://hivesync_exporter:PASSWORD@HOST:5432/hivesync" ;;
    rollup_database_url) content="postgresql://hivesync_rollup:PASSWORD@HOST:5432/hivesync" ;;
    redis_url) content="redis://:PASSWORD@HOST:6379/0" ;;
    grafana_db_password) content="the password of hivesync_grafana" ;;
    admin_jwt_secret) content="HiveSync's secret for admin tokens (HS256); without such tokens, a long random string" ;;
    alert_webhook_url) content="the URL to which Alertmanager posts alerts" ;;
  esac
  echo "  $name: $content" >&2
done
echo "Then: chmod 444 $directory/*" >&2
exit 1
